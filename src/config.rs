//! The settings: the only reader of the environment. Every mistake is reported at once, by the
//! variable's name.

mod reader;

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use url::Url;

use self::reader::{POSTGRES, Reader};
use crate::access::dpop::Algorithms;

/// Every variable in a line, for `--help`.
pub const HELP: &str = include_str!("config/help.txt");

/// Everything the service can be told. Each field names its variable, its unit and its default.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub tokens: Tokens,
    pub upstreams: Upstreams,
    pub limits: Limits,
    pub scheduler: SchedulerAccount,
    pub foundation: Foundation,
}

/// What every role but `migrate` stands on; repairs need nothing else.
#[derive(Clone, Debug)]
pub struct Foundation {
    pub stores: Stores,
    /// `SECRETS_DIR`, required: see `secrets.rs` for its files.
    pub secrets_dir: PathBuf,
    /// `INSTANCE`: names this process in leases, events and logs; no other process may have the
    /// same. Default: `backoffice-<ULID>`, a new one each start.
    pub instance: String,
}

#[derive(Clone, Debug)]
pub struct Server {
    /// `BACKOFFICE_LISTEN`, default `0.0.0.0:8083`.
    pub listen: SocketAddr,
    /// `BACKOFFICE_ADMIN_LISTEN`, default `127.0.0.1:9083`; serves `/metrics`.
    pub admin_listen: SocketAddr,
    /// `BACKOFFICE_PUBLIC_BASES`, required: the origins that proofs may name, comma-separated.
    pub public_bases: Vec<Url>,
    /// `BACKOFFICE_CORS_ORIGINS`, default none: web origins that may read answers,
    /// comma-separated, such as `app://backoffice`.
    pub cors_origins: Vec<String>,
    /// `CONNECTIONS_MAX`, default 4096 (12000 for an instance that serves live streams).
    pub connections_max: NonZeroUsize,
    /// `CONNECTIONS_PER_ADDRESS_MAX`, default 100; 0 is no cap, for instances behind a load
    /// balancer.
    pub connections_per_address_max: usize,
    /// `BACKOFFICE_DRAIN`, default `8s`: how long requests in flight may take after SIGTERM.
    pub drain: Duration,
}

#[derive(Clone, Debug)]
pub struct Stores {
    /// `DATABASE_URL`, required: role `backoffice_app`; the other roles share host and database.
    pub database_url: SecretString,
    /// `DATABASE_OWNER_URL`: needed by `migrate` only.
    pub database_owner_url: Option<SecretString>,
    /// `DATABASE_REQUEST_POOL_MAX`, connections of requests, default 24.
    pub database_request_pool_max: NonZeroU32,
    /// `DATABASE_POOL_MAX`, connections of each other role, default 8.
    pub database_pool_max: NonZeroU32,
    /// `REDIS_SESSION_URL`, required: sessions, replay, live streams; must not evict.
    pub redis_session_url: SecretString,
    /// `REDIS_CACHE_URL`, required: views.
    pub redis_cache_url: SecretString,
    /// `PUBSUB_PROJECT`, required.
    pub pubsub_project: String,
    /// `PUBSUB_EMULATOR_HOST`, `host:port`: an emulator instead of Google's service; topics are
    /// then created at start.
    pub pubsub_emulator_host: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Tokens {
    /// `TOKEN_ISSUER`, required.
    pub issuer: String,
    /// `TOKEN_JWKS_URL`, required.
    pub jwks_url: Url,
    /// `TOKEN_AUDIENCE`, default `bff-backoffice`.
    pub audience: String,
    /// `DPOP_NONCE`, `required` (default) or `off`.
    pub nonce_required: bool,
    /// `DPOP_BEARER`, `on` or `off` (default): whether a token may come under `Bearer` beside a full
    /// proof, for desktops that know no better.
    pub bearer_with_proof: bool,
    /// `DPOP_MAX_AGE`, 10 s–300 s, default `60s`.
    pub proof_age_max: Duration,
    /// `DPOP_FUTURE`, 10 s–59 s, default `15s`.
    pub proof_future_max: Duration,
    /// `DPOP_ALGORITHMS`, `ES256` (default), `EdDSA` or both, comma-separated.
    pub proof_algorithms: Algorithms,
    /// `SESSION_TIER_TIMEOUT`, 10 ms–2 s, default `50ms`: for the one question a request asks
    /// there; later it is refused with 503.
    pub session_tier_timeout: Duration,
}

/// How much is let in, and from which versions of the desktop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `RATE_PER_DEVICE`, requests a second, default 50.
    pub per_device: NonZeroU32,
    /// `RATE_PER_DEVICE_BURST`, requests at once, default 100.
    pub per_device_burst: NonZeroU32,
    /// `RATE_PER_TENANT`, requests a second over all instances, default 1000.
    pub per_tenant: NonZeroU32,
    /// `RATE_PER_TENANT_BURST`, requests at once, default 1000.
    pub per_tenant_burst: NonZeroU32,
    /// `FLAGS_INTERVAL`, 100 ms–5 min, default `30s`: how often version floors and flags are read.
    pub flags_interval: Duration,
    /// `DESKTOP_UPDATE_URL`: where a desktop that is too old finds a newer version.
    pub update_url: Option<Url>,
}

