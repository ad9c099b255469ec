//! A device comes back: sync-service says where it stands, and it gets a token to exchange data
//! with.

use chrono::{DateTime, Utc};
use events::ledger::device_sync::DeviceSyncEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    record, status,
    token::{Grant, SyncKeys},
};
use crate::{
    aggregates::{DeviceSync, device_sync::Command},
    commands::{
        Actor, Resources,
        idempotency::{KeyedRequest, Outcome},
        keyed_work::{Begun, Render, WorkError, begin, end_without, unavailable},
    },
    ledger::StoredResponse,
    upstream::sync,
};

/// Body of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SyncSession)]
pub struct Session {
    /// JWT, ES256; for sync-service, with proofs of the same key.
    pub sync_session_token: String,
    pub expires_at: DateTime<Utc>,
    /// Stream → opaque cursor.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub cursors: status::Cursors,
    /// Where the desktop exchanges data.
    pub sync_endpoint: String,
    pub server_time: DateTime<Utc>,
}

/// What a device says when it comes back.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub last_sync_at: Option<DateTime<Utc>>,
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`WorkError`].
pub async fn run(
    (resources, keys): (&Resources, &SyncKeys),
    actor: &Actor,
    (wish, keyed): (Wish, &KeyedRequest),
    render: Render<'_>,
) -> Result<Outcome, WorkError> {
    let keyed = match begin(resources, actor, keyed).await? {
        Begun::Answered(outcome) => return Ok(outcome),
        Begun::Mine(keyed) => keyed,
    };
    let caller = &actor.caller;
    let upstream_key = keyed.upstream_key(resources, "sync-handshake-upstream-key");
    let device = (&caller.tenant_id, &caller.device_id);
    let asked = (wish.last_sync_at, upstream_key.as_str());
    let context = actor.call_context(None);
    let said = match sync::handshake(&resources.upstream, device, &context, asked).await {
        Ok(said) => said,
        Err(error) => return end_without(resources, actor, (&keyed, error), render).await,
    };
    let at = resources.clock.now();
    let pools = resources.ledger.pools();
    status::keep_cursors(pools, actor, (&said.cursors, at)).await.map_err(unavailable)?;
    let Grant { token, token_id, expires_at } = keys.grant(caller, at);
    let event = DeviceSyncEvent::HandshakeCompleted {
        device_id: caller.device_id.clone(),
        token_id,
        expires_at,
        streams: said.cursors.keys().cloned().collect(),
        at,
    };
    let response = StoredResponse::json(
        200,
        &Session {
            sync_session_token: token,
            expires_at,
            cursors: said.cursors,
            sync_endpoint: said.sync_endpoint,
            server_time: at,
        },
    );
    let noted = (Command::Note(event), keyed.complete(response.clone()));
    let receipt = record(resources, actor, &DeviceSync::default(), noted).await?;
    Ok(Outcome::new(response, Some(receipt.position)))
}
