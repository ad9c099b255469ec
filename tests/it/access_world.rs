//! A gate over the real session tier, with an issuer, a device and a membership of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use backoffice::{
    access::{
        AccessRequest, Admission, Caller, Gate, Issuer, NonceMode, PendingSession, Reason, Refusal,
        Settings,
        jwks::{self, Algorithm, FetchError},
        membership::{self, LookupError, Membership},
        rate,
        session::Session,
    },
    clock::{Clock, TestClock},
};
use chrono::DateTime;
use events::{PropertyId, SessionId, TenantId};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use secrecy::SecretString;
use serde_json::{Value, json};
use ulid::Ulid;

use crate::access_keys::{TestKey, ath};

pub const ISSUER: &str = "https://iam.example";
pub const AUDIENCE: &str = "bff-backoffice";
pub const PATH: &str = "/bff/backoffice/v1/bootstrap";
pub const URL: &str = "https://api.example/bff/backoffice/v1/bootstrap";
const NOW: i64 = 1_700_000_040;

/// One tenant with one operator on one device. Its keys share a tier with other tests, never a
/// tenant.
pub struct World {
    pub gate: Gate,
    pub clock: Arc<TestClock>,
    pub issuer: TestKey,
    pub device: TestKey,
    pub tenant_id: TenantId,
    pub redis: ConnectionManager,
    jti: AtomicI64,
}

/// What a test sets otherwise.
pub struct Setup {
    pub settings: Settings,
    pub issuer: TestKey,
    pub fetch: jwks::Fetch,
    pub lookup: membership::Lookup,
    pub redis_url: String,
}

impl Default for Setup {
    fn default() -> Self {
        let issuer = TestKey::generate();
        Self {
            settings: settings(),
            fetch: serving(&json!({ "keys": [issuer_jwk(&issuer)] })),
            lookup: member(&["front_desk", "auditor"], &["ppt_1", "ppt_2"]),
            issuer,
            redis_url: redis_url(),
        }
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let clock = TestClock::at(DateTime::from_timestamp(NOW, 0).unwrap());
        let redis = connect(&setup.redis_url);
        let gate = Gate::new(
            &setup.settings,
            &setup.fetch,
            setup.lookup,
            redis.clone(),
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .unwrap();
        Self {
            gate,
            clock,
            issuer: setup.issuer,
            device: TestKey::generate(),
            tenant_id: format!("tnt_{}", Ulid::generate()).parse().unwrap(),
            redis,
            jti: AtomicI64::new(0),
        }
    }

    pub fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    pub fn token_claims(&self) -> Value {
        json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "usr_1",
            "tid": self.tenant_id,
            "device_id": "dev_1",
            "sid": "ses_1",
            "roles": ["front_desk"],
            "property_ids": ["ppt_1", "ppt_3"],
            "iat": self.now() - 10,
            "exp": self.now() + 890,
            "cnf": { "jkt": self.device.jkt() },
        })
    }

    pub fn token(&self) -> String {
        self.token_of(&self.token_claims())
    }

    pub fn token_of(&self, claims: &Value) -> String {
        self.issuer.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }), claims)
    }

    /// The claims of a good proof for `token`, with a `jti` of its own.
    pub fn proof_claims(&self, token: &str) -> Value {
        json!({
            "jti": format!("jti-{}", self.jti.fetch_add(1, Ordering::SeqCst)),
            "htm": "GET",
            "htu": URL,
            "iat": self.now(),
            "ath": ath(token),
        })
    }

    pub fn proof(&self, token: &str) -> String {
        self.proof_of(&self.proof_claims(token))
    }

    pub fn proof_of(&self, claims: &Value) -> String {
        self.device.sign(&self.device.proof_header(), claims)
    }

    /// The headers of a good request with these credentials.
    pub fn headers(token: &str, proof: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("DPoP {token}").as_str()),
            ("dpop", proof),
            ("x-device-id", "dev_1"),
            ("x-app-version", "1.4.0"),
            ("x-app-platform", "linux"),
            ("x-network-mode", "good"),
        ] {
            set(&mut headers, name, value);
        }
        headers
    }

    pub async fn send(&self, headers: &HeaderMap) -> Result<Admission, Refusal> {
        let request = AccessRequest { method: &Method::GET, raw_path: PATH, query: None, headers };
        self.gate.admit(&request).await
    }

    pub async fn enter(&self, token: &str, proof: &str) -> Result<Admission, Refusal> {
        self.send(&Self::headers(token, proof)).await
    }

    /// A good request with a token and a proof made for it.
    pub async fn enter_anew(&self) -> Result<Admission, Refusal> {
        let token = self.token();
        self.enter(&token, &self.proof(&token)).await
    }

    /// Opens and stores the session, as the command does.
    pub async fn open(&self, pending: &PendingSession) -> Session {
        let session = pending.session(SessionId::new(Ulid::generate()), self.clock.now());
        self.gate.sessions().put(&session).await.unwrap();
        session
    }
}