/// Who may start jobs over HTTP.
#[derive(Clone, Debug)]
pub struct SchedulerAccount {
    /// `SCHEDULER_EMAIL`: the service account that may; unset: nobody.
    pub email: Option<String>,
    /// `SCHEDULER_AUDIENCE`, default the first of `BACKOFFICE_PUBLIC_BASES`, without a slash at its
    /// end: what its identity tokens are for.
    pub audience: String,
    /// `SCHEDULER_ISSUER`, default `https://accounts.google.com`.
    pub issuer: String,
    /// `SCHEDULER_JWKS_URL`, default `https://www.googleapis.com/oauth2/v3/certs`.
    pub jwks_url: Url,
}

#[derive(Clone, Debug)]
pub struct Upstreams {
    /// `UPSTREAM_BASE_URL`: every service stands under `<base>/<service>`; unset, each has its own
    /// host.
    pub base_url: Option<Url>,
    /// `UPSTREAM_ID_TOKEN`: sent as it is instead of Google's ID tokens; for development.
    pub id_token: Option<SecretString>,
}

/// What is wrong with the environment, one line a variable.
#[derive(Debug, thiserror::Error)]
#[error("the settings are not usable:\n  {}", .0.join("\n  "))]
pub struct ConfigError(pub Vec<String>);

/// `DATABASE_OWNER_URL`, for the one role that needs nothing else.
///
/// # Errors
/// [`ConfigError`] when it is missing.
pub fn owner_url() -> Result<SecretString, ConfigError> {
    let mut reader = Reader::new(config::Environment::default())?;
    let url = reader.store_url("DATABASE_OWNER_URL", &POSTGRES);
    url.ok_or(ConfigError(reader.mistakes))
}

impl Config {
    /// Reads the settings from the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] lists every missing or malformed variable.
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(config::Environment::default())
    }

    /// Reads the settings from `variables`, for tests.
    ///
    /// # Errors
    /// See [`Config::from_environment`].
    pub fn from_variables(variables: HashMap<String, String>) -> Result<Self, ConfigError> {
        Self::read(config::Environment::default().source(Some(variables)))
    }

    fn read(environment: config::Environment) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(environment)?;
        let server = reader.server();
        let tokens = reader.tokens();
        let upstreams = reader.upstreams();
        let limits = reader.limits();
        let scheduler = reader.scheduler(server.as_ref());
        let foundation = reader.foundation();
        let config = || {
            Some(Self {
                server: server?,
                tokens: tokens?,
                upstreams,
                limits,
                scheduler: scheduler?,
                foundation: foundation?,
            })
        };
        match (config(), reader.mistakes) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(ConfigError(mistakes)),
        }
    }
}

impl Foundation {
    /// Reads the settings of a repair from the process's environment.
    ///
    /// # Errors
    /// [`ConfigError`] lists every missing or malformed variable.
    pub fn from_environment() -> Result<Self, ConfigError> {
        let mut reader = Reader::new(config::Environment::default())?;
        let foundation = reader.foundation();
        match (foundation, reader.mistakes) {
            (Some(foundation), mistakes) if mistakes.is_empty() => Ok(foundation),
            (_, mistakes) => Err(ConfigError(mistakes)),
        }
    }
}

