//! Holds cases against the running service, where each refusal must look as RFC 9449 says and leave
//! nothing behind.

use backoffice::{
    access::dpop::ProofError,
    clock::{Clock, SystemClock},
};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use ulid::Ulid;

use super::case::{Case, Subject};
use crate::{
    access_keys::TestKey,
    support::{
        desktop::Answer,
        platform::{simulate, tenant},
        service::{Service, World},
    },
};

pub const BASE: &str = "https://api.example";
pub const PATH: &str = "/bff/backoffice/v1/alerts";
/// One device is not asked for more than this many cases: it may send only so much at a time.
const CASES_A_DEVICE: usize = 25;

/// A running service, whose clients reach it under [`BASE`] too.
pub struct Bench {
    pub world: World,
    pub service: Service,
    pub http: reqwest::Client,
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_with("ES256").await
    }

    /// With these algorithms of proofs switched on.
    pub async fn start_with(algorithms: &str) -> Self {
        let world = World::start().await;
        let service = world
            .service_changed(|command| {
                let root = command
                    .get_envs()
                    .find(|(name, _)| *name == "BACKOFFICE_PUBLIC_BASES")
                    .and_then(|(_, value)| value?.to_str())
                    .expect("a base is set")
                    .to_owned();
                command
                    .env("BACKOFFICE_PUBLIC_BASES", format!("{BASE},{root}"))
                    .env("DPOP_ALGORITHMS", algorithms);
            })
            .await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { world, service, http }
    }

    pub fn tenant_id(&self) -> String {
        tenant(&self.world, 0)
    }

    /// A new device with a token of its own.
    pub async fn sign_in(&self) -> Device {
        let key = TestKey::generate();
        let wish = json!({ "tenantId": self.tenant_id(), "deviceJwk": key.jwk() });
        Device::of(key, &self.grant(&wish).await)
    }

    /// The device with another token, as after a refresh.
    pub async fn another_token(&self, device: &Device) -> Device {
        let wish = json!({
            "tenantId": self.tenant_id(),
            "deviceJwk": device.key.jwk(),
            "deviceId": device.id,
            "operatorId": device.operator_id,
        });
        let mut other = Device::of(device.key.clone(), &self.grant(&wish).await);
        other.nonce.clone_from(&device.nonce);
        other
    }

    /// A sign-in as the simulated platform answers it.
    pub async fn grant(&self, wish: &Value) -> Value {
        simulate(&self.world, "/sim/sign-in", wish).await
    }

    /// Opens the device's session and gives it a nonce to use.
    pub async fn fresh_nonce(&self, device: &mut Device) {
        device.begin();
        let answer = self.send(device, &device.good()).await;
        let nonce = answer.headers.get("dpop-nonce").expect("a nonce for the first proof");
        device.nonce = Some(nonce.to_str().unwrap().to_owned());
        let answer = self.send(device, &device.good()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        device.begin();
    }

    /// The device's request with this proof, and a query, which no proof names.
    pub async fn send(&self, device: &Device, proof: &str) -> Answer {
        let url = format!("{}{PATH}?limit=1", self.service.root_url);
        let request = self.http.get(url).headers(device.headers()).header("dpop", proof);
        Answer::read(request.send().await.unwrap()).await
    }

    /// The keys of all proofs that are remembered as used.
    pub async fn used_proofs(&self) -> Vec<String> {
        let keys = self.world.session_tier.keys().await;
        keys.into_iter().filter(|key| key.contains(":dpop:jti:")).collect()
    }

    /// How many events there are in the ledger.
    pub async fn events(&self) -> i64 {
        self.world.database.count("event").await
    }
}

/// A signed-in device.
pub struct Device {
    pub subject: Subject,
    pub id: String,
    pub operator_id: String,
}

impl Device {
    /// The device of this key as a sign-in granted it.
    pub fn of(key: TestKey, grant: &Value) -> Self {
        let text = |name: &str| grant[name].as_str().unwrap().to_owned();
        let subject = Subject {
            key,
            token: text("accessToken"),
            method: Method::GET,
            base: BASE.to_owned(),
            path: PATH.to_owned(),
            now: now(),
            nonce: None,
            jti: Ulid::generate().to_string(),
        };
        Self { subject, id: text("deviceId"), operator_id: text("operatorId") }
    }
}

impl std::ops::Deref for Device {
    type Target = Subject;

