//! Follows the client through the refusals that it answers by itself.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::*;
use crate::{
    clock::{Clock, SystemClock},
    desktop::scripted::{Asked, ScriptedServer},
};

const NONCE_WANTED: &str = "401 Unauthorized\nWWW-Authenticate: DPoP error=\"use_dpop_nonce\"\n\
                            DPoP-Nonce: n-1\nContent-Length: 0\n\n";
const TOKEN_EXPIRED: &str = "401 Unauthorized\nWWW-Authenticate: DPoP \
                             error=\"invalid_token\"\nContent-Length: 0\n\n";
const GRANTED: &str = "200 OK\nContent-Type: application/json\n\n\
    {\"accessToken\":\"new\",\"refreshToken\":\"r-2\",\"tokenType\":\"DPoP\",\"expiresIn\":900}";
const DONE: &str = "200 OK\nDPoP-Nonce: n-2\n\n{\"done\":true}";

#[tokio::test]
async fn a_nonce_is_taken_from_the_refusal_and_the_request_is_sent_again_with_its_key() {
    let server = ScriptedServer::start(&[NONCE_WANTED, DONE]).await;
    let (_folder, mut client) = signed_in(&server.url);

    let answer = client.json(&post("/alerts/a-1/acknowledge", &json!({}))).await.unwrap();

    assert_eq!(answer, json!({ "done": true }));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /bff/backoffice/v1/alerts/a-1/acknowledge HTTP/1.1");
    assert_eq!(asked[1].line, asked[0].line);
    let key = asked[0].header("x-idempotency-key");
    assert!(key.is_some_and(|key| key.parse::<Ulid>().is_ok()));
    assert_eq!(asked[1].header("x-idempotency-key"), key);
    assert_eq!(claims(&asked[0])["nonce"], Value::Null);
    assert_eq!(claims(&asked[1])["nonce"], "n-1");
    assert_ne!(claims(&asked[0])["jti"], claims(&asked[1])["jti"], "a proof is used once");
    assert_eq!(client.device().nonce.as_deref(), Some("n-2"), "the newest nonce is kept");
}

