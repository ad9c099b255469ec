//! `GET /offline-queue/hints`: what the operator's other devices have queued.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::device_sync::hint::{self, Hint},
    http::{caller::Entrant, problem::Problem},
};

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfflineQueueHintList)]
pub struct Page {
    /// Newest first; devices with nothing queued are not in it.
    items: Vec<Hint>,
}

#[utoipa::path(
    get,
    path = "/offline-queue/hints",
    operation_id = "listOfflineQueueHints",
    summary = "What my other devices have queued; a hint, never authoritative",
    tag = "devices",
    responses(
        (status = 200, body = Page, description = "Hints of the last seven days"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
) -> Result<Json<Page>, Problem> {
    let items = hint::list(app.commands(), &entrant.actor()).await?;
    Ok(Json(Page { items }))
}
