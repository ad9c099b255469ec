//! Why a request may not enter, and what its answer says: code, status, challenge, nonce.

use std::error::Error;

use http::StatusCode;

use super::{
    dpop::{Algorithms, ProofError},
    rate::Limited,
    token::{ClaimError, TokenError},
    version_floor::VersionBlocked,
};

/// A request that may not enter. Nothing of it was done, and its proof was not used up unless the
/// reason says so.
#[derive(Debug, thiserror::Error)]
#[error("request refused")]
pub struct Refusal {
    #[source]
    pub reason: Reason,
    /// For the `DPoP-Nonce` header of the answer; always there with `NonceRequired`.
    pub nonce: Option<String>,
    /// The first letters of the key's thumbprint, for the log.
    pub(super) key: Option<String>,
    /// What proofs may be signed with, for the challenge.
    pub(super) algorithms: Algorithms,
}

/// Why a request may not enter. The texts are fixed: nothing of the input is in them.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    #[error("no credentials")]
    TokenMissing,
    #[error("malformed credentials")]
    Malformed,
    #[error("a bound token must be sent under the DPoP scheme")]
    BearerRefused,
    #[error("invalid access token")]
    TokenInvalid(#[source] TokenError),
    #[error("access token has expired")]
    TokenExpired,
    #[error("exactly one DPoP proof is required")]
    ProofMissing,
    #[error("invalid DPoP proof")]
    ProofInvalid(#[source] ProofError),
    #[error("invalid DPoP key binding")]
    KeyMismatch,
    #[error("a fresh nonce is required")]
    NonceRequired,
    #[error("DPoP proof was used before")]
    ProofReplayed,
    /// The session, operator, device or tenant was fenced after the token was issued.
    #[error("session has been revoked")]
    SessionRevoked,
    /// A header is missing, twice there or not of its form.
    #[error("missing or invalid header {0}")]
    HeaderInvalid(&'static str),
    #[error("not allowed")]
    ScopeDenied,
    /// The device or its tenant asks too often.
    #[error("too many requests")]
    RateLimited(Limited),
    /// The app is older than the oldest version that is let in.
    #[error("app version too old")]
    VersionBlocked(Box<VersionBlocked>),
    /// What is asked for is outside the caller's tenant or properties.
    #[error("not found")]
    NotFound,
    /// A store or service needed to decide did not answer. After `session tier` the proof may have
    /// been used up: the caller makes a new one.
    #[error("{0} did not answer")]
    Unavailable(&'static str),
}

impl Refusal {
    /// The one value of `WWW-Authenticate`; `None` when the credentials are not what is wrong.
    pub fn challenge(&self) -> Option<String> {
        self.reason.challenge(self.algorithms)
    }

    /// Logs and counts the refusal without a word of the token or the proof.
    pub(super) fn report(&self) {
        let code = self.reason.code();
        let cause = self.reason.source().map(tracing::field::display);
        let key = self.key.as_deref();
        tracing::info!(code, key, cause, reason = %self.reason, "request refused");
        metrics::counter!("bff_backoffice_dpop_reject_total", "code" => code).increment(1);
        if matches!(self.reason, Reason::ProofReplayed) {
            metrics::counter!("bff_backoffice_dpop_replay_blocked_total").increment(1);
        }
        if let Reason::RateLimited(limited) = &self.reason {
            let by = limited.limit.name();
            metrics::counter!("bff_backoffice_rate_limited_total", "by" => by).increment(1);
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, nonce: None, key: None, algorithms: Algorithms::default() }
    }
}

impl From<TokenError> for Reason {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::KeysUnavailable => Self::Unavailable("token issuer"),
            TokenError::Claims(ClaimError::Expired) => Self::TokenExpired,
            error => Self::TokenInvalid(error),
        }
    }
}

impl From<ProofError> for Reason {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::KeyBinding => Self::KeyMismatch,
            ProofError::Nonce => Self::NonceRequired,
            error => Self::ProofInvalid(error),
        }
    }
}

