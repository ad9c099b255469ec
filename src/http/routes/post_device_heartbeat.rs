//! `POST /devices/{id}/heartbeat`: a device reports its state, once a minute, under no key.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    access::NetworkMode,
    app::App,
    commands::device_sync::{
        heartbeat::{self, Heartbeat},
        hint::Hint,
    },
    http::{body, caller::Entrant, codes::Code, extract::Path, problem::Problem},
};

/// The most a device may say to have queued.
const PENDING_ACTIONS_MAX: u32 = 1_000_000;

#[derive(Debug, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = Heartbeat)]
pub struct Request {
    #[garde(length(chars, min = 1, max = 64), ascii)]
    #[schema(min_length = 1, max_length = 64)]
    app_version: String,
    /// `good`, `flaky` or `offline-recently`.
    #[garde(skip)]
    #[schema(value_type = String)]
    network_mode: NetworkMode,
    /// Actions that wait on the device.
    #[garde(range(max = PENDING_ACTIONS_MAX))]
    #[schema(maximum = 1_000_000)]
    pending_actions: u32,
    #[serde(default)]
    #[garde(skip)]
    last_sync_at: Option<DateTime<Utc>>,
    /// What the device's clock says.
    #[serde(default)]
    #[garde(skip)]
    clock: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HeartbeatAnswer)]
pub struct Response {
    server_time: DateTime<Utc>,
    /// The oldest version that is let in on this platform; null: any.
    version_floor: Option<String>,
    /// What the operator's other devices have queued.
    hints: Vec<Hint>,
}

#[utoipa::path(
    post,
    path = "/devices/{id}/heartbeat",
    operation_id = "heartbeat",
    summary = "A device reports its state, and learns what it has to know",
    tag = "devices",
    params(("id" = String, Path, description = "The device of the token")),
    request_body = Request,
    responses(
        (status = 200, body = Response, description = "The state is kept"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Path(id): Path<String>,
    body::Json(request): body::Json<Request>,
) -> Result<Json<Response>, Problem> {
    if id != entrant.caller.device_id.as_str() {
        return Err(Code::ResourceNotFound.into());
    }
    let flags = app.gate().flags().current();
    let share = flags.sampling.get(heartbeat::SAMPLING);
    let share = share.map_or(heartbeat::SHARE_DEFAULT, |share| share.get());
    let state = Heartbeat {
        app_version: request.app_version,
        network_mode: request.network_mode.to_string(),
        pending_actions: request.pending_actions,
        last_sync_at: request.last_sync_at,
        clock: request.clock,
    };
    let hints = heartbeat::run(app.commands(), &entrant.actor(), state, share).await?;
    let floor = flags.version_floor.of(entrant.caller.app.platform);
    Ok(Json(Response {
        server_time: app.clock().now(),
        version_floor: floor.map(ToString::to_string),
        hints,
    }))
}
