//! `GET /devices/{id}/sync-status`: the caller's own device as it last reported itself.

use axum::{Json, extract::State};

use crate::{
    app::App,
    commands::device_sync::status::{self, Status},
    http::{caller::Entrant, codes::Code, extract::Path, problem::Problem},
};

#[utoipa::path(
    get,
    path = "/devices/{id}/sync-status",
    operation_id = "deviceSyncStatus",
    summary = "The caller's own device as it last reported itself",
    tag = "devices",
    params(("id" = String, Path, description = "The device of the token")),
    responses(
        (status = 200, body = Status, description = "Its last state"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Path(id): Path<String>,
) -> Result<Json<Status>, Problem> {
    let caller = &entrant.caller;
    if id != caller.device_id.as_str() {
        return Err(Code::ResourceNotFound.into());
    }
    let found = status::of_device(app.pools(), &caller.tenant_id, &caller.device_id).await;
    let found = found.map_err(|error| Problem::new(Code::DependencyUnavailable).cause(error))?;
    found.map(Json).ok_or_else(|| Code::ResourceNotFound.into())
}
