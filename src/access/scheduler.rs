//! Who may start jobs: the scheduler's account, by Google's identity token. An operator's token is
//! another issuer's and is refused here, and this one is no `DPoP` token and is refused everywhere
//! else.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    jwks::{Algorithm, Fetch, Jwks, JwksError},
    jws,
    strict_json::{self, WholeSeconds, given},
    token,
};

/// Longer tokens are refused unread.
const TOKEN_BYTES_MAX: usize = 4096;
/// For clocks that differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(10);
/// Google's tokens live an hour.
const LIFETIME_MAX: Duration = Duration::from_hours(1);

/// Whose identity token is good.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `https://accounts.google.com`.
    pub issuer: String,
    /// Where its keys are.
    pub jwks_url: Url,
    /// Our own address, as the scheduler calls it.
    pub audience: String,
    /// The scheduler's service account.
    pub email: String,
}

/// Why a caller is no scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchedulerError {
    #[error("no identity token")]
    Missing,
    #[error("not an identity token of the scheduler")]
    Invalid,
    #[error("the identity token has expired")]
    Expired,
    /// Says nothing about the token.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
}

/// Verifies identity tokens of one account.
pub struct Scheduler {
    settings: Settings,
    jwks: Jwks,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(
        default,
        rename = "crit",
        alias = "b64",
        alias = "zip",
        alias = "jwk",
        alias = "jku",
        alias = "x5u",
        alias = "x5c",
        deserialize_with = "strict_json::forbidden"
    )]
    _forbidden: (),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    /// One; a token for several is for nobody.
    aud: String,
    exp: WholeSeconds,
    iat: WholeSeconds,
    #[serde(default, deserialize_with = "given")]
    email: Option<String>,
    #[serde(default, deserialize_with = "given")]
    email_verified: Option<bool>,
}

impl Scheduler {
    pub fn new(settings: Settings, fetch: Fetch) -> Self {
        let jwks = Jwks::new(settings.jwks_url.clone(), vec![Algorithm::Rs256], fetch);
        Self { settings, jwks }
    }

    /// Keeps the issuer's keys fresh until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        self.jwks.run(shutdown).await;
    }

    /// Whether `authorization` is the scheduler's. May wait for the issuer's keys (≤ 3 s).
    ///
    /// # Errors
    /// See [`SchedulerError`].
    pub async fn verify(
        &self,
        authorization: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), SchedulerError> {
        let authorization = authorization.ok_or(SchedulerError::Missing)?;
        let (scheme, text) = authorization.split_once(' ').ok_or(SchedulerError::Missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") || TOKEN_BYTES_MAX < text.len() {
            return Err(SchedulerError::Invalid);
        }
        let compact = jws::split(text).ok_or(SchedulerError::Invalid)?;
        let header: Header = strict_json::object(&compact.header).ok_or(SchedulerError::Invalid)?;
        let claims: Claims =
            strict_json::object(&compact.payload).ok_or(SchedulerError::Invalid)?;
        self.check(&claims)?;
        let algorithm = self.jwks.algorithm(&header.alg).ok_or(SchedulerError::Invalid)?;
        let key = self.jwks.key(&header.kid, algorithm).await.map_err(|error| match error {
            JwksError::UnknownKey => SchedulerError::Invalid,
            JwksError::Unavailable => SchedulerError::KeysUnavailable,
        })?;
        token::verify_signature(text, &key, algorithm).map_err(|_| SchedulerError::Invalid)?;
        check_times(&claims, now)
    }

    fn check(&self, claims: &Claims) -> Result<(), SchedulerError> {
        let is_ours = claims.iss == self.settings.issuer
            && claims.aud == self.settings.audience
            && claims.email.as_deref() == Some(self.settings.email.as_str())
            && claims.email_verified == Some(true);
        if is_ours { Ok(()) } else { Err(SchedulerError::Invalid) }
    }
}

