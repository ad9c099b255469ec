//! `GET /session`: the session of the device that asks.

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    access::session,
    app::App,
    commands::CommandError,
    http::{caller::Entrant, codes::Code, problem::Problem},
};

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// `bos_` and a ULID.
    id: String,
    tenant_id: String,
    operator_id: String,
    device_id: String,
    /// Those of the token that the operator holds in the tenant.
    roles: Vec<String>,
    /// The properties the operator works for.
    property_ids: Vec<String>,
    /// BCP 47; null when neither token nor session name one.
    locale: Option<String>,
    app: SessionApp,
    opened_at: DateTime<Utc>,
    /// When the access token must have been refreshed.
    token_expires_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionApp {
    version: String,
    /// `win32`, `darwin` or `linux`.
    platform: &'static str,
    /// `good`, `flaky` or `offline-recently`.
    network_mode: &'static str,
}

#[utoipa::path(
    get,
    path = "/session",
    operation_id = "session",
    summary = "The session of the device that asks",
    tag = "session",
    responses(
        (status = 200, body = Session, description = "The session"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
) -> Result<Json<Session>, Problem> {
    let caller = &entrant.caller;
    let stored = app.sessions().get(&caller.tenant_id, &caller.device_id).await;
    let stored = stored.map_err(CommandError::from)?;
    let is_callers = |session: &session::Session| session.session_id == caller.session_id;
    // It ended between the gate's look and this one: the next request opens another.
    let stored = stored.filter(is_callers).ok_or_else(|| Problem::new(Code::SessionRevoked))?;
    Ok(Json(Session {
        id: caller.session_id.to_string(),
        tenant_id: caller.tenant_id.to_string(),
        operator_id: caller.operator_id.to_string(),
        device_id: caller.device_id.to_string(),
        roles: caller.roles.clone(),
        property_ids: caller.property_ids.iter().map(ToString::to_string).collect(),
        locale: caller.locale.clone(),
        app: SessionApp {
            version: caller.app.version.clone(),
            platform: caller.app.platform.as_str(),
            network_mode: caller.app.network_mode.as_str(),
        },
        opened_at: stored.opened_at,
        token_expires_at: caller.token_expires_at,
    }))
}
