//! `POST /auth/refresh`, over HTTP.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{count, fault, heal, iam_calls, iam_effects, ledger, tenant};
use crate::support::{
    desktop::{Answer, Desktop, key},
    service::{Service, World},
    wait,
};

const REFRESH: &str = "/auth/refresh";
const INVALID_GRANT: &str = "MELMASTOON.IAM.INVALID_GRANT";
const PROOF_INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_01_a_refresh_token_and_a_proof_without_ath_give_tokens_for_the_same_key() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let before = desktop.get(&service, "/session").await;
    let signed_in = desktop.grant.clone();

    let answer = desktop.refresh(&service, &key()).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let members = |grant: &Value| grant.as_object().unwrap().keys().cloned().collect();
    let (given, expected): (BTreeSet<String>, BTreeSet<String>) =
        (members(&answer.body), members(&signed_in));
    assert_eq!(given, expected, "the answer is that of sign-in");
    for member in ["tenantId", "operatorId", "deviceId", "propertyIds", "tokenType"] {
        assert_eq!(answer.body[member], signed_in[member], "{member}");
    }
    assert!((880..=900).contains(&answer.body["expiresIn"].as_i64().unwrap()));
    assert_ne!(answer.body["refreshToken"], signed_in["refreshToken"]);
    let after = desktop.get(&service, "/session").await;
    assert_eq!(after.status, StatusCode::OK, "{}", after.body);
    assert_eq!(after.body["id"], before.body["id"], "the session goes on");
    assert_eq!(ledger(&world, desktop.text("tenantId")).await, ["opened.v1", "refreshed.v1"]);

    let calls = iam_calls(&world, REFRESH).await;
    let call = calls.iter().find(|call| call["body"]["refreshToken"] == signed_in["refreshToken"]);
    let call = call.unwrap();
    assert_eq!(call["headers"]["authorization"], "Bearer development", "the service's identity");
    assert!(call["headers"].get("dpop").is_none(), "no proof of the device is passed on");
    assert!(call["body"]["jkt"].as_str().is_some_and(|jkt| jkt.len() == 43));
    assert_eq!(call["body"]["deviceId"], signed_in["deviceId"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_02_a_refresh_proof_with_ath_is_refused_and_iam_is_not_asked() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    desktop.learn_refresh_nonce(&service).await;
    let proof = desktop.proof(&service, &Method::POST, REFRESH);
    let token = desktop.text("refreshToken").to_owned();

    let response = desktop.send_refresh(&service, (&key(), &token), &proof).await;

    let answer = Answer::read(response).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.body["code"], PROOF_INVALID);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"error="invalid_dpop_proof""#), "{challenge}");
    assert!(iam_calls(&world, REFRESH).await.is_empty());
    let answer = desktop.refresh(&service, &key()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_03_a_refresh_token_of_another_key_is_an_invalid_grant_and_stays_good() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let mut thief = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let stolen = desktop.text("refreshToken").to_owned();

    // Under the thief's device, and under the victim's name for it.
    let own = thief.refresh_with(&service, (&key(), &stolen)).await;
    thief.grant["deviceId"] = desktop.grant["deviceId"].clone();
    let other = thief.refresh_with(&service, (&key(), &stolen)).await;
    let unknown = thief.refresh_with(&service, (&key(), "rft_unknown")).await;

    for answer in [&own, &other, &unknown] {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(answer.body["code"], INVALID_GRANT);
        assert_eq!(answer.body["source"], "iam-service");
        assert_eq!(answer.body["errors"][0]["code"], "INVALID_GRANT");
        assert_eq!(answer.body["detail"], unknown.body["detail"], "not a word of why");
        assert!(answer.body.get("accessToken").is_none());
    }
    let answer = desktop.refresh(&service, &key()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_04_a_replayed_refresh_proof_is_refused_and_iam_is_asked_once() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    desktop.learn_refresh_nonce(&service).await;
    let (proof, token) = (desktop.refresh_proof(&service), desktop.text("refreshToken").to_owned());
    let key = key();

    let sent = (0..10).map(|_| desktop.send_refresh(&service, (&key, &token), &proof));
    let answers = join_all(join_all(sent).await.into_iter().map(Answer::read)).await;

    let good = answers.iter().filter(|answer| answer.status == StatusCode::OK).count();
    assert_eq!(good, 1);
    for answer in answers.iter().filter(|answer| answer.status != StatusCode::OK) {
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.AUTH.PROOF_REPLAYED");
    }
    assert_eq!(iam_calls(&world, REFRESH).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_04_a_repetition_under_its_key_gets_the_same_tokens_and_revokes_nobody() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    assert_eq!(desktop.get(&service, "/session").await.status, StatusCode::OK);
    desktop.learn_refresh_nonce(&service).await;
    let (key, token) = (key(), desktop.text("refreshToken").to_owned());

    let sent = (0..8).map(|_| {
        let proof = desktop.refresh_proof(&service);
        let (desktop, service, wish) = (&desktop, &service, (key.as_str(), token.as_str()));
        async move { Answer::read(desktop.send_refresh(service, wish, &proof).await).await }
    });
    let answers = join_all(sent).await;

    let tokens: BTreeSet<&str> =
        answers.iter().filter_map(|answer| answer.body["refreshToken"].as_str()).collect();
    assert_eq!(tokens.len(), 1, "one grant, however often it is asked for");
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    assert_eq!(iam_effects(&world, REFRESH).await, 1);
    assert_eq!(count(&world, desktop.text("tenantId"), "refreshed.v1").await, 1);
    // The family lives: its next token is as good as ever.
    desktop.grant = answers[0].body.clone();
    let answer = desktop.refresh(&service, &self::key()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(desktop.get(&service, "/session").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_04_a_lost_answer_is_asked_for_again_under_its_key() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let (key, token) = (key(), desktop.text("refreshToken").to_owned());
    fault(&world, json!({ "dropAfterEffect": true })).await;

    let lost = desktop.refresh_with(&service, (&key, &token)).await;
    heal(&world).await;
    let found = desktop.refresh_with(&service, (&key, &token)).await;
    let next = desktop.refresh(&service, &self::key()).await;

    assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    assert_eq!(lost.body["code"], "MELMASTOON.BFF.OUTCOME_UNKNOWN");
    assert_eq!(found.status, StatusCode::OK, "{}", found.body);
    assert_eq!(next.status, StatusCode::OK, "{}", next.body);
    assert_eq!(iam_effects(&world, REFRESH).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_04_a_token_that_was_exchanged_already_ends_its_family() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let mut live = desktop.live(&service, "").await;
    let used = desktop.text("refreshToken").to_owned();
    assert_eq!(desktop.refresh(&service, &key()).await.status, StatusCode::OK);

    let again = desktop.refresh_with(&service, (&key(), &used)).await;

    assert_eq!(again.status, StatusCode::BAD_REQUEST, "{}", again.body);
    assert_eq!(again.body["code"], INVALID_GRANT);
    // iam takes it for a stolen token, and says so to everybody.
    assert_eq!(live.next_of("force-logout").await["reason"], "refresh_replay");
    let answer = desktop.get(&service, "/session").await;
    assert_eq!(answer.body["code"], "MELMASTOON.AUTH.SESSION_REVOKED");
    let next = desktop.refresh(&service, &key()).await;
    assert_eq!(next.body["code"], INVALID_GRANT, "the grant's refresh token is as dead");
    wait::until("it is in the ledger", async || {
        count(&world, desktop.text("tenantId"), "force_logged_out.v1").await == 1
    })
    .await;
    assert_eq!(count(&world, desktop.text("tenantId"), "opened.v1").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_04_two_refreshes_of_one_token_at_once_give_one_grant_at_most() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let mut live = desktop.live(&service, "").await;
    desktop.learn_refresh_nonce(&service).await;
    let token = desktop.text("refreshToken").to_owned();

    let sent = (0..2).map(|_| {
        let (proof, key) = (desktop.refresh_proof(&service), key());
        let (desktop, service, token) = (&desktop, &service, token.as_str());
        async move {
            let wish = (key.as_str(), token);
            Answer::read(desktop.send_refresh(service, wish, &proof).await).await
        }
    });
    let answers = join_all(sent).await;

    let (granted, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::OK);
    assert!(granted.len() <= 1, "one token has one grant");
    // The family's end may overtake the grant on its way back: nothing is handed out then.
    let codes: Vec<_> = refused.iter().map(|answer| answer.body["code"].as_str()).collect();
    assert!(codes.contains(&Some(INVALID_GRANT)), "{codes:?}");
    let revoked = Some("MELMASTOON.AUTH.SESSION_REVOKED");
    assert!(codes.iter().all(|code| [Some(INVALID_GRANT), revoked].contains(code)), "{codes:?}");
    assert_eq!(live.next_of("force-logout").await["reason"], "refresh_replay");
    if let Some(granted) = granted.first() {
        desktop.grant = granted.body.clone();
    }
    let answer = desktop.get(&service, "/session").await;
    assert_eq!(answer.body["code"], "MELMASTOON.AUTH.SESSION_REVOKED");
    wait::until("every session that was opened has ended once", async || {
        let tenant_id = desktop.text("tenantId");
        let opened = count(&world, tenant_id, "opened.v1").await;
        let ended = count(&world, tenant_id, "force_logged_out.v1").await;
        assert!(ended <= opened, "{ended} ends of {opened} sessions");
        opened > 0 && ended == opened
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_05_what_stands_in_authorization_is_not_looked_at() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let ended = json!({ "ttlSeconds": -60 });
    let expired = Desktop::sign_in(&world, &tenant(&world, 0), ended).await;
    let expired = format!("DPoP {}", expired.text("accessToken"));
    desktop.learn_refresh_nonce(&service).await;

    for authorization in [expired.as_str(), "Basic nonsense"] {
        let token = desktop.text("refreshToken").to_owned();
        let send = async |proof: String| {
            let request = desktop.refresh_request(&service, (&key(), &token), &proof);
            let request = request.header("authorization", authorization);
            Answer::read(request.send().await.unwrap()).await
        };
        // A proof with `ath` is refused, as it is beside no token.
        let bound = send(desktop.proof(&service, &Method::POST, REFRESH)).await;
        assert_eq!(bound.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bound.body["code"], PROOF_INVALID);
        let bare = send(desktop.refresh_proof(&service)).await;
        assert_eq!(bare.status, StatusCode::OK, "{authorization}: {}", bare.body);
        desktop.grant = bare.body;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ref_06_a_nonce_that_iam_asks_for_is_between_iam_and_us() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    desktop.learn_refresh_nonce(&service).await;
    let token = desktop.text("refreshToken").to_owned();
    fault(&world, json!({ "status": 400, "error": "use_dpop_nonce" })).await;

    let proof = desktop.refresh_proof(&service);
    let response = desktop.send_refresh(&service, (&key(), &token), &proof).await;

    let answer = Answer::read(response).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.body);
    assert_eq!(answer.body["code"], "MELMASTOON.BFF.UPSTREAM_FAILED");
    assert!(!answer.headers.contains_key("dpop-nonce"));
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert!(!String::from_utf8_lossy(&answer.bytes).contains("nonce"));
    heal(&world).await;
    // The nonce of ours is as good as before.
    let proof = desktop.refresh_proof(&service);
    let response = desktop.send_refresh(&service, (&key(), &token), &proof).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_iam_is_away_a_refresh_is_to_be_tried_again() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    for (broken, status) in [
        (json!({ "status": 503 }), StatusCode::SERVICE_UNAVAILABLE),
        (json!({ "resetRate": 1.0 }), StatusCode::GATEWAY_TIMEOUT),
        (json!({ "hang": true }), StatusCode::GATEWAY_TIMEOUT),
    ] {
        fault(&world, broken.clone()).await;
        let answer = desktop.refresh(&service, &key()).await;
        assert_eq!(answer.status, status, "{broken}: {}", answer.body);
        assert!(answer.headers.contains_key("retry-after"), "{broken}");
        assert_eq!(answer.body["retriable"], true, "{broken}");
        heal(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_another_key_or_service_is_not_handed_out() {
    let world = World::start().await;
    let service = world.service().await;
    let other = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    for claims in [
        json!({ "cnf": { "jkt": other } }),
        json!({ "cnf": null }),
        json!({ "aud": "another-service" }),
        json!({ "device_id": "dev_another" }),
    ] {
        let options = json!({ "claims": claims });
        let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), options).await;

        let answer = desktop.refresh(&service, &key()).await;

        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{claims}: {}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.BFF.UPSTREAM_FAILED");
        assert!(answer.body.get("accessToken").is_none());
    }
    assert!(ledger(&world, &tenant(&world, 0)).await.is_empty(), "and nothing is recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_needs_its_key_its_device_and_its_body() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    desktop.learn_refresh_nonce(&service).await;
    let url = format!("{}{REFRESH}", service.url);
    let send = |headers: Vec<(&'static str, String)>, body: &'static str| {
        let request = headers
            .into_iter()
            .fold(super::http().post(&url), |request, (name, value)| request.header(name, value));
        let request = request
            .header("dpop", desktop.refresh_proof(&service))
            .header("content-type", "application/json")
            .body(body);
        async move { Answer::read(request.send().await.unwrap()).await }
    };
    let device = || ("x-device-id", "dev_1".to_owned());
    let id = || ("x-idempotency-key", key());
    let good = r#"{"refreshToken":"rft_1"}"#;
    for (headers, body, code) in [
        (vec![device()], good, "IDEMPOTENCY_KEY_MISSING"),
        (vec![id()], good, "VALIDATION_FAILED"),
        (vec![id(), device()], "{}", "MALFORMED_REQUEST"),
        (vec![id(), device()], r#"{"refreshToken":""}"#, "VALIDATION_FAILED"),
        (vec![id(), device()], r#"{"refreshToken":"a","x":1}"#, "MALFORMED_REQUEST"),
        (vec![id(), device()], r#"{"refreshToken":"a","refreshToken":"b"}"#, "MALFORMED_REQUEST"),
    ] {
        let answer = send(headers, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.body["code"], format!("MELMASTOON.GENERAL.{code}"), "{body}");
    }
    let blank = super::http().post(&url).send().await.unwrap();
    assert_eq!(blank.status(), StatusCode::UNAUTHORIZED, "the proof comes first");
    assert!(iam_calls(&world, REFRESH).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_stands_for_one_refresh() {
    let (_world, service, mut desktop) = signed_in(json!({})).await;
    let key = key();
    assert_eq!(desktop.refresh(&service, &key).await.status, StatusCode::OK);

    let other = desktop.refresh(&service, &key).await;

    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", other.body);
    assert_eq!(other.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_kept_anywhere() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let mut tokens = vec![desktop.text("refreshToken").to_owned()];
    assert_eq!(desktop.refresh(&service, &key()).await.status, StatusCode::OK);
    tokens.extend(["refreshToken", "accessToken"].map(|member| desktop.text(member).to_owned()));

    let mut connection = world.database.superuser().await;
    let query = "select coalesce(string_agg(text, ''), '') from (\
        select t::text as text from idempotency t union all select e::text from event e \
        union all select convert_from(body, 'UTF8') from event) everything";
    let rows: String = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    assert!(rows.contains("refreshed"));
    let mut redis = world.session_tier.connect().await.shared();
    for token in &tokens {
        assert!(!rows.contains(token.as_str()));
        for key in world.session_tier.keys().await {
            assert!(!key.contains(token.as_str()));
            let dumped: Vec<u8> =
                redis::cmd("DUMP").arg(&key).query_async(&mut redis).await.unwrap();
            let found = dumped.windows(token.len()).any(|bytes| bytes == token.as_bytes());
            assert!(!found, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_after_the_sessions_were_lost_opens_another() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let before = desktop.get(&service, "/session").await;
    world.session_tier.command(&["FLUSHALL"]).await;

    let refreshed = desktop.refresh(&service, &key()).await;

    assert_eq!(refreshed.status, StatusCode::OK, "{}", refreshed.body);
    let after = desktop.get(&service, "/session").await;
    assert_eq!(after.status, StatusCode::OK, "{}", after.body);
    assert_ne!(after.body["id"], before.body["id"]);
    let kinds = ledger(&world, desktop.text("tenantId")).await;
    assert_eq!(kinds, ["opened.v1", "opened.v1", "refreshed.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_requests_of_one_device_after_the_sessions_were_lost_are_served_in_one_new_session() {
    let (world, service, mut desktop) = signed_in(json!({})).await;
    let before = desktop.get(&service, "/session").await.body["id"].clone();
    world.session_tier.command(&["FLUSHALL"]).await;

    // With the tier's memory the nonces of before are gone: each is asked for a new one, once.
    let asked = fifty_at_once(&desktop, &service).await;
    for answer in &asked {
        assert_eq!(answer.body["code"], "MELMASTOON.AUTH.NONCE_REQUIRED", "{}", answer.body);
    }
    desktop.hear_nonce(&asked[0]);
    let mut sessions = BTreeSet::new();
    for answer in &fifty_at_once(&desktop, &service).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        sessions.insert(answer.body["id"].to_string());
    }
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    assert!(!sessions.contains(&before.to_string()));
    assert_eq!(count(&world, desktop.text("tenantId"), "opened.v1").await, 2);
}

async fn fifty_at_once(desktop: &Desktop, service: &Service) -> Vec<Answer> {
    let sent = (0..50).map(async |_| {
        let proof = desktop.proof(service, &Method::GET, "/session");
        Answer::read(desktop.send_with_proof(service, "/session", None, &proof).await).await
    });
    join_all(sent).await
}

async fn signed_in(options: Value) -> (World, Service, Desktop) {
    let world = World::start().await;
    let service = world.service().await;
    let desktop = Desktop::sign_in(&world, &tenant(&world, 0), options).await;
    (world, service, desktop)
}
