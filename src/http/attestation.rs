//! The step-up that a request brings along, and what it is told when that is not good enough.

use http::{HeaderMap, HeaderName};

use super::{codes::Code, problem::Problem};
use crate::commands::consume_attestation::AttestationError;

const X_MFA_ATTESTATION: HeaderName = HeaderName::from_static("x-mfa-attestation");

/// `X-Mfa-Attestation`. Two of them, or one that is no text, are as good as an unknown one.
pub fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(X_MFA_ATTESTATION).iter();
    match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().unwrap_or_default()),
        (Some(_), Some(_)) => Some(""),
    }
}

impl From<AttestationError> for Problem {
    fn from(error: AttestationError) -> Self {
        match error {
            AttestationError::Required => Self::new(Code::MfaRequired),
            AttestationError::Invalid => Self::new(Code::MfaInvalid),
            AttestationError::Expired => Self::new(Code::MfaExpired),
            AttestationError::Used => Self::new(Code::MfaUsed),
            AttestationError::ScopeMismatch => Self::new(Code::MfaScopeMismatch),
            AttestationError::Command(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandError;

    #[test]
    fn id_46_every_refusal_is_403_with_a_code_of_its_own() {
        for (error, code) in [
            (AttestationError::Required, "MELMASTOON.AUTH.MFA_REQUIRED"),
            (AttestationError::Invalid, "MELMASTOON.AUTH.MFA_INVALID"),
            (AttestationError::Expired, "MELMASTOON.AUTH.MFA_EXPIRED"),
            (AttestationError::Used, "MELMASTOON.AUTH.MFA_USED"),
            (AttestationError::ScopeMismatch, "MELMASTOON.AUTH.MFA_SCOPE_MISMATCH"),
        ] {
            assert_eq!(error.code(), code, "in the ledger");
            let problem = Problem::from(error);
            assert_eq!((problem.status().as_u16(), problem.full_code()), (403, code.to_owned()));
        }
        let failed = || CommandError::Unavailable(anyhow::anyhow!("down"));
        let problem = Problem::from(AttestationError::Command(failed()));
        assert_eq!(problem.full_code(), AttestationError::Command(failed()).code());
    }

    #[test]
    fn two_attestations_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers), None);
        headers.append(X_MFA_ATTESTATION, "mfa_1".parse().unwrap());
        assert_eq!(presented(&headers), Some("mfa_1"));
        headers.append(X_MFA_ATTESTATION, "mfa_2".parse().unwrap());
        assert_eq!(presented(&headers), Some(""));
    }
}
