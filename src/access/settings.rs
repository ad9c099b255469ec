//! What access can be set to, with its bounds.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use events::TenantId;
use secrecy::SecretString;
use url::Url;

use super::{
    dpop::{Algorithms, InvalidBase, Window},
    jwks::Algorithm,
    nonce::{Nonces, ShortSecret},
    rate,
};

/// A used proof is remembered for longer than its nonce lives (3 min) and clocks differ (1 min).
const REPLAY_TTL_MIN: Duration = Duration::from_mins(4);
const AGE_MAX_BOUNDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));
/// Ten seconds must be accepted, sixty should not (FAPI 2.0 security profile §5.3.2.1).
const FUTURE_MAX_BOUNDS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(59));

/// Settings of the gate.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose access tokens are accepted; at least one.
    pub issuers: Vec<Issuer>,
    /// By `iss`: the tenants an issuer may speak for. One that is not here speaks for all: the
    /// platform's own.
    pub issuer_tenants: HashMap<String, HashSet<TenantId>>,
    /// The `aud` of this service.
    pub audience: String,
    /// Origins, with a path prefix if there is one, under which clients reach this service; each
    /// also with `/api` behind it.
    pub public_bases: Vec<String>,
    /// How far a proof's `iat` may be off: 10–300 s back, 10–59 s ahead.
    pub window: Window,
    /// What proofs may be signed with.
    pub proof_algorithms: Algorithms,
    pub nonce_mode: NonceMode,
    /// At least 32 bytes; needed when nonces are required.
    pub nonce_secret: Option<SecretString>,
    /// The secret before the last rotation.
    pub nonce_secret_previous: Option<SecretString>,
    /// Slack for `exp`, `nbf` and `iat` of access tokens.
    pub leeway: Duration,
    /// An access token may live this long, 1 h at most.
    pub token_lifetime_max: Duration,
    /// Lets old desktops send `Authorization: Bearer` beside a full proof.
    pub bearer_with_proof: bool,
    /// A session ends this long after its last request.
    pub session_ttl: Duration,
    /// A used proof is remembered this long; 240 s at least, and longer than the window.
    pub replay_ttl: Duration,
    /// How long the session tier may take for one answer.
    pub store_timeout: Duration,
    /// How many requests are let in.
    pub rates: rate::Settings,
    /// How often the document of flags is read.
    pub flags_interval: Duration,
    /// Where a desktop that is too old finds a newer version.
    pub update_url: Option<Url>,
}

/// An issuer of access tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Exactly as in the tokens.
    pub iss: String,
    pub jwks_url: Url,
    /// The only algorithms its tokens may be signed with; at least one.
    pub algorithms: Vec<Algorithm>,
}

/// Whether proofs need a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceMode {
    Required,
    Off,
}

/// A setting is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("no issuer, or one without algorithms")]
    Issuers,
    #[error("no audience")]
    Audience,
    #[error("the window of proofs must be 10 to 300 s back and 10 to 59 s ahead")]
    Window,
    #[error("used proofs must be remembered for 240 s and longer than their window")]
    ReplayTtl,
    #[error("access tokens may live an hour at most")]
    TokenLifetime,
    #[error("nonces are required, but there is no secret for them")]
    NonceSecretMissing,
    #[error(transparent)]
    NonceSecretShort(#[from] ShortSecret),
    #[error(transparent)]
    PublicBase(#[from] InvalidBase),
}

impl Default for Settings {
    /// The documented defaults; issuers, audience and the nonce secret have none.
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            issuer_tenants: HashMap::new(),
            audience: String::new(),
            public_bases: vec![
                "http://127.0.0.1:8083".to_owned(),
                "http://localhost:8083".to_owned(),
            ],
            window: Window::default(),
            proof_algorithms: Algorithms::default(),
            nonce_mode: NonceMode::Required,
            nonce_secret: None,
            nonce_secret_previous: None,
            leeway: Duration::from_secs(10),
            token_lifetime_max: Duration::from_hours(1),
            bearer_with_proof: false,
            session_ttl: Duration::from_hours(12),
            replay_ttl: Duration::from_mins(5),
            store_timeout: Duration::from_millis(50),
            rates: rate::Settings::default(),
            flags_interval: Duration::from_secs(30),
            update_url: None,
        }
    }
}