pub fn settings() -> Settings {
    Settings {
        issuers: vec![Issuer {
            iss: ISSUER.to_owned(),
            jwks_url: "https://iam.example/jwks.json".parse().unwrap(),
            algorithms: vec![Algorithm::Es256],
        }],
        audience: AUDIENCE.to_owned(),
        public_bases: vec!["https://api.example".to_owned()],
        nonce_mode: NonceMode::Off,
        nonce_secret: Some(SecretString::from("n".repeat(32))),
        // A busy machine must not decide what a test sees.
        store_timeout: Duration::from_secs(10),
        // One device of a test does what hundreds do.
        rates: rates(100_000, 100_000),
        ..Settings::default()
    }
}

/// Quotas of device and tenant that are refilled within a second.
pub fn rates(device: u32, tenant: u32) -> rate::Settings {
    let quota = |number: u32| {
        let number = number.try_into().unwrap();
        rate::Quota { per_second: number, burst: number }
    };
    rate::Settings { device: quota(device), tenant: quota(tenant) }
}

pub fn issuer_jwk(issuer: &TestKey) -> Value {
    let mut jwk = issuer.jwk();
    jwk["kid"] = json!("k1");
    jwk["use"] = json!("sig");
    jwk
}

pub fn serving(document: &Value) -> jwks::Fetch {
    let document = bytes::Bytes::from(document.to_string());
    Arc::new(move |_| {
        let document = document.clone();
        async move { Ok(document) }.boxed()
    })
}

pub fn failing_fetch() -> jwks::Fetch {
    Arc::new(|_| async { Err(FetchError::Failed("down".into())) }.boxed())
}

pub fn member(roles: &[&str], properties: &[&str]) -> membership::Lookup {
    let membership = Membership {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        property_ids: properties.iter().map(|id| id.parse::<PropertyId>().unwrap()).collect(),
        active: true,
    };
    Arc::new(move |_, _| {
        let membership = membership.clone();
        async move { Ok(Some(membership)) }.boxed()
    })
}

pub fn stranger() -> membership::Lookup {
    Arc::new(|_, _| async { Ok(None) }.boxed())
}

pub fn failing_lookup() -> membership::Lookup {
    Arc::new(|_, _| async { Err(LookupError(Arc::from(Box::from("down")))) }.boxed())
}

/// The session tier that tests may use; they write under random tenants only.
#[expect(clippy::disallowed_methods, reason = "tests are told of their servers by the environment")]
fn redis_url() -> String {
    std::env::var("REDIS_SESSION_URL").expect("REDIS_SESSION_URL names a Redis server")
}

/// A connection made when it is first used, so that the server may be down.
fn connect(url: &str) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(Duration::from_secs(5)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    let client = redis::Client::open(url).unwrap();
    ConnectionManager::new_lazy_with_config(client, config).unwrap()
}

pub fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
}

pub fn known(admission: Result<Admission, Refusal>) -> Caller {
    match admission {
        Ok(Admission::Known(caller)) => caller,
        other => panic!("not admitted into a session: {other:?}"),
    }
}

pub fn opening(admission: Result<Admission, Refusal>) -> PendingSession {
    match admission {
        Ok(Admission::Opening(pending)) => pending,
        other => panic!("not admitted to open a session: {other:?}"),
    }
}

/// The code of a refusal.
pub fn code(admission: Result<Admission, Refusal>) -> &'static str {
    match admission {
        Err(refusal) => refusal.reason.code(),
        Ok(admission) => panic!("admitted: {admission:?}"),
    }
}

pub fn reason(admission: Result<Admission, Refusal>) -> Reason {
    admission.expect_err("a refusal").reason
}