impl Upstreams {
    /// Reads how services are called from the process's environment, for a repair that calls one.
    ///
    /// # Errors
    /// See [`Config::from_environment`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        let mut reader = Reader::new(config::Environment::default())?;
        let upstreams = reader.upstreams();
        if reader.mistakes.is_empty() { Ok(upstreams) } else { Err(ConfigError(reader.mistakes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = Config::from_variables(variables(&[
            ("BACKOFFICE_LISTEN", "here"),
            ("CONNECTIONS_MAX", "0"),
            ("DATABASE_POOL_MAX", "0"),
            ("DPOP_MAX_AGE", "1h"),
            ("DPOP_ALGORITHMS", "none"),
            ("DPOP_NONCE", "maybe"),
            ("DPOP_BEARER", "yes"),
            ("BACKOFFICE_CORS_ORIGINS", "app://backoffice, https://a.example/x"),
            ("REDIS_CACHE_URL", "127.0.0.1:6379/hunter2"),
        ]))
        .unwrap_err()
        .0
        .join("\n");

        for name in [
            "BACKOFFICE_CORS_ORIGINS",
            "BACKOFFICE_LISTEN",
            "CONNECTIONS_MAX",
            "DATABASE_POOL_MAX",
            "DPOP_BEARER",
            "DATABASE_URL",
            "DPOP_ALGORITHMS",
            "DPOP_MAX_AGE",
            "DPOP_NONCE",
            "REDIS_CACHE_URL",
            "SECRETS_DIR",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
        assert!(!error.contains("hunter2"));
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let config = Config::from_variables(complete()).unwrap();

        assert_eq!(config.server.listen.port(), 8083);
        assert_eq!(config.server.public_bases.len(), 2);
        assert!(config.tokens.nonce_required);
        assert!(!config.tokens.bearer_with_proof);
        assert!(config.server.cors_origins.is_empty());
        assert_eq!(config.tokens.proof_age_max, Duration::from_mins(1));
        let limits = config.limits;
        let rates = [limits.per_device, limits.per_device_burst];
        assert_eq!(rates.map(NonZeroU32::get), [50, 100]);
        let rates = [limits.per_tenant, limits.per_tenant_burst];
        assert_eq!(rates.map(NonZeroU32::get), [1000, 1000]);
        assert_eq!(limits.flags_interval, Duration::from_secs(30));
    }

    #[test]
    fn processes_that_nobody_names_have_names_of_their_own() {
        let instance = || Config::from_variables(complete()).unwrap().foundation.instance;
        assert_ne!(instance(), instance());
    }

    #[test]
    fn a_web_origin_is_a_scheme_and_a_host_and_nothing_else() {
        let read = |origins: &str| {
            let mut variables = complete();
            variables.insert("BACKOFFICE_CORS_ORIGINS".to_owned(), origins.to_owned());
            Config::from_variables(variables).map(|config| config.server.cors_origins)
        };
        let good = "app://backoffice, https://desk.example:8443,http://127.0.0.1:5173";
        let origins = ["app://backoffice", "https://desk.example:8443", "http://127.0.0.1:5173"];
        assert_eq!(read(good).unwrap(), origins);
        for wrong in [
            "*",
            "null",
            "https://*.example",
            "https://a.example/",
            "https://A.example",
            "https://u@a.example",
            "https://a.example?x",
            "file://",
            "desk.example",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_help_names_every_variable_that_is_read() {
        let reader = include_str!("config/reader.rs");
        let calls = ["required", "optional", "or", "duration", "urls", "store_url"];
        let mut names = 0;
        for text in reader.split("self.").chain(reader.split("reader.")) {
            let Some((call, rest)) = text.split_once("(\"") else { continue };
            if calls.contains(&call.split(':').next().unwrap()) {
                let name = rest.split('"').next().unwrap();
                assert!(HELP.contains(&format!("{name} ")), "{name}");
                names += 1;
            }
        }
        assert!(20 < names, "{names}");
    }

    #[test]
    fn a_printed_configuration_shows_no_secret() {
        let config = Config::from_variables(complete()).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    fn complete() -> HashMap<String, String> {
        variables(&[
            ("DATABASE_URL", "postgres://backoffice_app:hunter2@127.0.0.1/backoffice"),
            ("REDIS_SESSION_URL", "redis://127.0.0.1:6379"),
            ("REDIS_CACHE_URL", "redis://127.0.0.1:6380"),
            ("PUBSUB_PROJECT", "melmastoon-dev"),
            ("TOKEN_ISSUER", "https://iam.melmastoon.internal"),
            ("TOKEN_JWKS_URL", "http://127.0.0.1:8090/.well-known/jwks.json"),
            ("BACKOFFICE_PUBLIC_BASES", "http://127.0.0.1:8083, http://localhost:8083"),
            ("SECRETS_DIR", "/run/secrets"),
        ])
    }

    fn variables(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}
