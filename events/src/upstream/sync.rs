//! What sync-service says of devices that were offline.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{DeviceId, OperatorId, PropertyId, ledger::operator_activity::Target};

/// Subject `melmastoon.sync.activity.replayed.v1`: something an operator did offline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityReplayed {
    /// Unique within the tenant.
    pub replay_id: String,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    #[serde(default)]
    pub property_id: Option<PropertyId>,
    pub verb: String,
    #[serde(default)]
    pub target: Option<ReplayTarget>,
    /// When it was done, by the device's clock.
    pub occurred_at: DateTime<Utc>,
}

/// What was acted on: members others than these are nothing to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayTarget {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
}

/// Subject `melmastoon.sync.cursor.advanced.v1`: how far a device is on a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CursorAdvanced {
    pub device_id: DeviceId,
    pub stream: String,
    pub cursor: String,
    pub at: DateTime<Utc>,
}

impl From<ReplayTarget> for Target {
    fn from(target: ReplayTarget) -> Self {
        Self { kind: target.kind, id: target.id }
    }
}
