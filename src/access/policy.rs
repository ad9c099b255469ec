//! Which role may do what: data from `policy.toml`, deny by default.

use std::collections::HashMap;

use serde::Deserialize;

/// Declares the scopes and their names.
macro_rules! scopes {
    ($($variant:ident = $name:literal;)*) => {
        /// What can be allowed, one name a group of routes. Its text is what `policy.toml` writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
        #[serde(try_from = "String")]
        #[repr(u8)]
        pub enum Scope {
            $($variant,)*
        }

        impl Scope {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

scopes! {
    DashboardRead = "dashboard.read";
    BoardToday = "board.today";
    BoardArrivals = "board.arrivals";
    BoardDepartures = "board.departures";
    BoardInHouse = "board.in-house";
    BoardFrontDesk = "board.front-desk";
    BoardHousekeeping = "board.housekeeping";
    BoardMaintenance = "board.maintenance";
    AiRead = "ai.read";
    AiDecide = "ai.decide";
    AlertsRead = "alerts.read";
    AlertsAck = "alerts.ack";
    LockIssue = "lock.issue";
    LockRevoke = "lock.revoke";
    ReservationCheckIn = "reservation.check-in";
    ReservationCheckOut = "reservation.check-out";
    ReservationCancel = "reservation.cancel";
    ReservationNoShow = "reservation.no-show";
    ReservationAssignRoom = "reservation.assign-room";
    ReservationExtendStay = "reservation.extend-stay";
    FolioCharge = "folio.charge";
    FolioPayment = "folio.payment";
    FolioClose = "folio.close";
    FolioRefund = "folio.refund";
    HousekeepingStart = "housekeeping.start";
    HousekeepingComplete = "housekeeping.complete";
    HousekeepingInspect = "housekeeping.inspect";
    HousekeepingRoomStatus = "housekeeping.room-status";
    MaintenanceCreate = "maintenance.create";
    MaintenanceAssign = "maintenance.assign";
    MaintenanceBlock = "maintenance.block";
    MaintenanceResolve = "maintenance.resolve";
    MaintenanceVerify = "maintenance.verify";
    AuditRead = "audit.read";
    ShortcutsManage = "shortcuts.manage";
}

impl Scope {
    /// The scope of this name, as routes kept as data write it; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.name() == name)
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::named(&name).ok_or_else(|| format!("no scope `{name}`"))
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
