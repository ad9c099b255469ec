//! The settings: the only reader of the environment. Every mistake is reported at once, by the
//! variable's name.

use std::{
    collections::HashMap, fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf,
    str::FromStr, time::Duration,
};

use secrecy::SecretString;
use url::Url;

/// Every variable in a line, for `--help`.
pub const HELP: &str = include_str!("config/help.txt");

const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
const REDIS: [&str; 3] = ["redis", "rediss", "redis+unix"];

/// Everything the service can be told. Each field names its variable, its unit and its default.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub stores: Stores,
    pub tokens: Tokens,
    pub upstreams: Upstreams,
    pub secrets_dir: PathBuf,
    /// `INSTANCE`: names this process in leases, events and logs. Default: `backoffice-<pid>`.
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
    /// `CONNECTIONS_MAX`, default 4096 (12000 for an instance that serves live streams).
    pub connections_max: usize,
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
    /// `DATABASE_POOL_MAX`, connections a role, default 8.
    pub database_pool_max: u32,
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
    /// `DPOP_MAX_AGE`, 10 s–300 s, default `60s`.
    pub proof_age_max: Duration,
    /// `DPOP_FUTURE`, 10 s–59 s, default `15s`.
    pub proof_future_max: Duration,
    /// `SESSION_TIER_TIMEOUT`, 10 ms–2 s, default `50ms`: for the one question a request asks
    /// there; later it is refused with 503.
    pub session_tier_timeout: Duration,
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
        let stores = reader.stores();
        let tokens = reader.tokens();
        let upstreams = reader.upstreams();
        let secrets_dir = reader.required("SECRETS_DIR");
        let instance = reader.or("INSTANCE", format!("backoffice-{}", std::process::id()));
        let config = || {
            Some(Self {
                server: server?,
                stores: stores?,
                tokens: tokens?,
                upstreams,
                secrets_dir: secrets_dir?,
                instance,
            })
        };
        match (config(), reader.mistakes) {
            (Some(config), mistakes) if mistakes.is_empty() => Ok(config),
            (_, mistakes) => Err(ConfigError(mistakes)),
        }
    }
}

/// Reads variables one by one and remembers what is wrong with each.
struct Reader {
    source: config::Config,
    mistakes: Vec<String>,
}

impl Reader {
    fn new(environment: config::Environment) -> Result<Self, ConfigError> {
        let source = config::Config::builder()
            .add_source(environment.ignore_empty(true))
            .build()
            .map_err(|error| ConfigError(vec![error.to_string()]))?;
        Ok(Self { source, mistakes: Vec::new() })
    }

    fn server(&mut self) -> Option<Server> {
        let listen = self.or("BACKOFFICE_LISTEN", SocketAddr::from(([0, 0, 0, 0], 8083)));
        let admin_listen =
            self.or("BACKOFFICE_ADMIN_LISTEN", SocketAddr::from(([127, 0, 0, 1], 9083)));
        let public_bases = self.urls("BACKOFFICE_PUBLIC_BASES");
        let connections_max = self.or("CONNECTIONS_MAX", 4096);
        let connections_per_address_max = self.or("CONNECTIONS_PER_ADDRESS_MAX", 100);
        let drain = self.duration("BACKOFFICE_DRAIN", seconds(8), seconds(1)..=seconds(60));
        Some(Server {
            listen,
            admin_listen,
            public_bases: public_bases?,
            connections_max,
            connections_per_address_max,
            drain,
        })
    }

    fn stores(&mut self) -> Option<Stores> {
        let database_url = self.store_url("DATABASE_URL", &POSTGRES);
        let database_owner_url = self.optional::<String>("DATABASE_OWNER_URL");
        let database_pool_max = self.or("DATABASE_POOL_MAX", 8);
        let redis_session_url = self.store_url("REDIS_SESSION_URL", &REDIS);
        let redis_cache_url = self.store_url("REDIS_CACHE_URL", &REDIS);
        let pubsub_project = self.required("PUBSUB_PROJECT");
        let pubsub_emulator_host = self.optional("PUBSUB_EMULATOR_HOST");
        Some(Stores {
            database_url: database_url?,
            database_owner_url: database_owner_url.map(Into::into),
            database_pool_max,
            redis_session_url: redis_session_url?,
            redis_cache_url: redis_cache_url?,
            pubsub_project: pubsub_project?,
            pubsub_emulator_host,
        })
    }

