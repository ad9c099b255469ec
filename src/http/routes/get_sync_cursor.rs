//! `GET /sync/cursor`: where the caller's device stands with sync-service.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use crate::{
    app::App,
    commands::device_sync::cursor::{self, Source, Standing},
    http::{X_CACHE, caller::Entrant, problem::Problem},
};

#[utoipa::path(
    get,
    path = "/sync/cursor",
    operation_id = "getSyncCursor",
    summary = "Where the device stands on each stream of sync-service",
    tag = "sync",
    responses(
        (status = 200, body = Standing, description = "Stream → opaque cursor",
            headers(("X-Cache" = String,
                description = "hit, miss, or stale while sync-service is away"))),
        (status = 502, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(State(app): State<App>, entrant: Entrant) -> Result<Response, Problem> {
    let (standing, source) = cursor::read(app.commands(), &entrant.actor()).await?;
    let cache = match source {
        Source::Hit => "hit",
        Source::Miss => "miss",
        Source::Stale => "stale",
    };
    Ok(([(X_CACHE, cache)], Json(standing)).into_response())
}