impl Settings {
    /// # Errors
    /// The first setting that is out of its bounds.
    pub(super) fn check(&self) -> Result<(), SettingsError> {
        let is_within =
            |value: Duration, (least, most): (Duration, Duration)| (least..=most).contains(&value);
        if self.issuers.is_empty() || self.issuers.iter().any(|it| it.algorithms.is_empty()) {
            return Err(SettingsError::Issuers);
        }
        if self.audience.is_empty() {
            return Err(SettingsError::Audience);
        }
        if !is_within(self.window.age_max, AGE_MAX_BOUNDS)
            || !is_within(self.window.future_max, FUTURE_MAX_BOUNDS)
        {
            return Err(SettingsError::Window);
        }
        let window = self.window.age_max + self.window.future_max;
        if self.replay_ttl < REPLAY_TTL_MIN || self.replay_ttl <= window {
            return Err(SettingsError::ReplayTtl);
        }
        if self.token_lifetime_max > Duration::from_hours(1) {
            return Err(SettingsError::TokenLifetime);
        }
        Ok(())
    }

    /// The issuer and checker of nonces; `None` when they are off.
    pub(super) fn nonces(&self) -> Result<Option<Nonces>, SettingsError> {
        if self.nonce_mode == NonceMode::Off {
            return Ok(None);
        }
        let current = self.nonce_secret.as_ref().ok_or(SettingsError::NonceSecretMissing)?;
        Ok(Some(Nonces::new(current, self.nonce_secret_previous.as_ref())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Settings {
        Settings {
            issuers: vec![Issuer {
                iss: "https://iam.example".to_owned(),
                jwks_url: "https://iam.example/jwks.json".parse().unwrap(),
                algorithms: vec![Algorithm::Es256],
            }],
            audience: "backoffice".to_owned(),
            nonce_secret: Some(SecretString::from("n".repeat(32))),
            ..Settings::default()
        }
    }

    #[test]
    fn the_defaults_are_within_bounds() {
        assert_eq!(valid().check(), Ok(()));
        assert!(valid().nonces().unwrap().is_some());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        let seconds = Duration::from_secs;
        let window = |age_max, future_max| Window {
            age_max: seconds(age_max),
            future_max: seconds(future_max),
        };
        for (settings, expected) in [
            (Settings { issuers: Vec::new(), ..valid() }, SettingsError::Issuers),
            (Settings { audience: String::new(), ..valid() }, SettingsError::Audience),
            (Settings { window: window(9, 15), ..valid() }, SettingsError::Window),
            (Settings { window: window(301, 15), ..valid() }, SettingsError::Window),
            (Settings { window: window(60, 60), ..valid() }, SettingsError::Window),
            (Settings { replay_ttl: seconds(239), ..valid() }, SettingsError::ReplayTtl),
            (
                Settings { replay_ttl: seconds(300), window: window(300, 15), ..valid() },
                SettingsError::ReplayTtl,
            ),
            (
                Settings { token_lifetime_max: seconds(3601), ..valid() },
                SettingsError::TokenLifetime,
            ),
        ] {
            assert_eq!(settings.check(), Err(expected));
        }
        let missing = Settings { nonce_secret: None, ..valid() }.nonces();
        assert_eq!(missing.err(), Some(SettingsError::NonceSecretMissing));
        let short = Settings { nonce_secret: Some("short".into()), ..valid() }.nonces();
        assert_eq!(short.err(), Some(SettingsError::NonceSecretShort(ShortSecret)));
    }
}
