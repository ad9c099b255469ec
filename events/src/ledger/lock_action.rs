//! Ledger `lock-audit`, stream `lap_…`: one key of a door that an operator had issued or revoked,
//! recorded before lock-integration-service was asked.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::{
    AttestationId, KeyCredentialId, LockActionId, LockId, PropertyId, ReservationId, RoomId,
};

/// Declares an enum of names that stand in requests, in events and in labels of metrics.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema,
        )]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.name() == name)
            }
        }
    };
}

named!(
    /// What was wanted.
    LockActionKind {
        Issue = "issue",
        Revoke = "revoke",
    }
);
named!(
    /// Who made the lock. Source: lock-integration-service.
    LockVendor {
        Ttlock = "ttlock",
        Salto = "salto",
        AssaAbloy = "assa-abloy",
        GenericWiegand = "generic-wiegand",
        /// One that the service did not know when this was recorded.
        Other = "other",
    }
);
named!(
    /// What opens the door.
    KeyKind {
        MobileApp = "mobile_app",
        PinCode = "pin_code",
        RfidCard = "rfid_card",
        QrCode = "qr_code",
        NfcTag = "nfc_tag",
    }
);
named!(
    /// Why a key is taken back.
    RevokeReason {
        Checkout = "checkout",
        Cancellation = "cancellation",
        Security = "security",
        Lost = "lost",
        Replaced = "replaced",
    }
);
named!(
    /// Why nothing happened to the door.
    LockFailure {
        /// lock-integration-service said no; `status` and `code` are its own.
        Refused = "refused",
        /// It was never asked: its circuit was open, or we could not prove who we are. The same
        /// request may be made again.
        NotSent = "not_sent",
        /// It was found out afterwards that it had not done it.
        NotApplied = "not_applied",
        /// The operator brought no step-up that is good for it; it was not asked.
        MfaRefused = "mfa_refused",
    }
);
named!(
    /// What became of an action whose outcome was unknown.
    LockResolution {
        Completed = "completed",
        Failed = "failed",
    }
);
named!(
    /// How the outcome was found out.
    LockFinding {
        /// The same request again, under the same key.
        Repeated = "repeated",
        /// lock-integration-service's own event.
        Event = "event",
        /// Reading the key at lock-integration-service.
        Read = "read",
    }
);

/// What is asked of lock-integration-service: all that is needed to ask it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum LockDemand {
    /// A key for the rooms of a stay.
    Issue {
        reservation_id: ReservationId,
        /// At least one.
        rooms: Vec<RoomId>,
        valid_from: DateTime<Utc>,
        /// Exclusive.
        valid_until: DateTime<Utc>,
        /// Best first; empty: as the lock prefers.
        preferred_kinds: Vec<KeyKind>,
    },
    /// That a key opens nothing any more.
    Revoke {
        key_credential_id: KeyCredentialId,
        reason: RevokeReason,
        /// The step-up that this action used up.
        attestation_id: AttestationId,
        /// iam-service's own id of it, when it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iam_attestation_id: Option<String>,
    },
}

/// What happened to one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum LockActionEvent {
    /// An operator wants it, and may. Recorded before lock-integration-service is asked.
    ///
    /// Source: `POST /locks/{lockId}/issue-key` and `/revoke-key`.
    #[serde(
        rename = "melmastoon.bff.backoffice.lock_action.requested.v1",
        rename_all = "camelCase"
    )]
    Requested {
        action_id: LockActionId,
        lock_id: LockId,
        property_id: PropertyId,
        vendor: LockVendor,
        demand: LockDemand,
        /// Under which lock-integration-service knows the request, however often it is made.
        upstream_key: String,
        requested_at: DateTime<Utc>,
    },

    /// lock-integration-service has done it.
    #[serde(
        rename = "melmastoon.bff.backoffice.lock_action.completed.v1",
        rename_all = "camelCase"
    )]
    Completed {
        action_id: LockActionId,
        lock_id: LockId,
        /// The key that was issued or revoked.
        key_credential_id: KeyCredentialId,
        completed_at: DateTime<Utc>,
    },

    /// Nothing happened to the door.
    #[serde(rename = "melmastoon.bff.backoffice.lock_action.failed.v1", rename_all = "camelCase")]
    Failed {
        action_id: LockActionId,
        action: LockActionKind,
        lock_id: LockId,
        reason: LockFailure,
        /// The upstream's HTTP status, or that of our own refusal; absent when there was none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The problem code, empty when there was none.
        code: String,
        failed_at: DateTime<Utc>,
    },

    /// lock-integration-service was asked and did not answer: it may have done it.
    #[serde(
        rename = "melmastoon.bff.backoffice.lock_action.outcome_unknown.v1",
        rename_all = "camelCase"
    )]
    OutcomeUnknown { action_id: LockActionId, lock_id: LockId, unknown_at: DateTime<Utc> },

    /// What became of it was found out afterwards.
    #[serde(rename = "melmastoon.bff.backoffice.lock_action.resolved.v1", rename_all = "camelCase")]
    Resolved {
        action_id: LockActionId,
        lock_id: LockId,
        outcome: LockResolution,
        found_by: LockFinding,
        /// The key that was issued or revoked; absent when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_credential_id: Option<KeyCredentialId>,
        /// Why it failed; absent when it did not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<LockFailure>,
        /// The upstream's HTTP status, when it refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The upstream's problem code, empty when there was none.
        code: String,
        resolved_at: DateTime<Utc>,
    },
}

impl LockDemand {
    pub const fn kind(&self) -> LockActionKind {
        match self {
            Self::Issue { .. } => LockActionKind::Issue,
            Self::Revoke { .. } => LockActionKind::Revoke,
        }
    }
}

impl LockActionEvent {
    pub const fn action_id(&self) -> &LockActionId {
        match self {
            Self::Requested { action_id, .. }
            | Self::Completed { action_id, .. }
            | Self::Failed { action_id, .. }
            | Self::OutcomeUnknown { action_id, .. }
            | Self::Resolved { action_id, .. } => action_id,
        }
    }
}

impl LedgerEvent for LockActionEvent {
    const LEDGER: Ledger = Ledger::LockAudit;

    fn kind(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "melmastoon.bff.backoffice.lock_action.requested.v1",
            Self::Completed { .. } => "melmastoon.bff.backoffice.lock_action.completed.v1",
            Self::Failed { .. } => "melmastoon.bff.backoffice.lock_action.failed.v1",
            Self::OutcomeUnknown { .. } => {
                "melmastoon.bff.backoffice.lock_action.outcome_unknown.v1"
            }
            Self::Resolved { .. } => "melmastoon.bff.backoffice.lock_action.resolved.v1",
        }
    }
}

domain_event!(LockActionEvent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_written() {
        for vendor in LockVendor::ALL {
            assert_eq!(LockVendor::from_name(vendor.name()), Some(*vendor));
            assert_eq!(serde_json::to_value(vendor).unwrap(), vendor.name());
        }
        for reason in RevokeReason::ALL {
            assert_eq!(RevokeReason::from_name(reason.name()), Some(*reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }
}
