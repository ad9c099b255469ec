//! `GET /devices`: the devices that the caller was the last one to use.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::device_sync::status::{self, Status},
    http::{caller::Entrant, codes::Code, problem::Problem},
};

const DEVICES_MAX: i64 = 100;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeviceList)]
pub struct Page {
    /// The one that reported last comes first; at most 100.
    items: Vec<Status>,
}

#[utoipa::path(
    get,
    path = "/devices",
    operation_id = "listDevices",
    summary = "The devices of this operator as they last reported themselves",
    tag = "devices",
    responses(
        (status = 200, body = Page, description = "Devices, the last one heard of first"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
) -> Result<Json<Page>, Problem> {
    let caller = &entrant.caller;
    let wanted = (&caller.operator_id, DEVICES_MAX);
    let items = status::of_operator(app.pools(), &caller.tenant_id, wanted).await;
    let items = items.map_err(|error| Problem::new(Code::DependencyUnavailable).cause(error))?;
    Ok(Json(Page { items }))
}
