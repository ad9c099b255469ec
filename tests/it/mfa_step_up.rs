//! `POST /auth/mfa/step-up` through the binary: iam-service confirms, the ledger records, the code
//! is kept nowhere.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    desktop::{Answer, Desktop, key},
    platform::{fault, heal, kept, tenant},
    service::{Service, World},
};

const ROUTE: &str = "/auth/mfa/step-up";
const RIGHT: &str = "000000";
const WRONG: &str = "417-wrong-code";

fn wish(code: &str) -> Value {
    json!({ "scope": "lock.revoke", "factor": "totp", "code": code, "resource": "lck_7" })
}

#[tokio::test]
async fn a_confirmed_factor_is_an_attestation_and_a_repetition_gets_the_same_one() {
    let (world, service, mut desktop) = start().await;
    let key = key();

    let first = step_up(&mut desktop, &service, &key, RIGHT).await;
    let again = step_up(&mut desktop, &service, &key, RIGHT).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let id = first.body["attestationId"].as_str().unwrap();
    assert!(id.starts_with("mfa_") && id.len() == 30, "{id}");
    assert_eq!(first.body["scope"], "lock.revoke");
    assert_eq!(first.body["resource"], "lck_7");
    let expires_at: chrono::DateTime<chrono::Utc> =
        first.body["expiresAt"].as_str().unwrap().parse().unwrap();
    assert!(first.headers.contains_key("x-ledger-position"));
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(attestations_asked_of_iam(&world).await, 1);

    let events = recorded(&world).await;
    let [(stream, version, kind, data)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((stream.as_str(), *version), (id, 1));
    assert_eq!(kind, "melmastoon.bff.backoffice.mfa.stepped_up.v1");
    assert_eq!(data["operatorId"], desktop.text("operatorId"));
    assert_eq!(data["deviceId"], desktop.text("deviceId"));
    assert_eq!(data["factor"], "totp");
    let stepped_up_at: chrono::DateTime<chrono::Utc> =
        data["steppedUpAt"].as_str().unwrap().parse().unwrap();
    assert!((expires_at - stepped_up_at).num_seconds() <= 300);
    assert!((expires_at - stepped_up_at).num_seconds() >= 295);
    assert_eq!(data["keyThumbprint"].as_str().unwrap().len(), 43);
}

#[tokio::test]
async fn a_wrong_code_is_refused_recorded_and_found_nowhere() {
    let (world, service, mut desktop) = start().await;
    let key = key();

    let refused = step_up(&mut desktop, &service, &key, WRONG).await;
    let again = step_up(&mut desktop, &service, &key, WRONG).await;
    let other_code = step_up(&mut desktop, &service, &key, RIGHT).await;

    for answer in [refused, again] {
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.AUTH.MFA_INVALID");
        assert!(!answer.headers.contains_key("www-authenticate"));
    }
    assert_eq!(other_code.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other_code.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED");
    let events = recorded(&world).await;
    let [(_, _, kind, data)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(kind, "melmastoon.bff.backoffice.mfa.refused.v1");
    assert_eq!(data["code"], "MELMASTOON.IAM.STEP_UP_REFUSED");
    assert!(!everything_in(&world).await.contains(WRONG), "the code is in the database");
    let keys = world.session_tier.keys().await;
    assert!(!keys.iter().any(|key| key.contains("mfa") || key.contains(WRONG)), "{keys:?}");
}

#[tokio::test]
async fn what_is_not_asked_rightly_is_not_asked_of_iam() {
    let (world, service, mut desktop) = start().await;
    for (case, body, code) in [
        ("scope", json!({ "scope": "lock", "factor": "totp", "code": "1" }), "VALIDATION_FAILED"),
        (
            "factor",
            json!({ "scope": "lock.revoke", "factor": "pin", "code": "1" }),
            "VALIDATION_FAILED",
        ),
        (
            "code",
            json!({ "scope": "lock.revoke", "factor": "totp", "code": "" }),
            "VALIDATION_FAILED",
        ),
        (
            "resource",
            json!({ "scope": "lock.revoke", "factor": "totp", "code": "1", "resource": "a b" }),
            "VALIDATION_FAILED",
        ),
        ("shape", json!({ "scope": "lock.revoke", "factor": "totp" }), "MALFORMED_REQUEST"),
    ] {
        let answer = desktop.post(&service, ROUTE, &key(), &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {}", answer.body);
        assert_eq!(answer.body["code"], format!("MELMASTOON.GENERAL.{code}"), "{case}");
    }
    let answer = desktop.post(&service, ROUTE, "no ulid", &wish(RIGHT)).await;
    assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_INVALID");
    assert_eq!(attestations_asked_of_iam(&world).await, 0);
    assert!(recorded(&world).await.is_empty());
}

#[tokio::test]
async fn without_iam_nothing_is_recorded_and_the_same_key_works_later() {
    let (world, service, mut desktop) = start().await;
    let key = key();
    fault(&world, "iam-service", &json!({ "errorRate": 1.0 })).await;

    let failed = step_up(&mut desktop, &service, &key, RIGHT).await;
    heal(&world, "iam-service").await;
    let healed = step_up(&mut desktop, &service, &key, RIGHT).await;

    assert!([502, 503, 504].contains(&failed.status.as_u16()), "{}", failed.body);
    assert_eq!(failed.body["retriable"], true);
    assert_eq!(healed.status, StatusCode::OK, "{}", healed.body);
    assert_eq!(recorded(&world).await.len(), 1);
}

#[tokio::test]
async fn twenty_presses_of_one_key_at_once_make_one_attestation() {
    let (world, service, mut desktop) = start().await;
    desktop.get(&service, "/bootstrap").await;
    let key = key();
    let mut presses = Vec::new();
    for _ in 0..20 {
        let proof = desktop.proof(&service, &reqwest::Method::POST, ROUTE);
        presses.push((proof, key.clone()));
    }
    let body = wish(RIGHT);
    let answers = futures::future::join_all(presses.iter().map(async |(proof, key)| {
        let sent = desktop.send_with_proof(&service, ROUTE, Some((key, &body)), proof).await;
        Answer::read(sent).await
    }))
    .await;

    let first = &answers[0];
    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.bytes, first.bytes);
    }
    assert_eq!(recorded(&world).await.len(), 1);
}

async fn start() -> (World, Service, Desktop) {
    let world = World::start().await;
    let service = world.service().await;
    let desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    (world, service, desktop)
}

async fn step_up(desktop: &mut Desktop, service: &Service, key: &str, code: &str) -> Answer {
    desktop.post(service, ROUTE, key, &wish(code)).await
}

/// Stream, version, kind and data of every event about step-ups.
async fn recorded(world: &World) -> Vec<(String, i64, String, Value)> {
    let mut connection = world.database.superuser().await;
    let query = "select stream, stream_version, kind, convert_from(body, 'utf8') from event \
        where stream like 'mfa\\_%' order by position";
    let rows: Vec<(String, i64, String, String)> =
        sqlx::query_as(query).fetch_all(&mut connection).await.unwrap();
    rows.into_iter()
        .map(|(stream, version, kind, body)| {
            (stream, version, kind, serde_json::from_str(&body).unwrap())
        })
        .collect()
}

/// All that was written of requests, as text.
async fn everything_in(world: &World) -> String {
    let mut connection = world.database.superuser().await;
    let query = "select coalesce(string_agg(text, ' '), '') from (
        select i::text || ' ' || encode(coalesce(i.body, ''), 'escape') as text
        from idempotency i
        union all
        select convert_from(body, 'utf8') || convert_from(metadata, 'utf8')
            || encode(coalesce(personal, ''), 'escape') from event
    ) as everything";
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

/// How often iam-service was asked to confirm a factor.
async fn attestations_asked_of_iam(world: &World) -> usize {
    kept(world, ("iam-service", "calls"), "/auth/step-up").await.len()
}
