//! `GET /preferences`: what the caller prefers, by tenant-service's word or its mirror's.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::preferences,
    http::{X_CACHE, caller::Entrant, problem::Problem},
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Preferences)]
pub struct Preferences {
    /// Names and values are the desktop's own.
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    pub preferences: Map<String, Value>,
}

#[utoipa::path(
    get,
    path = "/preferences",
    operation_id = "getPreferences",
    summary = "What the operator prefers, on every device",
    tag = "desk",
    responses(
        (status = 200, body = Preferences,
            description = "All of them, also while tenant-service is away",
            headers(
                ("ETag" = String, description = "Their version, for If-Match"),
                ("X-Cache" = String,
                    description = "miss, or stale while tenant-service is away"),
            )),
        (status = 502, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(State(app): State<App>, entrant: Entrant) -> Result<Response, Problem> {
    let standing = preferences::read(app.commands(), &entrant.actor()).await?;
    let cache = if standing.is_stale { "stale" } else { "miss" };
    let body = Preferences { preferences: standing.preferences.members };
    let mut response = ([(X_CACHE, cache)], axum::Json(body)).into_response();
    let tag = standing.preferences.entity_tag.and_then(|tag| HeaderValue::try_from(tag).ok());
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}
