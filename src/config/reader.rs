//! Reads the settings variable by variable and remembers every mistake.

use std::{
    fmt::Display,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use secrecy::SecretString;
use ulid::Ulid;
use url::Url;

use super::{ConfigError, Foundation, Limits, SchedulerAccount, Server, Stores, Tokens, Upstreams};
use crate::access::dpop::Algorithms;

pub(super) const POSTGRES: [&str; 2] = ["postgres", "postgresql"];
/// Where Google's keys are.
const GOOGLE_KEYS: &str = "https://www.googleapis.com/oauth2/v3/certs";
const CONNECTIONS_DEFAULT: NonZeroUsize = NonZeroUsize::new(4096).expect("it is not zero");
/// A request holds a connection for some round trips, each as long as this process is busy.
const REQUEST_POOL_DEFAULT: NonZeroU32 = NonZeroU32::new(24).expect("it is not zero");
const POOL_DEFAULT: NonZeroU32 = NonZeroU32::new(8).expect("it is not zero");
const REDIS: [&str; 3] = ["redis", "rediss", "redis+unix"];

/// Reads variables one by one and remembers what is wrong with each.
pub(super) struct Reader {
    source: config::Config,
    pub(super) mistakes: Vec<String>,
}

impl Reader {
    pub(super) fn new(environment: config::Environment) -> Result<Self, ConfigError> {
        let source = config::Config::builder()
            .add_source(environment.ignore_empty(true))
            .build()
            .map_err(|error| ConfigError(vec![error.to_string()]))?;
        Ok(Self { source, mistakes: Vec::new() })
    }

    pub(super) fn server(&mut self) -> Option<Server> {
        let listen = self.or("BACKOFFICE_LISTEN", SocketAddr::from(([0, 0, 0, 0], 8083)));
        let admin_listen =
            self.or("BACKOFFICE_ADMIN_LISTEN", SocketAddr::from(([127, 0, 0, 1], 9083)));
        let public_bases = self.urls("BACKOFFICE_PUBLIC_BASES");
        let cors_origins = self.origins("BACKOFFICE_CORS_ORIGINS");
        let connections_max = self.or("CONNECTIONS_MAX", CONNECTIONS_DEFAULT);
        let connections_per_address_max = self.or("CONNECTIONS_PER_ADDRESS_MAX", 100);
        let drain = self.duration("BACKOFFICE_DRAIN", seconds(8), seconds(1)..=seconds(60));
        Some(Server {
            listen,
            admin_listen,
            public_bases: public_bases?,
            cors_origins,
            connections_max,
            connections_per_address_max,
            drain,
        })
    }

    pub(super) fn foundation(&mut self) -> Option<Foundation> {
        let stores = self.stores();
        let secrets_dir = self.required("SECRETS_DIR");
        // Not the process's number: in containers that is the same everywhere.
        let instance = self.or("INSTANCE", format!("backoffice-{}", Ulid::generate()));
        Some(Foundation { stores: stores?, secrets_dir: secrets_dir?, instance })
    }

    fn stores(&mut self) -> Option<Stores> {
        let database_url = self.store_url("DATABASE_URL", &POSTGRES);
        let database_owner_url = self.optional::<String>("DATABASE_OWNER_URL");
        let database_request_pool_max = self.or("DATABASE_REQUEST_POOL_MAX", REQUEST_POOL_DEFAULT);
        let database_pool_max = self.or("DATABASE_POOL_MAX", POOL_DEFAULT);
        let redis_session_url = self.store_url("REDIS_SESSION_URL", &REDIS);
        let redis_cache_url = self.store_url("REDIS_CACHE_URL", &REDIS);
        let pubsub_project = self.required("PUBSUB_PROJECT");
        let pubsub_emulator_host = self.optional("PUBSUB_EMULATOR_HOST");
        Some(Stores {
            database_url: database_url?,
            database_owner_url: database_owner_url.map(Into::into),
            database_request_pool_max,
            database_pool_max,
            redis_session_url: redis_session_url?,
            redis_cache_url: redis_cache_url?,
            pubsub_project: pubsub_project?,
            pubsub_emulator_host,
        })
    }

    pub(super) fn tokens(&mut self) -> Option<Tokens> {
        let issuer = self.required("TOKEN_ISSUER");
        let jwks_url = self.required("TOKEN_JWKS_URL");
        let audience = self.or("TOKEN_AUDIENCE", "bff-backoffice".to_owned());
        let nonce = self.or("DPOP_NONCE", "required".to_owned());
        if !matches!(nonce.as_str(), "required" | "off") {
            self.mistakes.push("DPOP_NONCE: `required` or `off`".to_owned());
        }
        let bearer = self.or("DPOP_BEARER", "off".to_owned());
        if !matches!(bearer.as_str(), "on" | "off") {
            self.mistakes.push("DPOP_BEARER: `on` or `off`".to_owned());
        }
        let proof_age_max = self.duration("DPOP_MAX_AGE", seconds(60), seconds(10)..=seconds(300));
        let proof_future_max = self.duration("DPOP_FUTURE", seconds(15), seconds(10)..=seconds(59));
        let proof_algorithms = self.or("DPOP_ALGORITHMS", Algorithms::default());
        let milliseconds = Duration::from_millis;
        let session_tier_timeout =
            self.duration("SESSION_TIER_TIMEOUT", milliseconds(50), milliseconds(10)..=seconds(2));
        Some(Tokens {
            issuer: issuer?,
            jwks_url: jwks_url?,
            audience,
            nonce_required: nonce != "off",
            bearer_with_proof: bearer == "on",
            proof_age_max,
            proof_future_max,
            proof_algorithms,
            session_tier_timeout,
        })
    }

    pub(super) fn limits(&mut self) -> Limits {
        let requests = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let interval = Duration::from_millis(100)..=seconds(300);
        Limits {
            per_device: self.or("RATE_PER_DEVICE", requests(50)),
            per_device_burst: self.or("RATE_PER_DEVICE_BURST", requests(100)),
            per_tenant: self.or("RATE_PER_TENANT", requests(1000)),
            per_tenant_burst: self.or("RATE_PER_TENANT_BURST", requests(1000)),
            flags_interval: self.duration("FLAGS_INTERVAL", seconds(30), interval),
            update_url: self.optional("DESKTOP_UPDATE_URL"),
        }
    }

    pub(super) fn scheduler(&mut self, server: Option<&Server>) -> Option<SchedulerAccount> {
        let own = server.and_then(|server| server.public_bases.first());
        let own = own.map(|base| base.as_str().trim_end_matches('/').to_owned());
        let email = self.optional("SCHEDULER_EMAIL");
        let audience = self.optional("SCHEDULER_AUDIENCE").or(own);
        let issuer = self.or("SCHEDULER_ISSUER", "https://accounts.google.com".to_owned());
        let jwks_url = self.optional("SCHEDULER_JWKS_URL").or_else(|| GOOGLE_KEYS.parse().ok());
        Some(SchedulerAccount { email, audience: audience?, issuer, jwks_url: jwks_url? })
    }

    pub(super) fn upstreams(&mut self) -> Upstreams {
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
    pub(super) fn store_url(&mut self, name: &str, schemes: &[&str]) -> Option<SecretString> {
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

    /// Web origins as browsers send them. No pattern: what may read answers is said word by word.
    fn origins(&mut self, name: &str) -> Vec<String> {
        let text = self.text(name).unwrap_or_default();
        let origins: Vec<String> =
            text.split(',').map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()).collect();
        for origin in origins.iter().filter(|origin| !is_origin(origin)) {
            self.mistakes
                .push(format!("{name}: {origin} is not an origin such as app://backoffice"));
        }
        origins
    }
}

/// Scheme and host, in lower case as browsers send them, perhaps a port; nothing else.
fn is_origin(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'-' | b':' | b'[' | b']')
    };
    text.split_once("://").is_some_and(|(_, host)| host.bytes().all(is_plain))
        && Url::parse(text).is_ok_and(|url| url.has_host())
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
