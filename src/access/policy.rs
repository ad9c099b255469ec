//! Which role may do what: data from `policy.toml`, deny by default.

use std::collections::HashMap;

use serde::{Deserialize, de::IntoDeserializer};

/// What can be allowed, one name a group of routes. Its text is what `policy.toml` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[repr(u8)]
pub enum Scope {
    #[serde(rename = "dashboard.read")]
    DashboardRead,
    #[serde(rename = "board.today")]
    BoardToday,
    #[serde(rename = "board.arrivals")]
    BoardArrivals,
    #[serde(rename = "board.departures")]
    BoardDepartures,
    #[serde(rename = "board.in-house")]
    BoardInHouse,
    #[serde(rename = "board.front-desk")]
    BoardFrontDesk,
    #[serde(rename = "board.housekeeping")]
    BoardHousekeeping,
    #[serde(rename = "board.maintenance")]
    BoardMaintenance,
    #[serde(rename = "ai.read")]
    AiRead,
    #[serde(rename = "ai.decide")]
    AiDecide,
    #[serde(rename = "alerts.read")]
    AlertsRead,
    #[serde(rename = "alerts.ack")]
    AlertsAck,
    #[serde(rename = "lock.issue")]
    LockIssue,
    #[serde(rename = "lock.revoke")]
    LockRevoke,
    #[serde(rename = "reservation.check-in")]
    ReservationCheckIn,
    #[serde(rename = "reservation.check-out")]
    ReservationCheckOut,
    #[serde(rename = "reservation.cancel")]
    ReservationCancel,
    #[serde(rename = "reservation.no-show")]
    ReservationNoShow,
    #[serde(rename = "reservation.assign-room")]
    ReservationAssignRoom,
    #[serde(rename = "reservation.extend-stay")]
    ReservationExtendStay,
    #[serde(rename = "folio.charge")]
    FolioCharge,
    #[serde(rename = "folio.payment")]
    FolioPayment,
    #[serde(rename = "folio.close")]
    FolioClose,
    #[serde(rename = "folio.refund")]
    FolioRefund,
    #[serde(rename = "housekeeping.start")]
    HousekeepingStart,
    #[serde(rename = "housekeeping.complete")]
    HousekeepingComplete,
    #[serde(rename = "housekeeping.inspect")]
    HousekeepingInspect,
    #[serde(rename = "housekeeping.room-status")]
    HousekeepingRoomStatus,
    #[serde(rename = "maintenance.create")]
    MaintenanceCreate,
    #[serde(rename = "maintenance.assign")]
    MaintenanceAssign,
    #[serde(rename = "maintenance.block")]
    MaintenanceBlock,
    #[serde(rename = "maintenance.resolve")]
    MaintenanceResolve,
    #[serde(rename = "maintenance.verify")]
    MaintenanceVerify,
    #[serde(rename = "audit.read")]
    AuditRead,
}

impl Scope {
    /// The scope of this name, as routes kept as data write it; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
            name.into_deserializer();
        Self::deserialize(deserializer).ok()
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u64);

impl Scopes {
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// The policy names a scope that does not exist, or is no TOML.
#[derive(Debug, thiserror::Error)]
#[error("the policy cannot be read")]
pub struct PolicyError(#[from] toml::de::Error);

/// Roles and their scopes.
#[derive(Clone, Debug)]
pub struct Policy(HashMap<String, Scopes>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    roles: HashMap<String, Vec<Scope>>,
}

impl Policy {
    /// The policy this service ships with.
    pub fn shipped() -> Self {
        Self::load(include_str!("policy.toml")).expect("a test reads the shipped policy")
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// When it is no TOML of this shape or names an unknown scope.
    pub fn load(text: &str) -> Result<Self, PolicyError> {
        let document: Document = toml::from_str(text)?;
        let roles = document.roles.into_iter();
        Ok(Self(roles.map(|(role, scopes)| (role, scopes.into_iter().collect())).collect()))
    }

    /// What these roles may do together; an unknown role may do nothing.
    pub fn scopes_of(&self, roles: &[String]) -> Scopes {
        Scopes(roles.iter().filter_map(|role| self.0.get(role)).fold(0, |bits, set| bits | set.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [&str; 7] = [
        "front_desk",
        "housekeeper",
        "housekeeping_lead",
        "maintenance_tech",
        "property_manager",
        "owner",
        "auditor",
    ];

    fn may(role: &str, scope: Scope) -> bool {
        Policy::shipped().scopes_of(&[role.to_owned()]).contains(scope)
    }

    #[test]
    fn every_role_of_the_contract_is_in_the_shipped_policy() {
        for role in ROLES {
            let scopes = Policy::shipped().scopes_of(&[role.to_owned()]);
            assert_ne!(scopes, Scopes::default(), "{role}");
        }
    }

    #[test]
    fn only_managers_and_owners_revoke_keys_and_refund() {
        for role in ROLES {
            let expected = matches!(role, "property_manager" | "owner");
            assert_eq!(may(role, Scope::LockRevoke), expected, "{role}");
            assert_eq!(may(role, Scope::FolioRefund), expected, "{role}");
        }
    }

    #[test]
    fn an_auditor_changes_nothing() {
        for scope in [Scope::AiDecide, Scope::AlertsAck, Scope::LockIssue, Scope::FolioCharge] {
            assert!(!may("auditor", scope), "{scope:?}");
        }
        assert!(may("auditor", Scope::AuditRead));
    }

    #[test]
    fn an_unknown_role_may_do_nothing_and_roles_add_up() {
        let policy = Policy::shipped();
        assert_eq!(policy.scopes_of(&["night_porter".to_owned()]), Scopes::default());
        assert_eq!(policy.scopes_of(&[]), Scopes::default());
        let both = policy.scopes_of(&["housekeeper".to_owned(), "auditor".to_owned()]);
        assert!(both.contains(Scope::HousekeepingStart) && both.contains(Scope::AuditRead));
    }

    #[test]
    fn a_scope_that_does_not_exist_is_refused() {
        assert!(Policy::load("[roles]\nowner = [\"everything\"]").is_err());
        assert_eq!(Scope::named("alerts.ack"), Some(Scope::AlertsAck));
        assert_eq!(Scope::named("alerts"), None);
    }
}
