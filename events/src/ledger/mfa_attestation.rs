//! Ledger `session`, stream `mfa_…`: one step-up of an operator, good for one action.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Ledger, LedgerEvent, domain_event};
use crate::{AttestationId, DeviceId, OperatorId};

/// What begins the kinds of this aggregate, which share their ledger with those of sessions.
pub const KIND_PREFIX: &str = "melmastoon.bff.backoffice.mfa.";

/// What a step-up may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum StepUpScope {
    #[serde(rename = "lock.revoke")]
    LockRevoke,
    #[serde(rename = "folio.refund")]
    FolioRefund,
    #[serde(rename = "folio.large-charge")]
    FolioLargeCharge,
}

/// What the operator proved to have. Source: iam-service's factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepUpFactor {
    Totp,
    Webauthn,
    RecoveryCode,
}

/// What happened to one step-up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum MfaAttestationEvent {
    /// iam-service confirmed the second factor.
    ///
    /// Source: `POST /auth/mfa/step-up`. The code itself is never recorded.
    #[serde(rename = "melmastoon.bff.backoffice.mfa.stepped_up.v1", rename_all = "camelCase")]
    SteppedUp {
        attestation_id: AttestationId,
        operator_id: OperatorId,
        device_id: DeviceId,
        /// RFC 7638 thumbprint of the device's key, base64url.
        key_thumbprint: String,
        scope: StepUpScope,
        /// The one object the action may be about, opaque; absent: any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<String>,
        factor: StepUpFactor,
        stepped_up_at: DateTime<Utc>,
        /// From then on it is worth nothing.
        expires_at: DateTime<Utc>,
        /// iam-service's own id of it, when it gave one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        iam_attestation_id: Option<String>,
    },

    /// An action took the attestation along; from now on it is that action's only.
    #[serde(rename = "melmastoon.bff.backoffice.mfa.consumed.v1", rename_all = "camelCase")]
    Consumed {
        attestation_id: AttestationId,
        /// ULID under which the action was asked for: only its repetitions go on.
        idempotency_key: String,
        scope: StepUpScope,
        /// The object of the action, opaque; absent when it has none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<String>,
        consumed_at: DateTime<Utc>,
    },

    /// iam-service did not confirm the factor. Nothing can be done with this id.
    #[serde(rename = "melmastoon.bff.backoffice.mfa.refused.v1", rename_all = "camelCase")]
    Refused {
        attestation_id: AttestationId,
        operator_id: OperatorId,
        device_id: DeviceId,
        scope: StepUpScope,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<String>,
        factor: StepUpFactor,
        refused_at: DateTime<Utc>,
        /// iam-service's problem code, empty when it gave none.
        code: String,
    },
}

impl StepUpScope {
    pub const ALL: [Self; 3] = [Self::LockRevoke, Self::FolioRefund, Self::FolioLargeCharge];

    pub const fn name(self) -> &'static str {
        match self {
            Self::LockRevoke => "lock.revoke",
            Self::FolioRefund => "folio.refund",
            Self::FolioLargeCharge => "folio.large-charge",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl StepUpFactor {
    pub const ALL: [Self; 3] = [Self::Totp, Self::Webauthn, Self::RecoveryCode];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Webauthn => "webauthn",
            Self::RecoveryCode => "recovery_code",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|factor| factor.name() == name)
    }
}

impl LedgerEvent for MfaAttestationEvent {
    const LEDGER: Ledger = Ledger::Session;

    fn kind(&self) -> &'static str {
        match self {
            Self::SteppedUp { .. } => "melmastoon.bff.backoffice.mfa.stepped_up.v1",
            Self::Consumed { .. } => "melmastoon.bff.backoffice.mfa.consumed.v1",
            Self::Refused { .. } => "melmastoon.bff.backoffice.mfa.refused.v1",
        }
    }
}

domain_event!(MfaAttestationEvent);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_factors_are_found_by_the_names_they_are_written_with() {
        for scope in StepUpScope::ALL {
            assert_eq!(StepUpScope::from_name(scope.name()), Some(scope));
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.name());
        }
        for factor in StepUpFactor::ALL {
            assert_eq!(StepUpFactor::from_name(factor.name()), Some(factor));
            assert_eq!(serde_json::to_value(factor).unwrap(), factor.name());
        }
    }
}
