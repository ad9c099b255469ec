//! What tenant-service says of tenants and of who works in them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::OperatorId;

/// Every subject about a membership begins so.
const MEMBERSHIP: &str = "melmastoon.tenant.membership.";

/// An event of tenant-service that decides who may act.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenantEvent {
    /// Subject `melmastoon.tenant.suspended.v1`, or with its aggregate,
    /// `melmastoon.tenant.tenant.suspended.v1`: nobody of the tenant may act.
    Suspended(TenantSuspended),
    /// Subjects `melmastoon.tenant.membership.removed.v1` and `…suspended.v1`.
    MembershipEnded(MembershipMoved),
    /// Any other `melmastoon.tenant.membership.…`: roles or properties may be others now.
    MembershipChanged(MembershipMoved),
}

/// The tenant of the envelope was suspended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSuspended {
    pub at: DateTime<Utc>,
}

/// An operator's place in the tenant of the envelope became another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MembershipMoved {
    #[serde(alias = "userId")]
    pub operator_id: OperatorId,
    pub at: DateTime<Utc>,
}

impl TenantEvent {
    /// Reads a payload by its subject; `None` for a subject of other things.
    ///
    /// # Errors
    /// When the payload lacks whom it is about, or when.
    pub fn read(subject: &str, payload: Value) -> Result<Option<Self>, serde_json::Error> {
        let tenant_suspended =
            ["melmastoon.tenant.suspended.v1", "melmastoon.tenant.tenant.suspended.v1"];
        if tenant_suspended.contains(&subject) {
            return serde_json::from_value(payload).map(Self::Suspended).map(Some);
        }
        let Some(verb) = subject.strip_prefix(MEMBERSHIP) else { return Ok(None) };
        let moved: MembershipMoved = serde_json::from_value(payload)?;
        Ok(Some(match verb {
            "removed.v1" | "suspended.v1" => Self::MembershipEnded(moved),
            _ => Self::MembershipChanged(moved),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_ended_and_a_changed_membership_are_told_apart_and_name_the_operator() {
        let read = |verb: &str, member: &str| {
            let payload = json!({ member: "usr_1", "at": "2026-11-21T10:00:00Z", "roles": ["x"] });
            TenantEvent::read(&format!("melmastoon.tenant.membership.{verb}"), payload).unwrap()
        };
        for verb in ["removed.v1", "suspended.v1"] {
            assert!(matches!(read(verb, "operatorId"), Some(TenantEvent::MembershipEnded(_))));
        }
        for verb in ["role_changed.v1", "updated.v2"] {
            let changed = read(verb, "userId");
            assert!(matches!(changed, Some(TenantEvent::MembershipChanged(_))), "{verb}");
        }
    }

    #[test]
    fn a_suspended_tenant_is_read_and_other_news_of_tenants_are_not_ours() {
        let at = json!({ "at": "2026-11-21T10:00:00Z" });
        for subject in ["melmastoon.tenant.suspended.v1", "melmastoon.tenant.tenant.suspended.v1"] {
            let read = TenantEvent::read(subject, at.clone()).unwrap();
            assert!(matches!(read, Some(TenantEvent::Suspended(_))), "{subject}");
        }
        let other = TenantEvent::read("melmastoon.tenant.config_updated.v1", json!({}));
        assert_eq!(other.unwrap(), None);
    }

    #[test]
    fn a_membership_without_its_operator_is_refused() {
        let at = json!({ "at": "2026-11-21T10:00:00Z" });
        assert!(TenantEvent::read("melmastoon.tenant.membership.removed.v1", at).is_err());
    }
}
