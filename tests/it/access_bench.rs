//! A device that signs what a test wants, before the running binary, and what refusals look like.

use backoffice::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use ulid::Ulid;

use crate::{
    access_keys::{TestKey, ath, with},
    support::{
        platform::{simulate, tenant},
        service::{Service, World},
        wire::{Line, RawAnswer, exchange, line},
    },
};

pub const BOOTSTRAP: &str = "/bootstrap";

/// Status, code and the `error` of the challenge.
pub type Refused = (u16, &'static str, Option<&'static str>);
pub const NO_CREDENTIALS: Refused = (401, "MELMASTOON.AUTH.TOKEN_MISSING", None);
pub const BAD_REQUEST: Refused =
    (400, "MELMASTOON.GENERAL.MALFORMED_REQUEST", Some("invalid_request"));
pub const BAD_TOKEN: Refused = (401, "MELMASTOON.AUTH.TOKEN_INVALID", Some("invalid_token"));
pub const BAD_PROOF: Refused = (401, "MELMASTOON.AUTH.PROOF_INVALID", Some("invalid_dpop_proof"));
pub const REPLAYED: Refused = (401, "MELMASTOON.AUTH.PROOF_REPLAYED", Some("invalid_dpop_proof"));
pub const NO_NONCE: Refused = (401, "MELMASTOON.AUTH.NONCE_REQUIRED", Some("use_dpop_nonce"));

/// One device of one tenant, signed in at the simulated platform.
pub struct Bench {
    pub world: World,
    pub device: TestKey,
    pub grant: Value,
}

impl Bench {
    pub async fn start() -> Self {
        let world = World::start().await;
        let device = TestKey::generate();
        let grant = sign_in(&world, &device, json!({})).await;
        Self { world, device, grant }
    }

    pub fn token(&self) -> &str {
        self.grant["accessToken"].as_str().unwrap()
    }

    /// The claims of a good proof for `GET path`, but for a nonce.
    pub fn claims(&self, service: &Service, path: &str) -> Value {
        json!({
            "jti": Ulid::generate().to_string(),
            "htm": "GET",
            "htu": format!("{}{path}", service.url),
            "iat": SystemClock.now().timestamp(),
            "ath": ath(self.token()),
        })
    }

    pub fn proof(&self, claims: &Value) -> String {
        self.device.sign(&self.device.proof_header(), claims)
    }

    /// Every line of a request but its credentials.
    pub fn lines(&self) -> Vec<Line> {
        vec![
            line("x-device-id", self.grant["deviceId"].as_str().unwrap()),
            line("x-app-version", "1.4.2"),
            line("x-app-platform", "linux"),
            line("x-network-mode", "good"),
        ]
    }

    /// `GET path` with the token and this proof.
    pub async fn get(&self, service: &Service, path: &str, proof: &str) -> RawAnswer {
        let mut lines = self.lines();
        lines.push(line("authorization", format!("DPoP {}", self.token())));
        lines.push(line("dpop", proof));
        send(service, path, &lines).await
    }

    /// The nonce the service asks for.
    pub async fn nonce(&self, service: &Service) -> String {
        let proof = self.proof(&self.claims(service, BOOTSTRAP));
        let answer = self.get(service, BOOTSTRAP, &proof).await;
        assert_refused("no nonce", &answer, NO_NONCE);
        answer.nonce().unwrap()
    }

    /// A good proof for `GET path`.
    pub async fn good_proof(&self, service: &Service, path: &str) -> String {
        let nonce = self.nonce(service).await;
        self.proof(&with(self.claims(service, path), "nonce", json!(nonce)))
    }

    /// What a request that got through the gate leaves behind: used proofs and sessions.
    pub async fn traces(&self) -> Vec<String> {
        let keys = self.world.session_tier.keys().await;
        let is_trace = |key: &String| key.contains(":dpop:jti:") || key.contains(":session:");
        keys.into_iter().filter(is_trace).collect()
    }
}

/// Signs an operator of the first tenant in on a device with this key.
pub async fn sign_in(world: &World, device: &TestKey, options: Value) -> Value {
    let mut wish = json!({ "tenantId": tenant(world, 0), "deviceJwk": device.jwk() });
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    simulate(world, "/sim/sign-in", &wish).await
}

/// `GET path` below the base path with exactly these lines.
pub async fn send(service: &Service, path: &str, lines: &[Line]) -> RawAnswer {
    let target = format!("GET /bff/backoffice/v1{path}");
    exchange(&service.url, &target, lines, b"").await
}

/// A refusal in full: status, code, the one challenge, the problem, and nothing for a cache.
pub fn assert_refused(case: &str, answer: &RawAnswer, (status, code, error): Refused) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{case}: {answer:?}");
    let (scheme, parameters) = answer.challenge();
    assert_eq!(scheme, "DPoP", "{case}");
    assert_eq!(parameters.get("error").map(String::as_str), error, "{case}");
    assert_eq!(parameters["algs"], "ES256", "{case}");
    assert_eq!(answer.all("content-type"), ["application/problem+json"], "{case}");
    assert_eq!(answer.all("cache-control"), ["no-store"], "{case}");
    let problem = answer.json();
    for member in ["type", "title", "code", "traceId", "requestId"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{case}: {member}");
    }
    assert_eq!(problem["status"], status, "{case}");
    if error == Some("use_dpop_nonce") {
        assert_eq!(answer.all("dpop-nonce").len(), 1, "{case}");
    }
}
