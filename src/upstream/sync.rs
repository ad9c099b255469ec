//! sync-service: the handshake of a device and its cursors; everything else goes from the desktop
//! to it directly.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{DeviceId, TenantId};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Call, CallContext, Service, Upstream, UpstreamError};

/// What the service says to a device that comes back. `POST /api/v1/sync/handshake`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Handshake {
    /// Stream → opaque cursor; empty for a device that has taken in nothing yet.
    #[serde(default)]
    pub cursors: BTreeMap<String, String>,
    /// Where the desktop exchanges data.
    pub sync_endpoint: String,
}

/// A cursor to move. `POST /api/v1/sync/cursors`.
#[derive(Clone, Copy, Debug)]
pub struct Advance<'a> {
    pub stream: &'a str,
    /// `None`: there is none yet.
    pub from: Option<&'a str>,
    pub to: &'a str,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Standing {
    #[serde(default)]
    cursors: BTreeMap<String, String>,
}

/// # Errors
/// See [`UpstreamError`].
pub async fn handshake(
    upstream: &Upstream,
    (tenant_id, device_id): (&TenantId, &DeviceId),
    context: &CallContext,
    (last_sync_at, idempotency_key): (Option<DateTime<Utc>>, &str),
) -> Result<Handshake, UpstreamError> {
    let path = "/api/v1/sync/handshake".to_owned();
    let mut call = Call::new(Service::Sync, Method::POST, path, tenant_id, context);
    call.idempotency_key = Some(idempotency_key);
    let mut body = json!({ "deviceId": device_id });
    if let Some(at) = last_sync_at {
        body["lastSyncAt"] = json!(at);
    }
    call.body = Some(body);
    let answer = upstream.call(&call).await?;
    answer.read::<Data<Handshake>>(Service::Sync).map(|answer| answer.data)
}

/// Where a device stands. `GET /api/v1/sync/cursors`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn cursors(
    upstream: &Upstream,
    (tenant_id, device_id): (&TenantId, &DeviceId),
    context: &CallContext,
) -> Result<BTreeMap<String, String>, UpstreamError> {
    let path = "/api/v1/sync/cursors".to_owned();
    let mut call = Call::new(Service::Sync, Method::GET, path, tenant_id, context);
    call.query.push(("deviceId", device_id.to_string()));
    let answer = upstream.call(&call).await?;
    answer.read::<Data<Standing>>(Service::Sync).map(|answer| answer.data.cursors)
}

/// Moves one cursor, from where it is thought to stand; all of them as they stand afterwards.
///
/// # Errors
/// See [`UpstreamError`]; one that stands elsewhere is a 409 `SYNC.CURSOR_CONFLICT`.
pub async fn advance(
    upstream: &Upstream,
    (tenant_id, device_id): (&TenantId, &DeviceId),
    context: &CallContext,
    advance: Advance<'_>,
) -> Result<BTreeMap<String, String>, UpstreamError> {
    let path = "/api/v1/sync/cursors".to_owned();
    let mut call = Call::new(Service::Sync, Method::POST, path, tenant_id, context);
    call.idempotency_key = Some(advance.idempotency_key);
    call.body = Some(json!({
        "deviceId": device_id,
        "stream": advance.stream,
        "cursor": advance.to,
        "expectedCursor": advance.from,
    }));
    let answer = upstream.call(&call).await?;
    answer.read::<Data<Standing>>(Service::Sync).map(|answer| answer.data.cursors)
}