fn check_times(claims: &Claims, now: DateTime<Utc>) -> Result<(), SchedulerError> {
    let at = |seconds: WholeSeconds| DateTime::from_timestamp(seconds.0, 0);
    let (Some(issued), Some(expires)) = (at(claims.iat), at(claims.exp)) else {
        return Err(SchedulerError::Invalid);
    };
    let is_sane = (expires - issued).to_std().is_ok_and(|lifetime| lifetime <= LIFETIME_MAX);
    if !is_sane || now + LEEWAY < issued {
        return Err(SchedulerError::Invalid);
    }
    if expires + LEEWAY <= now { Err(SchedulerError::Expired) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use serde_json::json;

    use super::*;
    use crate::access::jwks::FetchError;

    const NOW: i64 = 1_700_000_000;

    #[tokio::test(start_paused = true)]
    async fn without_the_issuers_keys_nobody_is_called_no_scheduler() {
        let verified = unreachable().verify(Some(&token()), now()).await;
        assert_eq!(verified, Err(SchedulerError::KeysUnavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_bearer_token_is_refused_without_a_look_at_the_keys() {
        let scheduler = unreachable();
        for (authorization, expected) in [
            (None, SchedulerError::Missing),
            (Some("Bearer".to_owned()), SchedulerError::Missing),
            (Some(token().replace("Bearer", "DPoP")), SchedulerError::Invalid),
            (Some(format!("Bearer {}", "a".repeat(TOKEN_BYTES_MAX + 1))), SchedulerError::Invalid),
        ] {
            let verified = scheduler.verify(authorization.as_deref(), now()).await;
            assert_eq!(verified, Err(expected), "{authorization:?}");
        }
    }

    #[test]
    fn times_that_no_calendar_has_are_refused() {
        for (issued, expires) in [(i64::MAX, i64::MAX), (NOW, i64::MAX), (i64::MIN, NOW)] {
            assert_eq!(checked(issued, expires), Err(SchedulerError::Invalid));
        }
        assert_eq!(checked(NOW, NOW + 60), Ok(()));
    }

    #[test]
    fn a_token_is_good_for_an_hour_at_most_and_for_clocks_that_differ_a_little() {
        let (invalid, expired) = (Err(SchedulerError::Invalid), Err(SchedulerError::Expired));
        for (issued, expires, expected) in [
            (NOW, NOW + 3600, Ok(())),
            (NOW, NOW + 3601, invalid),
            (NOW, NOW - 1, invalid),
            (NOW + 10, NOW + 60, Ok(())),
            (NOW + 11, NOW + 60, invalid),
            (NOW - 60, NOW - 9, Ok(())),
            (NOW - 60, NOW - 10, expired),
        ] {
            assert_eq!(checked(issued, expires), expected, "{issued} to {expires}");
        }
    }

    fn checked(issued: i64, expires: i64) -> Result<(), SchedulerError> {
        let (exp, iat) = (WholeSeconds(expires), WholeSeconds(issued));
        check_times(&Claims { exp, iat, ..claims() }, now())
    }

    fn claims() -> Claims {
        Claims {
            iss: "https://accounts.example".to_owned(),
            aud: "https://api.example".to_owned(),
            exp: WholeSeconds(NOW + 60),
            iat: WholeSeconds(NOW),
            email: Some("jobs@example".to_owned()),
            email_verified: Some(true),
        }
    }

    fn token() -> String {
        let Claims { iss, aud, exp, iat, email, email_verified } = claims();
        let claims = json!({ "iss": iss, "aud": aud, "exp": exp.0, "iat": iat.0, "email": email,
            "email_verified": email_verified });
        let header = json!({ "alg": "RS256", "kid": "k1" });
        let part = |value: serde_json::Value| jws::encode(value.to_string());
        format!("Bearer {}.{}.{}", part(header), part(claims), jws::encode([0; 256]))
    }

    /// Of an issuer that does not answer.
    fn unreachable() -> Scheduler {
        let settings = Settings {
            issuer: claims().iss,
            jwks_url: "https://accounts.example/keys".parse().unwrap(),
            audience: claims().aud,
            email: claims().email.unwrap(),
        };
        Scheduler::new(settings, Arc::new(|_| async { Err(FetchError::TimedOut) }.boxed()))
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }
}
