//! Ledger `activity`, stream `dsy:<deviceId>`: what a device says of itself, and how far it is with
//! sync-service.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::DeviceId;

/// How the kinds of this aggregate begin; others share its ledger.
pub const KIND_PREFIXES: [&str; 3] = [
    "melmastoon.bff.backoffice.device.",
    "melmastoon.bff.backoffice.sync.",
    "melmastoon.bff.backoffice.offline_queue.",
];

/// What happened to one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum DeviceSyncEvent {
    /// The device has reported its state; only a share of the reports is recorded, by the envelope's
    /// sampling rate.
    ///
    /// Source: `POST /devices/{id}/heartbeat`.
    #[serde(rename = "melmastoon.bff.backoffice.device.heartbeat.v1", rename_all = "camelCase")]
    Heartbeat {
        device_id: DeviceId,
        app_version: String,
        /// `good`, `flaky` or `offline-recently`.
        network_mode: String,
        /// Actions that wait on the device, by its own word.
        pending_actions: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_sync_at: Option<DateTime<Utc>>,
        /// The device's clock minus ours, milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock_skew_ms: Option<i64>,
        at: DateTime<Utc>,
    },

    /// sync-service knows the device, and it has a token to exchange data with.
    ///
    /// Source: `POST /sync/handshake`.
    #[serde(
        rename = "melmastoon.bff.backoffice.sync.handshake_completed.v1",
        rename_all = "camelCase"
    )]
    HandshakeCompleted {
        device_id: DeviceId,
        /// The token's `jti`, never the token.
        token_id: String,
        expires_at: DateTime<Utc>,
        /// Streams that have a cursor.
        streams: Vec<String>,
        at: DateTime<Utc>,
    },

    /// The device has taken in a stream up to a cursor.
    ///
    /// Source: `POST /sync/cursor`.
    #[serde(rename = "melmastoon.bff.backoffice.sync.cursor_advanced.v1", rename_all = "camelCase")]
    CursorAdvanced {
        device_id: DeviceId,
        stream: String,
        /// The cursor before, absent for the first one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        cursor: String,
        at: DateTime<Utc>,
    },

    /// The device has said what it has queued.
    ///
    /// Source: `PUT /offline-queue/hint`.
    #[serde(rename = "melmastoon.bff.backoffice.offline_queue.hinted.v1", rename_all = "camelCase")]
    QueueHinted { device_id: DeviceId, pending_actions: u32, at: DateTime<Utc> },
}

impl LedgerEvent for DeviceSyncEvent {
    const LEDGER: Ledger = Ledger::Activity;

    fn kind(&self) -> &'static str {
        match self {
            Self::Heartbeat { .. } => "melmastoon.bff.backoffice.device.heartbeat.v1",
            Self::HandshakeCompleted { .. } => {
                "melmastoon.bff.backoffice.sync.handshake_completed.v1"
            }
            Self::CursorAdvanced { .. } => "melmastoon.bff.backoffice.sync.cursor_advanced.v1",
            Self::QueueHinted { .. } => "melmastoon.bff.backoffice.offline_queue.hinted.v1",
        }
    }
}

domain_event!(DeviceSyncEvent);