    fn deref(&self) -> &Subject {
        &self.subject
    }
}

impl std::ops::DerefMut for Device {
    fn deref_mut(&mut self) -> &mut Subject {
        &mut self.subject
    }
}

impl Device {
    /// The next request: its time is now and its `jti` new.
    pub fn begin(&mut self) {
        self.subject.now = now();
        self.subject.jti = Ulid::generate().to_string();
    }

    /// All headers of a request but the proof.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("DPoP {}", self.token)),
            ("x-device-id", self.id.clone()),
            ("x-app-version", "1.4.2".to_owned()),
            ("x-app-platform", "linux".to_owned()),
            ("x-network-mode", "good".to_owned()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }
}

/// Holds each case against one running service. After every refusal a good proof with the same
/// `jti` must be good, and after all of them nothing else may have come to be.
pub async fn hold(cases: &[Case]) {
    let bench = Bench::start().await;
    let sendable: Vec<&Case> = cases.iter().filter(|case| case.pure_only.is_none()).collect();
    assert!(!sendable.is_empty());
    for chunk in sendable.chunks(CASES_A_DEVICE) {
        let mut device = bench.sign_in().await;
        bench.fresh_nonce(&mut device).await;
        let events = bench.events().await;
        for case in chunk {
            hold_one(&bench, &mut device, case).await;
        }
        assert_eq!(bench.events().await, events, "a refused request left an event");
    }
}

async fn hold_one(bench: &Bench, device: &mut Device, case: &Case) {
    device.begin();
    let name = case.name();
    let used = bench.used_proofs().await.len();
    let proof = (case.proof)(&device.subject);
    let answer = bench.send(device, &proof).await;
    match case.expected {
        Ok(()) => {
            assert_eq!(answer.status, 200, "{name}: {} {proof}", answer.body);
            let replayed = bench.send(device, &proof).await;
            assert_challenged(&replayed, "MELMASTOON.AUTH.PROOF_REPLAYED", &name);
        }
        Err(error) => {
            assert_ne!(error, ProofError::KeyBinding, "{name} is no case of the proof alone");
            assert_challenged(&answer, "MELMASTOON.AUTH.PROOF_INVALID", &name);
            assert_no_echo(&answer, &device.subject, &name);
            assert_eq!(bench.used_proofs().await.len(), used, "{name}: the jti was used up");
            let good = bench.send(device, &device.good()).await;
            assert_eq!(good.status, 200, "{name}, then a good proof: {}", good.body);
        }
    }
    assert_eq!(bench.used_proofs().await.len(), used + 1, "{name}");
}

/// A refusal of the proof as RFC 9449 §7.1 has it.
pub fn assert_challenged(answer: &Answer, code: &str, name: &str) {
    let (headers, body) = (&answer.headers, &answer.body);
    assert_eq!(answer.status, 401, "{name}: {body}");
    assert_eq!(body["code"], code, "{name}");
    assert_eq!(headers["content-type"], "application/problem+json", "{name}");
    assert_eq!(headers["cache-control"], "no-store", "{name}");
    let challenges: Vec<_> = headers.get_all("www-authenticate").iter().collect();
    let [challenge] = challenges[..] else { panic!("{name}: {challenges:?}") };
    let challenge = challenge.to_str().unwrap();
    // Whose key a proof is that is no proof nobody knows: there is no nonce to give.
    let (text, nonces) = match code {
        "MELMASTOON.AUTH.PROOF_REPLAYED" => ("DPoP proof was used before", 1),
        _ if challenge.contains("exactly one") => ("exactly one DPoP proof is required", 0),
        _ => ("invalid DPoP proof", 1),
    };
    let expected =
        format!(r#"DPoP error="invalid_dpop_proof", error_description="{text}", algs="ES256""#);
    assert_eq!(challenge, expected, "{name}");
    assert_eq!(headers.get_all("dpop-nonce").iter().count(), nonces, "{name}");
}

/// Nothing that a client wrote is in the answer.
fn assert_no_echo(answer: &Answer, subject: &Subject, name: &str) {
    let said = format!("{:?} {}", answer.headers, answer.body);
    for word in [subject.jti.as_str(), &subject.ath(), &subject.token, BASE, &subject.key.jkt()] {
        assert!(!said.contains(word), "{name}: {word} in {said}");
    }
}

fn now() -> i64 {
    SystemClock.now().timestamp()
}
