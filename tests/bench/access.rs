//! What it costs to verify a token and its proof, beside the curve operations nobody can save.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use backoffice::access::{
    dpop::{
        self, Algorithms, Binding, Expected, KeyCache, NoncePolicy, PublicBases, RequestPath,
        Window,
    },
    jwks::{self, Algorithm, Jwks},
    token::{ClaimRules, TokenVerifier},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use http::Method;
use serde_json::json;

use crate::{
    access_keys::{TestKey, ath, decode},
    report::{Figure, Report, quantile},
};

const ISSUER: &str = "https://iam.example";
const AUDIENCE: &str = "bff-backoffice";
const NOW: i64 = 1_700_000_040;
/// Of each contender, in alternation; the first is warm-up.
const ROUNDS: usize = 8;
/// Requests verified in one round.
const REQUESTS: u32 = 1500;

/// A token and a proof for it.
struct Request {
    token: Arc<str>,
    proof: String,
}

/// Who signs, and for what.
struct Bench {
    issuer: TestKey,
    device: TestKey,
    bases: PublicBases,
    path: RequestPath,
    now: DateTime<Utc>,
}

pub async fn run() -> Report {
    let bench = Bench::new();
    let of_one_token = bench.requests(|_| 0);
    let of_many_tokens = bench.requests(|request| request);
    let device = bench.parsed_device_key();
    let signed: Vec<_> = of_one_token.iter().map(|request| split(&request.proof)).collect();
    let remembering = bench.verifier();
    let keys = KeyCache::default();

    let (mut curve, mut remembered, mut new) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for (signed, signature) in &signed {
            device.verify_sig(signed.as_bytes(), signature).unwrap();
        }
        curve.push(started.elapsed());

        let started = Instant::now();
        bench.verify(&remembering, &keys, &of_one_token).await;
        remembered.push(started.elapsed());

        // Another verifier each time: it has seen none of the tokens.
        let forgetful = bench.verifier();
        let started = Instant::now();
        bench.verify(&forgetful, &keys, &of_many_tokens).await;
        new.push(started.elapsed());
    }
    let [curve, remembered, new] =
        [&curve, &remembered, &new].map(|rounds| microseconds_a_request(rounds));
    Report(vec![
        Figure::beside(
            "a proof verified, its token remembered",
            remembered,
            ("one P-256 verification by aws-lc-rs", curve),
            1.3,
        ),
        Figure::beside(
            "a token and its proof verified, the token seen first",
            new,
            ("two P-256 verifications by aws-lc-rs", 2.0 * curve),
            1.3,
        ),
    ])
}

/// The median round, without the warm-up.
fn microseconds_a_request(rounds: &[Duration]) -> f64 {
    let mut rounds = rounds[1..].to_vec();
    quantile(&mut rounds, 0.5).as_secs_f64() * 1_000_000.0 / f64::from(REQUESTS)
}

impl Bench {
    fn new() -> Self {
        Self {
            issuer: TestKey::generate(),
            device: TestKey::generate(),
            bases: PublicBases::parse(["https://api.example"]).unwrap(),
            path: RequestPath::parse("/bff/backoffice/v1/bootstrap").unwrap(),
            now: DateTime::from_timestamp(NOW, 0).unwrap(),
        }
    }

    fn parsed_device_key(&self) -> ParsedPublicKey {
        let jwk = self.device.jwk();
        let coordinate = |name: &str| decode(jwk[name].as_str().unwrap());
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap()
    }

    /// Requests with a proof each; `token` tells which token a request has.
    fn requests(&self, token: impl Fn(u32) -> u32) -> Vec<Request> {
        let mut tokens: HashMap<u32, Arc<str>> = HashMap::new();
        (0..REQUESTS)
            .map(|number| {
                let of = token(number);
                let token = tokens.entry(of).or_insert_with(|| self.token(of).into()).clone();
                let claims = json!({
                    "jti": format!("jti-{number}"),
                    "htm": "GET",
                    "htu": "https://api.example/bff/backoffice/v1/bootstrap",
                    "iat": NOW,
                    "ath": ath(&token),
                });
                let proof = self.device.sign(&self.device.proof_header(), &claims);
                Request { token, proof }
            })
            .collect()
    }

    fn token(&self, number: u32) -> String {
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "usr_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            "tid": "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            "device_id": "dev_01HZX3V7Q8M4N5P6R7S8T9W0XY",
            "sid": format!("ses_{number}"),
            "roles": ["front_desk"],
            "property_ids": ["ppt_1", "ppt_2"],
            "iat": NOW - 10,
            "exp": NOW + 890,
            "cnf": { "jkt": self.device.jkt() },
        });
        self.issuer.sign(&json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }), &claims)
    }

    fn verifier(&self) -> TokenVerifier {
        let mut jwk = self.issuer.jwk();
        jwk["kid"] = json!("k1");
        let document = Bytes::from(json!({ "keys": [jwk] }).to_string());
        let fetch: jwks::Fetch = Arc::new(move |_| {
            let document = document.clone();
            async move { Ok(document) }.boxed()
        });
        let url = "https://iam.example/jwks.json".parse().unwrap();
        let keys = Arc::new(Jwks::new(url, vec![Algorithm::Es256], fetch));
        let rules = ClaimRules {
            audience: AUDIENCE.to_owned(),
            leeway: Duration::from_secs(10),
            lifetime_max: Duration::from_hours(1),
        };
        TokenVerifier::new(HashMap::from([(ISSUER.to_owned(), keys)]), rules)
    }

    /// As the gate does it, up to the replay store.
    async fn verify(&self, tokens: &TokenVerifier, keys: &KeyCache, requests: &[Request]) {
        for request in requests {
            let token = tokens.verify(&request.token, self.now).await.unwrap();
            let expected = Expected {
                method: &Method::GET,
                path: &self.path,
                bases: &self.bases,
                binding: Binding::Token { ath: &token.ath, jkt: &token.claims.jkt },
                nonces: NoncePolicy::Off,
                algorithms: Algorithms::default(),
                window: Window::default(),
                now: self.now,
            };
            dpop::verify(&request.proof, &expected, keys).unwrap();
        }
    }
}

/// What is signed, and the signature.
fn split(proof: &str) -> (String, Vec<u8>) {
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    (signed.to_owned(), decode(signature))
}