#[tokio::test]
async fn a_second_refusal_of_the_nonce_is_the_answer() {
    let server = ScriptedServer::start(&[NONCE_WANTED, NONCE_WANTED]).await;
    let (_folder, mut client) = signed_in(&server.url);

    let answer = client.send(&get("/session")).await.unwrap();

    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn an_expired_token_is_refreshed_with_a_proof_that_names_no_token() {
    let server = ScriptedServer::start(&[TOKEN_EXPIRED, GRANTED, DONE]).await;
    let (folder, mut client) = signed_in(&server.url);

    client.json(&get("/session")).await.unwrap();

    let asked = server.asked();
    assert_eq!(asked[1].line, "POST /bff/backoffice/v1/auth/refresh HTTP/1.1");
    assert_eq!(asked[1].body, "{\"refreshToken\":\"r-1\"}");
    assert_eq!(asked[1].header("authorization"), None);
    assert_eq!(claims(&asked[1])["ath"], Value::Null);
    assert_eq!(asked[2].header("authorization"), Some("DPoP new"));
    let kept = Device::load(&Device::path(folder.path())).unwrap();
    assert_eq!(kept.refresh_token, "r-2");
}

#[tokio::test]
async fn a_token_about_to_end_is_refreshed_before_it_is_used() {
    let server = ScriptedServer::start(&[GRANTED, DONE]).await;
    let (_folder, mut client) = signed_in(&server.url);
    client.device.token_expires_at = SystemClock.now() + TimeDelta::seconds(5);

    client.json(&get("/session")).await.unwrap();

    assert_eq!(server.asked()[1].header("authorization"), Some("DPoP new"));
}

#[tokio::test]
async fn a_refresh_that_is_refused_leads_to_a_new_sign_in_on_the_same_device() {
    let refused = "401 Unauthorized\nContent-Length: 0\n\n";
    let signed_in_again = GRANTED.replace(
        '{',
        "{\"tenantId\":\"tnt_1\",\"operatorId\":\"usr_1\",\"deviceId\":\"dev_1\",\
         \"propertyIds\":[\"ppt_1\"],",
    );
    let server = ScriptedServer::start(&[TOKEN_EXPIRED, refused, &signed_in_again, DONE]).await;
    let (_folder, mut client) = signed_in(&server.url);

    client.json(&get("/session")).await.unwrap();

    let asked = server.asked();
    assert_eq!(asked[2].line, "POST /sim/sign-in HTTP/1.1");
    let body: Value = serde_json::from_str(&asked[2].body).unwrap();
    assert_eq!(body["deviceId"], "dev_1");
    assert_eq!(body["deviceJwk"], client.key.public_jwk());
    assert_eq!(asked[3].header("authorization"), Some("DPoP new"));
}

#[tokio::test]
async fn every_request_says_which_device_and_program_sends_it() {
    let server = ScriptedServer::start(&[DONE]).await;
    let (_folder, mut client) = signed_in(&server.url);

    client.json(&get("/alerts?limit=1")).await.unwrap();

    let asked = &server.asked()[0];
    assert_eq!(asked.header("x-device-id"), Some("dev_1"));
    assert_eq!(asked.header("x-app-version"), Some("1.0.0"));
    assert_eq!(asked.header("x-app-platform"), Some(app_platform()));
    assert_eq!(asked.header("x-network-mode"), Some("good"));
    assert_eq!(asked.header("x-idempotency-key"), None, "a read has none");
    let htu = format!("{}/alerts", server.url);
    assert_eq!(claims(asked)["htu"], htu);
}

/// A client of a device that is signed in, and the folder that its file is in.
pub fn signed_in(url: &Url) -> (tempfile::TempDir, Client) {
    let folder = tempfile::tempdir().unwrap();
    let file = Device::path(folder.path());
    let device = Device {
        key: DeviceKey::generate().secret(),
        device_id: "dev_1".into(),
        tenant_id: "tnt_1".into(),
        operator_id: "usr_1".into(),
        property_ids: vec!["ppt_1".into()],
        access_token: "old".into(),
        refresh_token: "r-1".into(),
        token_expires_at: SystemClock.now() + TimeDelta::minutes(15),
        nonce: None,
    };
    device.save(&file).unwrap();
    let clock = Arc::new(SystemClock);
    (folder, Client::open(file, url.clone(), url.clone(), clock).unwrap())
}

fn get(path: &str) -> Request<'_> {
    Request { method: Method::GET, path, body: None, headers: &[] }
}

fn post<'a>(path: &'a str, body: &'a Value) -> Request<'a> {
    Request { method: Method::POST, path, body: Some(body), headers: &[] }
}

/// What the proof of a request says.
pub fn claims(asked: &Asked) -> Value {
    let payload = asked.header("dpop").unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn a_path_is_taken_under_the_base_path_unless_it_stands_at_the_root() {
    let base = Url::parse("http://127.0.0.1:8083/bff/backoffice/v1").unwrap();
    let url = |path| url_of(&base, path).unwrap().to_string();

    assert_eq!(url("/alerts?limit=1"), "http://127.0.0.1:8083/bff/backoffice/v1/alerts?limit=1");
    assert_eq!(url("/health/ready"), "http://127.0.0.1:8083/health/ready");
    assert_eq!(url("/bff/backoffice/v1/x"), "http://127.0.0.1:8083/bff/backoffice/v1/x");
    assert!(url_of(&base, "alerts").is_err());
}

#[test]
fn a_nonce_is_asked_for_only_where_one_is_given() {
    let wanted = ["DPoP error=\"use_dpop_nonce\", algs=\"ES256\""];
    assert_eq!(challenge_of(&wanted, true), Some(Challenge::Nonce));
    assert_eq!(challenge_of(&wanted, false), None);
    assert_eq!(challenge_of(&["DPoP error=\"invalid_token\""], true), Some(Challenge::Token));
    assert_eq!(challenge_of(&["DPoP error=\"invalid_dpop_proof\""], true), None);
    assert_eq!(challenge_of(&[], true), None);
}
