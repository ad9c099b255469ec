//! Jobs over HTTP: for the scheduler's account, by Google's identity token, and for nobody else.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use axum::{Router, routing::get};
use backoffice::clock::{Clock, SystemClock};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{
    desktop::Desktop,
    platform::tenant,
    port,
    service::{Service, World},
};

const ISSUER: &str = "https://accounts.google.example";
const AUDIENCE: &str = "https://backoffice.example";
const EMAIL: &str = "scheduler@melmastoon.iam.gserviceaccount.com";

/// Google, as far as we need it.
struct Google {
    keys: RsaKeyPair,
    url: String,
    /// Until it is dropped.
    _serving: JoinSet<std::io::Result<()>>,
}

impl Google {
    async fn start() -> Self {
        let keys = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = keys.public_key();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let document = json!({ "keys": [{
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "g1",
            "n": encode(public.modulus().big_endian_without_leading_zero()),
            "e": encode(public.exponent().big_endian_without_leading_zero()),
        }] });
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/certs", listener.local_addr().unwrap());
        let router = Router::new().route("/certs", get(async move || document.to_string()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await });
        Self { keys, url, _serving: serving }
    }

    fn claims() -> Value {
        let now = SystemClock.now().timestamp();
        json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "1", "email": EMAIL, "email_verified": true,
            "iat": now, "exp": now + 3600,
        })
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.keys.public_modulus_len()];
        self.keys
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn good(&self) -> String {
        self.token(&header(), &Self::claims())
    }
}

fn header() -> Value {
    json!({ "alg": "RS256", "typ": "JWT", "kid": "g1" })
}

async fn start() -> (World, Service, Google) {
    let world = World::start().await;
    let google = Google::start().await;
    let service = trusting(&world, &google.url).await;
    (world, service, google)
}

/// An instance whose scheduler is known by the keys that are there.
async fn trusting(world: &World, keys_url: &str) -> Service {
    world
        .service_with(&[
            ("SCHEDULER_EMAIL", EMAIL),
            ("SCHEDULER_AUDIENCE", AUDIENCE),
            ("SCHEDULER_ISSUER", ISSUER),
            ("SCHEDULER_JWKS_URL", keys_url),
        ])
        .await
}