impl Reason {
    /// The platform's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "MELMASTOON.AUTH.TOKEN_MISSING",
            Self::Malformed => "MELMASTOON.GENERAL.MALFORMED_REQUEST",
            Self::BearerRefused | Self::TokenInvalid(_) => "MELMASTOON.AUTH.TOKEN_INVALID",
            Self::TokenExpired => "MELMASTOON.AUTH.TOKEN_EXPIRED",
            Self::ProofMissing | Self::ProofInvalid(_) => "MELMASTOON.AUTH.PROOF_INVALID",
            Self::KeyMismatch => "MELMASTOON.AUTH.KEY_MISMATCH",
            Self::NonceRequired => "MELMASTOON.AUTH.NONCE_REQUIRED",
            Self::ProofReplayed => "MELMASTOON.AUTH.PROOF_REPLAYED",
            Self::SessionRevoked => "MELMASTOON.AUTH.SESSION_REVOKED",
            Self::HeaderInvalid(_) => "MELMASTOON.GENERAL.VALIDATION_FAILED",
            Self::ScopeDenied => "MELMASTOON.AUTH.SCOPE_DENIED",
            Self::RateLimited(_) => "MELMASTOON.GENERAL.RATE_LIMITED",
            Self::VersionBlocked(_) => "MELMASTOON.SYNC.VERSION_BLOCKED",
            Self::NotFound => "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND",
            Self::Unavailable(_) => "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE",
        }
    }

    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed | Self::HeaderInvalid(_) => StatusCode::BAD_REQUEST,
            Self::ScopeDenied => StatusCode::FORBIDDEN,
            Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::VersionBlocked(_) => StatusCode::UPGRADE_REQUIRED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The `error` of the challenge (RFC 6750 §3.1, RFC 9449 §7.1); `None` for no credentials.
    const fn error(&self) -> Option<&'static str> {
        match self {
            Self::TokenMissing => None,
            Self::Malformed => Some("invalid_request"),
            Self::ProofMissing | Self::ProofInvalid(_) | Self::ProofReplayed => {
                Some("invalid_dpop_proof")
            }
            Self::NonceRequired => Some("use_dpop_nonce"),
            _ => Some("invalid_token"),
        }
    }

    /// The challenge of a gate that takes proofs of these algorithms; see [`Refusal::challenge`].
    pub fn challenge(&self, algorithms: Algorithms) -> Option<String> {
        let is_about_credentials =
            self.status() == StatusCode::UNAUTHORIZED || matches!(self, Self::Malformed);
        let names = algorithms.names();
        is_about_credentials.then(|| match self.error() {
            None => format!(r#"DPoP algs="{names}""#),
            Some(error) => {
                format!(r#"DPoP error="{error}", error_description="{self}", algs="{names}""#)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::{
        AppPlatform,
        rate::{self, Limit},
    };

    fn all() -> Vec<Reason> {
        vec![
            Reason::TokenMissing,
            Reason::Malformed,
            Reason::BearerRefused,
            TokenError::Signature.into(),
            TokenError::Claims(ClaimError::Unbound).into(),
            TokenError::Claims(ClaimError::Expired).into(),
            TokenError::KeysUnavailable.into(),
            Reason::ProofMissing,
            ProofError::Malformed.into(),
            ProofError::KeyBinding.into(),
            ProofError::Nonce.into(),
            Reason::ProofReplayed,
            Reason::SessionRevoked,
            Reason::HeaderInvalid("X-Device-Id"),
            Reason::ScopeDenied,
            Reason::RateLimited(Limited {
                limit: Limit::Device,
                retry_after: Duration::from_millis(20),
                settings: rate::Settings::default(),
            }),
            Reason::VersionBlocked(Box::new(VersionBlocked {
                platform: AppPlatform::Linux,
                floor: semver::Version::new(2, 0, 0),
                update_url: None,
            })),
            Reason::NotFound,
            Reason::Unavailable("session tier"),
        ]
    }

    #[test]
    fn dp_prec_04_every_401_challenges_with_the_dpop_scheme_and_its_algorithms() {
        for reason in all() {
            let challenge = reason.challenge(Algorithms::Es256);
            if reason.status() == StatusCode::UNAUTHORIZED {
                let challenge = challenge.expect("a challenge");
                assert!(challenge.starts_with("DPoP "), "{challenge}");
                assert!(challenge.ends_with(r#"algs="ES256""#), "{challenge}");
                assert!(challenge.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{challenge}");
                assert_eq!(challenge.matches('"').count() % 2, 0, "{challenge}");
            }
        }
    }

    #[test]
    fn the_answers_are_those_of_the_contract() {
        let seen: Vec<String> = all()
            .iter()
            .map(|reason| {
                let challenge = reason.challenge(Algorithms::Es256).unwrap_or_default();
                format!("{} {} {challenge}", reason.status().as_u16(), reason.code())
            })
            .collect();
        assert_eq!(
            seen,
            [
                r#"401 MELMASTOON.AUTH.TOKEN_MISSING DPoP algs="ES256""#,
                r#"400 MELMASTOON.GENERAL.MALFORMED_REQUEST DPoP error="invalid_request", error_description="malformed credentials", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.TOKEN_INVALID DPoP error="invalid_token", error_description="a bound token must be sent under the DPoP scheme", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.TOKEN_INVALID DPoP error="invalid_token", error_description="invalid access token", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.TOKEN_INVALID DPoP error="invalid_token", error_description="invalid access token", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.TOKEN_EXPIRED DPoP error="invalid_token", error_description="access token has expired", algs="ES256""#,
                "503 MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE ",
                r#"401 MELMASTOON.AUTH.PROOF_INVALID DPoP error="invalid_dpop_proof", error_description="exactly one DPoP proof is required", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.PROOF_INVALID DPoP error="invalid_dpop_proof", error_description="invalid DPoP proof", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.KEY_MISMATCH DPoP error="invalid_token", error_description="invalid DPoP key binding", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.NONCE_REQUIRED DPoP error="use_dpop_nonce", error_description="a fresh nonce is required", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.PROOF_REPLAYED DPoP error="invalid_dpop_proof", error_description="DPoP proof was used before", algs="ES256""#,
                r#"401 MELMASTOON.AUTH.SESSION_REVOKED DPoP error="invalid_token", error_description="session has been revoked", algs="ES256""#,
                "400 MELMASTOON.GENERAL.VALIDATION_FAILED ",
                "403 MELMASTOON.AUTH.SCOPE_DENIED ",
                "429 MELMASTOON.GENERAL.RATE_LIMITED ",
                "426 MELMASTOON.SYNC.VERSION_BLOCKED ",
                "404 MELMASTOON.GENERAL.RESOURCE_NOT_FOUND ",
                "503 MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE ",
            ]
        );
    }
}
