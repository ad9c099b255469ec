//! What lock-integration-service says of its devices.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::notification::Severity;
use crate::{AlertId, PropertyId};

/// Subject `melmastoon.lock.device.health_alert.v1`: becomes an alert of the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthAlert {
    /// Stands for the alert: one open alert a lock.
    pub lock_id: AlertId,
    pub property_id: PropertyId,
    pub room_id: String,
    pub kind: String,
    pub severity: Severity,
    pub at: DateTime<Utc>,
}
