//! What lock-integration-service says of its devices.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::notification::Severity;
use crate::{AlertId, KeyCredentialId, PropertyId};

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

/// Subjects `melmastoon.lock.credential.issued.v1`, `.revoked.v1` and `.failed.v1`: says what became
/// of an action whose answer was lost. Which of them it is, the subject says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CredentialChange {
    /// Absent when no key came of it.
    #[serde(default)]
    pub key_credential_id: Option<KeyCredentialId>,
    /// Under which the service was asked; absent when nobody asked it under one.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}
