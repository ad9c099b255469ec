//! Every error code clients can meet: its status, whether repeating makes sense, its title. One
//! table.

use http::StatusCode;

/// What holds for a code wherever it is used. A status never changes once published.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// `<DOMAIN>.<CODE>`, without the platform's prefix.
    pub name: &'static str,
    pub status: StatusCode,
    /// The same request may succeed later.
    pub retriable: bool,
    /// English, for developers and logs.
    pub title: &'static str,
}

/// Declares the codes and their rows.
macro_rules! codes {
    ($($variant:ident = $name:literal, $status:ident, $retriable:literal, $title:literal;)*) => {
        /// An error code of ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($variant,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row {
                        name: $name,
                        status: StatusCode::$status,
                        retriable: $retriable,
                        title: $title,
                    },)*
                }
            }
        }
    };
}

codes! {
    TokenMissing = "AUTH.TOKEN_MISSING", UNAUTHORIZED, false, "Access token missing";
    TokenInvalid = "AUTH.TOKEN_INVALID", UNAUTHORIZED, false, "Access token invalid";
    TokenExpired = "AUTH.TOKEN_EXPIRED", UNAUTHORIZED, false, "Access token expired";
    ProofInvalid = "AUTH.PROOF_INVALID", UNAUTHORIZED, false, "DPoP proof invalid";
    ProofReplayed = "AUTH.PROOF_REPLAYED", UNAUTHORIZED, false, "DPoP proof used before";
    NonceRequired = "AUTH.NONCE_REQUIRED", UNAUTHORIZED, true, "DPoP nonce required";
    KeyMismatch = "AUTH.KEY_MISMATCH", UNAUTHORIZED, false,
        "Key or device does not match the token";
    SessionRevoked = "AUTH.SESSION_REVOKED", UNAUTHORIZED, false, "Session revoked";
    MfaRequired = "AUTH.MFA_REQUIRED", FORBIDDEN, false, "Step-up attestation required";
    MfaInvalid = "AUTH.MFA_INVALID", FORBIDDEN, false, "Step-up attestation invalid";
    MfaExpired = "AUTH.MFA_EXPIRED", FORBIDDEN, false, "Step-up attestation expired";
    MfaUsed = "AUTH.MFA_USED", FORBIDDEN, false, "Step-up attestation used before";
    MfaScopeMismatch = "AUTH.MFA_SCOPE_MISMATCH", FORBIDDEN, false,
        "Step-up attestation is for something else";
    ScopeDenied = "AUTH.SCOPE_DENIED", FORBIDDEN, false, "Not allowed for this role";
    VersionBlocked = "SYNC.VERSION_BLOCKED", UPGRADE_REQUIRED, false, "App version too old";
    CursorConflict = "SYNC.CURSOR_CONFLICT", CONFLICT, false, "Cursor moved in the meantime";
    ValidationFailed = "GENERAL.VALIDATION_FAILED", BAD_REQUEST, false, "Validation failed";
    MalformedRequest = "GENERAL.MALFORMED_REQUEST", BAD_REQUEST, false, "Malformed request";
    IdempotencyKeyMissing = "GENERAL.IDEMPOTENCY_KEY_MISSING", BAD_REQUEST, false,
        "Idempotency key missing";
    IdempotencyKeyInvalid = "GENERAL.IDEMPOTENCY_KEY_INVALID", BAD_REQUEST, false,
        "Idempotency key invalid";
    IdempotencyKeyExpired = "GENERAL.IDEMPOTENCY_KEY_EXPIRED", BAD_REQUEST, false,
        "Idempotency key expired";
    ResourceNotFound = "GENERAL.RESOURCE_NOT_FOUND", NOT_FOUND, false, "Resource not found";
    MethodNotAllowed = "GENERAL.METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, false,
        "Method not allowed";
    NotAcceptable = "GENERAL.NOT_ACCEPTABLE", NOT_ACCEPTABLE, false, "Not acceptable";
    RequestTimeout = "GENERAL.REQUEST_TIMEOUT", REQUEST_TIMEOUT, true, "Request body too slow";
    PayloadTooLarge = "GENERAL.PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE, false, "Payload too large";
    UnsupportedMediaType = "GENERAL.UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE, false,
        "Unsupported media type";
    IdempotencyInProgress = "GENERAL.IDEMPOTENCY_IN_PROGRESS", CONFLICT, true,
        "The same request is under way";
    IdempotencyKeyReused = "GENERAL.IDEMPOTENCY_KEY_REUSED", UNPROCESSABLE_ENTITY, false,
        "Idempotency key used for another request";
    PreconditionFailed = "GENERAL.PRECONDITION_FAILED", PRECONDITION_FAILED, false,
        "Changed in the meantime";
    RateLimited = "GENERAL.RATE_LIMITED", TOO_MANY_REQUESTS, true, "Too many requests";
    AlreadyDecided = "AI.ALREADY_DECIDED", CONFLICT, false, "Suggestion already decided";
    SuggestionExpired = "AI.SUGGESTION_EXPIRED", GONE, false, "Suggestion expired";
    UpstreamUnavailable = "BFF.UPSTREAM_UNAVAILABLE", SERVICE_UNAVAILABLE, true,
        "Upstream service unavailable";
    UpstreamTimeout = "BFF.UPSTREAM_TIMEOUT", GATEWAY_TIMEOUT, true,
        "Upstream service did not answer in time";
    OutcomeUnknown = "BFF.OUTCOME_UNKNOWN", GATEWAY_TIMEOUT, true, "Outcome unknown";
    UpstreamFailed = "BFF.UPSTREAM_FAILED", BAD_GATEWAY, true, "Upstream service failed";
    DependencyUnavailable = "BFF.DEPENDENCY_UNAVAILABLE", SERVICE_UNAVAILABLE, true,
        "A store is unavailable";
    Overloaded = "BFF.OVERLOADED", SERVICE_UNAVAILABLE, true, "Overloaded";
    Internal = "BFF.INTERNAL", INTERNAL_SERVER_ERROR, false, "Internal error";
}

impl Code {
    /// As clients see it: `MELMASTOON.<DOMAIN>.<CODE>`.
    pub fn full(self) -> String {
        format!("MELMASTOON.{}", self.row().name)
    }

    /// The code that clients see under this name.
    pub fn named(full: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.full() == full)
    }

    pub fn status(self) -> StatusCode {
        self.row().status
    }
}

/// The lower-case path of a code: `GENERAL.RATE_LIMITED` → (`general`, `rate-limited`).
pub fn domain_and_slug(name: &str) -> (String, String) {
    let (domain, slug) = name.split_once('.').unwrap_or(("general", name));
    let kebab = |text: &str| text.to_ascii_lowercase().replace(['_', '.'], "-");
    (kebab(domain), kebab(slug))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_code_stands_in_the_table_twice() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.row().name).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn every_code_is_an_error_with_a_domain() {
        for code in Code::ALL {
            let row = code.row();
            assert!(row.status.is_client_error() || row.status.is_server_error(), "{}", row.name);
            assert!(row.name.contains('.'), "{}", row.name);
        }
    }

    #[test]
    fn slugs_are_lower_kebab() {
        let split = domain_and_slug("GENERAL.RESOURCE_NOT_FOUND");
        assert_eq!(split, ("general".to_owned(), "resource-not-found".to_owned()));
    }
}
