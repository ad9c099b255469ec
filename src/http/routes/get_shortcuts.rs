//! `GET /shortcuts`: the keys of the desktop's actions, with what the caller has made of them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use events::ledger::operator_activity::Level;
use http::header;

use crate::{
    app::App,
    commands::shortcuts::{self, Shortcuts},
    http::{caller::Entrant, problem::Problem},
};

#[utoipa::path(
    get,
    path = "/shortcuts",
    operation_id = "getShortcuts",
    summary = "The keys of the desktop's actions, as this operator has them",
    tag = "desk",
    responses(
        (status = 200, body = Shortcuts, description = "The map, and what is the operator's own",
            headers(("ETag" = String, description = "Its version, for If-Match"))),
    ),
)]
pub(super) async fn handle(State(app): State<App>, entrant: Entrant) -> Result<Response, Problem> {
    let standing = shortcuts::read(app.commands(), &entrant.actor(), Level::Operator).await?;
    let tag = standing.entity_tag();
    Ok(([(header::ETAG, tag)], Json(standing.shortcuts())).into_response())
}
