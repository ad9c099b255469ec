//! The events we read: tolerant readers of other services' payloads, with only the fields we use.

pub mod ai;
pub mod iam;
pub mod lock;
pub mod notification;
pub mod sync;
pub mod tenant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An upstream event that means something to the service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UpstreamEvent {
    AlertRaised(notification::AlertRaised),
    AlertAcknowledged(notification::AlertAcknowledged),
    AlertResolved(notification::AlertResolved),
    LockHealthAlert(lock::HealthAlert),
    LockCredential(lock::CredentialChange),
    SessionRevoked(iam::SessionRevoked),
    UserLocked(iam::UserLocked),
    DeviceRevoked(iam::DeviceRevoked),
    Tenant(tenant::TenantEvent),
    Suggestion(ai::SuggestionEvent),
    ActivityReplayed(sync::ActivityReplayed),
    CursorAdvanced(sync::CursorAdvanced),
}

impl UpstreamEvent {
    /// Reads a payload by its subject; `None` for a subject that nothing here is made from.
    ///
    /// # Errors
    /// When a subject of ours has a payload without the fields we need: the message is
    /// dead-lettered with this reason.
    pub fn read(subject: &str, payload: Value) -> Result<Option<Self>, serde_json::Error> {
        let read = match subject {
            "melmastoon.notification.alert.raised.v1" => Self::AlertRaised(from(payload)?),
            "melmastoon.notification.alert.acknowledged.v1" => {
                Self::AlertAcknowledged(from(payload)?)
            }
            "melmastoon.notification.alert.resolved.v1" => Self::AlertResolved(from(payload)?),
            "melmastoon.lock.device.health_alert.v1" => Self::LockHealthAlert(from(payload)?),
            "melmastoon.lock.credential.issued.v1"
            | "melmastoon.lock.credential.revoked.v1"
            | "melmastoon.lock.credential.failed.v1" => Self::LockCredential(from(payload)?),
            "melmastoon.iam.session.revoked.v1" => Self::SessionRevoked(from(payload)?),
            "melmastoon.iam.user.locked.v1" => Self::UserLocked(from(payload)?),
            "melmastoon.iam.device.revoked.v1" => Self::DeviceRevoked(from(payload)?),
            _ if subject.starts_with(ai::SUBJECTS) => {
                return Ok(ai::SuggestionEvent::read(subject, payload)?.map(Self::Suggestion));
            }
            "melmastoon.sync.activity.replayed.v1" => Self::ActivityReplayed(from(payload)?),
            "melmastoon.sync.cursor.advanced.v1" => Self::CursorAdvanced(from(payload)?),
            _ => return Ok(tenant::TenantEvent::read(subject, payload)?.map(Self::Tenant)),
        };
        Ok(Some(read))
    }
}

fn from<T: serde::de::DeserializeOwned>(payload: Value) -> Result<T, serde_json::Error> {
    serde_json::from_value(payload)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_members_and_unknown_subjects_are_tolerated() {
        let payload = json!({"alertId": "a1", "propertyId": "p1", "by": "usr_1",
            "at": "2026-11-21T10:00:00Z", "somethingNew": {"x": 1}});
        let read = UpstreamEvent::read("melmastoon.notification.alert.acknowledged.v1", payload);
        assert!(matches!(read, Ok(Some(UpstreamEvent::AlertAcknowledged(_)))));
        assert!(matches!(UpstreamEvent::read("melmastoon.x.y.v1", json!({})), Ok(None)));
    }

    #[test]
    fn a_payload_without_what_we_need_is_refused() {
        let read = UpstreamEvent::read("melmastoon.notification.alert.raised.v1", json!({}));
        assert!(read.is_err());
    }
}
