//! `PUT /shortcuts/tenant`: the tenant gives actions of the desktop other keys, or none, for
//! everybody who has not chosen differently.

use axum::{extract::State, response::Response};
use events::ledger::operator_activity::Level;
use http::HeaderMap;

use super::put_shortcuts::{self, Request};
use crate::{
    app::App,
    commands::shortcuts::Shortcuts,
    http::{body::Json, caller::Entrant, openapi::IdempotencyKey, problem::Problem},
};

#[utoipa::path(
    put,
    path = "/shortcuts/tenant",
    operation_id = "putTenantShortcuts",
    summary = "Replaces the tenant's own keys, for everybody who has not chosen differently",
    tag = "desk",
    params(
        IdempotencyKey,
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the version that this one replaces; without it, any"),
    ),
    request_body = Request,
    responses(
        (status = 200, body = Shortcuts, description = "The tenant's map that stands",
            headers(
                ("ETag" = String, description = "Its version, for If-Match"),
            )),
        (status = 412, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    put_shortcuts::put(&app, &entrant, (&headers, request), Level::Tenant).await
}