    fn tokens(&mut self) -> Option<Tokens> {
        let issuer = self.required("TOKEN_ISSUER");
        let jwks_url = self.required("TOKEN_JWKS_URL");
        let audience = self.or("TOKEN_AUDIENCE", "bff-backoffice".to_owned());
        let nonce = self.or("DPOP_NONCE", "required".to_owned());
        if !matches!(nonce.as_str(), "required" | "off") {
            self.mistakes.push("DPOP_NONCE: `required` or `off`".to_owned());
        }
        let proof_age_max = self.duration("DPOP_MAX_AGE", seconds(60), seconds(10)..=seconds(300));
        let proof_future_max = self.duration("DPOP_FUTURE", seconds(15), seconds(10)..=seconds(59));
        let milliseconds = Duration::from_millis;
        let session_tier_timeout =
            self.duration("SESSION_TIER_TIMEOUT", milliseconds(50), milliseconds(10)..=seconds(2));
        Some(Tokens {
            issuer: issuer?,
            jwks_url: jwks_url?,
            audience,
            nonce_required: nonce != "off",
            proof_age_max,
            proof_future_max,
            session_tier_timeout,
        })
    }

    fn upstreams(&mut self) -> Upstreams {
        Upstreams {
            base_url: self.optional("UPSTREAM_BASE_URL"),
            id_token: self.optional::<String>("UPSTREAM_ID_TOKEN").map(Into::into),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.source.get_string(&name.to_lowercase()).ok()
    }

    fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        self.text(name).and_then(|text| self.parsed(name, &text))
    }

    fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        if let Some(text) = self.text(name) {
            return self.parsed(name, &text);
        }
        self.mistakes.push(format!("{name}: missing"));
        None
    }

    fn or<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        self.optional(name).unwrap_or(default)
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error| self.mistakes.push(format!("{name}: {error}"))).ok()
    }

    /// A length of time such as `500ms` or `2m`, within `range`.
    fn duration(
        &mut self,
        name: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let duration = self.or(name, humantime::Duration::from(default)).into();
        if !range.contains(&duration) {
            let least = humantime::format_duration(*range.start());
            let most = humantime::format_duration(*range.end());
            self.mistakes.push(format!("{name}: must be between {least} and {most}"));
        }
        duration
    }

    /// The URL of a store. It may hold a password, so that a mistake does not repeat it.
    fn store_url(&mut self, name: &str, schemes: &[&str]) -> Option<SecretString> {
        let text = self.required::<String>(name)?;
        if Url::parse(&text).is_ok_and(|url| schemes.contains(&url.scheme())) {
            return Some(text.into());
        }
        self.mistakes.push(format!("{name}: not a URL such as {}://host/…", schemes[0]));
        None
    }

    fn urls(&mut self, name: &str) -> Option<Vec<Url>> {
        let text = self.required::<String>(name)?;
        text.split(',').map(|url| self.parsed(name, url.trim())).collect()
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported_at_once() {
        let error = Config::from_variables(variables(&[
            ("BACKOFFICE_LISTEN", "here"),
            ("DPOP_MAX_AGE", "1h"),
            ("DPOP_NONCE", "maybe"),
            ("REDIS_CACHE_URL", "127.0.0.1:6379/hunter2"),
        ]))
        .unwrap_err()
        .0
        .join("\n");

        for name in [
            "BACKOFFICE_LISTEN",
            "DATABASE_URL",
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
        assert_eq!(config.tokens.proof_age_max, Duration::from_mins(1));
    }

    #[test]
    fn the_help_names_every_variable_that_is_read() {
        let reader = include_str!("config.rs").split("#[cfg(test)]").next().unwrap();
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