async fn run(service: &Service, job: &str, authorization: Option<&str>) -> (StatusCode, Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.post(format!("{}/internal/jobs/{job}", service.root_url));
    if let Some(authorization) = authorization {
        request = request.header("authorization", authorization);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    (status, answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_runs_jobs_and_the_command_line_runs_the_same() {
    let (world, service, google) = start().await;
    let bearer = format!("Bearer {}", google.good());
    for job in ["partitions", "purge-idempotency", "retention", "completer"] {
        let (status, body) = run(&service, job, Some(&bearer)).await;
        assert_eq!(status, StatusCode::OK, "{job}: {body}");
        assert_eq!(body["job"], job);
        let (is_well, said) = world.run(&["job", job]);
        assert!(is_well, "{job}: {said}");
    }
    for job in ["seal", "..%2fpartitions", "Partitions"] {
        let (status, body) = run(&service, job, Some(&bearer)).await;
        assert!([400, 404].contains(&status.as_u16()), "{job}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ab_28_jobs_are_for_the_schedulers_account_and_its_token_is_for_jobs_alone() {
    let (world, service, google) = start().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let changed = |member: &str, value: Value| {
        let mut claims = Google::claims();
        claims[member] = value;
        format!("Bearer {}", google.token(&header(), &claims))
    };
    let now = SystemClock.now().timestamp();
    let stranger = Google::start().await;
    let without_email = {
        let mut claims = Google::claims();
        claims.as_object_mut().unwrap().remove("email");
        format!("Bearer {}", google.token(&header(), &claims))
    };
    let header_with = |member: &str, value: Value| {
        let mut header = header();
        header[member] = value;
        format!("Bearer {}", google.token(&header, &Google::claims()))
    };
    let unsigned = google.good().rsplit_once('.').unwrap().0.to_owned();
    let own = desktop.text("accessToken").to_owned();
    for (case, authorization, code) in [
        ("no token", None, "TOKEN_MISSING"),
        ("an operator's token", Some(format!("DPoP {own}")), "TOKEN_INVALID"),
        ("an operator's token as bearer", Some(format!("Bearer {own}")), "TOKEN_INVALID"),
        ("under another scheme", Some(format!("Basic {}", google.good())), "TOKEN_INVALID"),
        ("issuer", Some(changed("iss", json!("https://accounts.google.com"))), "TOKEN_INVALID"),
        ("audience", Some(changed("aud", json!("https://other.example"))), "TOKEN_INVALID"),
        ("audiences", Some(changed("aud", json!([AUDIENCE]))), "TOKEN_INVALID"),
        ("account", Some(changed("email", json!("somebody@example.org"))), "TOKEN_INVALID"),
        ("no account", Some(without_email), "TOKEN_INVALID"),
        ("unverified", Some(changed("email_verified", json!(false))), "TOKEN_INVALID"),
        ("too long", Some(changed("exp", json!(now + 7200))), "TOKEN_INVALID"),
        ("from tomorrow", Some(changed("iat", json!(now + 300))), "TOKEN_INVALID"),
        ("another's key", Some(format!("Bearer {}", stranger.good())), "TOKEN_INVALID"),
        ("no algorithm", Some(header_with("alg", json!("none"))), "TOKEN_INVALID"),
        ("a symmetric algorithm", Some(header_with("alg", json!("HS256"))), "TOKEN_INVALID"),
        ("an unknown key", Some(header_with("kid", json!("g2"))), "TOKEN_INVALID"),
        ("critical", Some(header_with("crit", json!(["x"]))), "TOKEN_INVALID"),
        ("unsigned", Some(format!("Bearer {unsigned}.")), "TOKEN_INVALID"),
    ] {
        let (status, body) = run(&service, "partitions", authorization.as_deref()).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{case}: {body}");
        assert_eq!(body["code"], format!("MELMASTOON.AUTH.{code}"), "{case}");
    }
    let mut expired = Google::claims();
    (expired["iat"], expired["exp"]) = (json!(now - 4000), json!(now - 400));
    let expired = format!("Bearer {}", google.token(&header(), &expired));
    let (status, body) = run(&service, "partitions", Some(&expired)).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::UNAUTHORIZED, &json!("MELMASTOON.AUTH.TOKEN_EXPIRED"))
    );

    // The scheduler's token opens nothing else, with or without a proof.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for scheme in ["Bearer", "DPoP"] {
        let proof = desktop.proof(&service, &reqwest::Method::GET, "/session");
        let answer = http
            .get(format!("{}/session", service.url))
            .header("authorization", format!("{scheme} {}", google.good()))
            .header("dpop", proof)
            .header("x-device-id", desktop.text("deviceId"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{scheme}");
    }
    // Metrics are on the other listener.
    let metrics = http.get(format!("{}/metrics", service.root_url)).send().await.unwrap();
    assert_eq!(metrics.status(), StatusCode::NOT_FOUND);
    let session = desktop.get(&service, "/session").await;
    assert_eq!(session.status, StatusCode::OK, "{}", session.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuers_keys_cannot_be_had_a_job_is_to_be_tried_again() {
    let (world, google) = (World::start().await, Google::start().await);
    let nobody = format!("http://127.0.0.1:{}/certs", port::free());
    let service = trusting(&world, &nobody).await;
    let bearer = format!("Bearer {}", google.good());

    let (status, body) = run(&service, "partitions", Some(&bearer)).await;

    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert_eq!(body["code"], "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_scheduler_no_job_is_run_over_http() {
    let world = World::start().await;
    let service = world.service().await;
    let google = Google::start().await;
    let bearer = format!("Bearer {}", google.good());
    let (status, body) = run(&service, "partitions", Some(&bearer)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
}
