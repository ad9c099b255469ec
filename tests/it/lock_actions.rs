//! Keys of doors over HTTP against the binary: recorded before, done once, found out afterwards.

mod audit;
mod completion;
mod drill;
mod races;
mod revocation;
mod step_up;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    desktop::{Answer, Desktop, key},
    locks::{Door, calls, effects, fault, heal, issued, kinds, open, recorded, revoke, stepped_up},
    platform::tenant,
    replica::{claims, expire_leases},
    service::{Service, World},
    wait,
};

/// A running service, a desktop, and a door.
struct Scene {
    world: World,
    service: Service,
    desktop: Desktop,
    door: Door,
}

impl Scene {
    async fn set() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
        let door = Door::of(&world, desktop.property(), 0).await;
        Self { world, service, desktop, door }
    }

    async fn issue(&mut self, key: &str) -> Answer {
        let (path, wish) = (self.door.issue_path(), self.door.wish());
        self.desktop.post(&self.service, &path, key, &wish).await
    }

    /// The stream of an action that was answered.
    fn stream(answer: &Answer) -> String {
        answer.body["actionId"].as_str().unwrap().to_owned()
    }

    /// The one stream there is.
    async fn only_stream(&self) -> String {
        let recorded = recorded(&self.world).await;
        let stream = recorded[0].0.clone();
        assert!(recorded.iter().all(|(of, _)| *of == stream), "{recorded:?}");
        stream
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_issued_once_with_its_record_before_and_after() {
    let mut scene = Scene::set().await;
    let key = key();

    let first = scene.issue(&key).await;
    let again = scene.issue(&key).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.body["state"], "issued");
    assert_eq!(first.body["lockId"], scene.door.lock.as_str());
    assert!(first.headers.contains_key("x-ledger-position"));
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let stream = Scene::stream(&first);
    assert_eq!(kinds(&scene.world, &stream).await, ["requested.v1", "completed.v1"]);
    let effects = effects(&scene.world).await;
    assert_eq!(effects.len(), 1);
    let body = &effects[0]["body"];
    assert_eq!(body["reservationId"], scene.door.reservation.as_str());
    assert_eq!(body["validUntil"], "2026-11-24T07:30:00Z");
    assert_eq!(
        body["auditEnvelope"],
        json!({
            "operator_id": scene.desktop.text("operatorId"),
            "device_id": scene.desktop.text("deviceId"),
            "mfa_attestation": null,
        })
    );

    let other = json!({ "reservationId": scene.door.reservation, "rooms": [scene.door.room],
        "validFrom": "2026-11-22T12:00:00Z", "validUntil": "2026-11-23T12:00:00Z" });
    let reused = scene.desktop.post(&scene.service, &scene.door.issue_path(), &key, &other).await;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reused.body);
    wait::until("nothing is open", async || open(&scene.world).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_asked_for_is_not_recorded() {
    let mut scene = Scene::set().await;
    let elsewhere =
        Door::of(&scene.world, scene.desktop.grant["propertyIds"][1].as_str().unwrap(), 0);
    let elsewhere = elsewhere.await;
    let property = scene.desktop.property().to_owned();
    let options = json!({ "propertyIds": [property] });
    let mut narrow = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), options).await;
    let mut stranger = Desktop::sign_in(&scene.world, &tenant(&scene.world, 1), json!({})).await;
    let with = |member: &str, value: Value| {
        let mut wish = scene.door.wish();
        wish[member] = value;
        wish
    };
    let path = scene.door.issue_path();
    for (case, body, code) in [
        ("no rooms", with("rooms", json!([])), "VALIDATION_FAILED"),
        ("room", with("rooms", json!(["a b"])), "VALIDATION_FAILED"),
        ("other rooms", with("rooms", json!(["rom_elsewhere"])), "VALIDATION_FAILED"),
        ("time", with("validFrom", json!("tomorrow")), "VALIDATION_FAILED"),
        ("order", with("validUntil", json!("2026-11-22T12:00:00Z")), "VALIDATION_FAILED"),
        ("kind", with("preferredKinds", json!(["crowbar"])), "VALIDATION_FAILED"),
        ("member", with("guest", json!({})), "MALFORMED_REQUEST"),
    ] {
        let answer = scene.desktop.post(&scene.service, &path, &key(), &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{case}: {}", answer.body);
        assert_eq!(answer.body["code"], format!("MELMASTOON.GENERAL.{code}"), "{case}");
    }
    for (case, desktop, door) in [
        ("another property", &mut narrow, &elsewhere),
        ("another tenant", &mut stranger, &scene.door),
    ] {
        let path = door.issue_path();
        let answer = desktop.post(&scene.service, &path, &key(), &door.wish()).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{case}: {}", answer.body);
        assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND", "{case}");
    }
    let missing = "/locks/lck_none/issue-key";
    let answer = scene.desktop.post(&scene.service, missing, &key(), &scene.door.wish()).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
    let options = json!({ "roles": ["housekeeper"] });
    let mut housekeeper = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), options).await;
    let answer = housekeeper.post(&scene.service, &path, &key(), &scene.door.wish()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.body);
    assert_eq!(recorded(&scene.world).await, []);
    assert_eq!(calls(&scene.world).await, Vec::<Value>::new());
    let claims = "select count(*) from idempotency";
    let mut superuser = scene.world.database.superuser().await;
    let claims: i64 = sqlx::query_scalar(claims).fetch_one(&mut superuser).await.unwrap();
    assert_eq!(claims, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_23_27_a_refusal_by_lock_integration_is_kept_and_one_that_passes_is_not() {
    let mut scene = Scene::set().await;
    let refused_key = key();
    let mut wish = scene.door.wish();
    wish["reservationId"] = json!("rsv_none");
    let path = scene.door.issue_path();

    let refused = scene.desktop.post(&scene.service, &path, &refused_key, &wish).await;
    let again = scene.desktop.post(&scene.service, &path, &refused_key, &wish).await;

    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    assert_eq!(again.bytes, refused.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.headers["content-type"], "application/problem+json");
    let stream = scene.only_stream().await;
    assert_eq!(kinds(&scene.world, &stream).await, ["requested.v1", "failed.v1"]);
    assert_eq!(calls(&scene.world).await.len(), 1);

    // Turned away unread: the same key goes on.
    let key = key();
    fault(&scene.world, json!({ "status": 429, "mutationsOnly": true })).await;
    let turned_away = scene.issue(&key).await;
    heal(&scene.world).await;
    let done = scene.issue(&key).await;
    assert_eq!(turned_away.status, StatusCode::TOO_MANY_REQUESTS, "{}", turned_away.body);
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let stream = Scene::stream(&done);
    let expected = ["requested.v1", "failed.v1", "requested.v1", "completed.v1"];
    assert_eq!(kinds(&scene.world, &stream).await, expected);
    assert_eq!(effects(&scene.world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_29_a_lost_answer_is_unknown_and_the_same_key_finds_it_out() {
    let mut scene = Scene::set().await;
    for (trouble, done) in [
        (json!({ "dropAfterEffect": true, "mutationsOnly": true }), true),
        (json!({ "resetRate": 1.0, "mutationsOnly": true }), false),
        (json!({ "hang": true, "mutationsOnly": true }), false),
        (json!({ "status": 500, "mutationsOnly": true }), false),
    ] {
        let key = key();
        let before = effects(&scene.world).await.len();
        fault(&scene.world, trouble.clone()).await;
        let lost = scene.issue(&key).await;
        assert!([502, 504].contains(&lost.status.as_u16()), "{trouble}: {}", lost.body);
        let expected = if trouble["status"] == 500 { "UPSTREAM_FAILED" } else { "OUTCOME_UNKNOWN" };
        assert_eq!(lost.body["code"], format!("MELMASTOON.BFF.{expected}"), "{trouble}");
        let effects_now = effects(&scene.world).await.len() - before;
        assert_eq!(effects_now, usize::from(done), "{trouble}");
        heal(&scene.world).await;

        let answer = found_out(&mut scene, &key).await;

        let again = scene.issue(&key).await;
        assert_eq!(again.bytes, answer.bytes, "{trouble}");
        assert_eq!(again.headers["idempotency-replayed"], "true", "{trouble}");
        let kinds = kinds(&scene.world, &Scene::stream(&answer)).await;
        assert_eq!(kinds, ["requested.v1", "outcome_unknown.v1", "resolved.v1"], "{trouble}");
        assert_eq!(effects(&scene.world).await.len() - before, 1, "{trouble}");
        let calls = calls(&scene.world).await;
        let keys: Vec<&Value> =
            calls.iter().map(|call| &call["headers"]["idempotency-key"]).collect();
        let latest = keys[keys.len() - 1];
        assert!(1 < keys.iter().filter(|key| **key == latest).count(), "{trouble}: {keys:?}");
    }
    wait::until("nothing is open", async || open(&scene.world).await == 0).await;
}

/// Presses until the circuit is closed again and there is an answer.
async fn found_out(scene: &mut Scene, key: &str) -> Answer {
    wait::within(Duration::from_mins(1), "an answer", async || {
        let answer = scene.issue(key).await;
        assert!([200, 409, 503, 504].contains(&answer.status.as_u16()), "{}", answer.body);
        Some(answer).filter(|answer| answer.status == StatusCode::OK)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn id_48_what_cannot_be_recorded_is_not_asked_for() {
    let mut scene = Scene::set().await;
    let key = key();
    scene.world.database.refuse_events("lock-audit").await;

    let refused = scene.issue(&key).await;

    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.body);
    assert_eq!(calls(&scene.world).await, Vec::<Value>::new());
    assert_eq!(claims(&scene.world, &key).await, Vec::<String>::new());
    scene.world.database.accept_events().await;
    let answer = scene.issue(&key).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(effects(&scene.world).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_17_twenty_presses_of_one_key_issue_one_key() {
    let mut scene = Scene::set().await;
    scene.desktop.get(&scene.service, "/session").await;
    let (key, path, wish) = (key(), scene.door.issue_path(), scene.door.wish());
    let proofs: Vec<String> =
        (0..20).map(|_| scene.desktop.proof(&scene.service, &Method::POST, &path)).collect();
    let (desktop, service) = (&scene.desktop, &scene.service);
    let answers = futures::future::join_all(proofs.iter().map(async |proof| {
        let mutation = Some((key.as_str(), &wish));
        Answer::read(desktop.send_with_proof(service, &path, mutation, proof).await).await
    }))
    .await;

    let mut done = answers.iter().filter(|answer| answer.status == StatusCode::OK);
    let first = done.next().expect("one of them is answered");
    assert!(done.all(|answer| answer.bytes == first.bytes));
    for answer in &answers {
        let status = answer.status.as_u16();
        assert!([200, 409].contains(&status), "{}", answer.body);
    }
    assert_eq!(effects(&scene.world).await.len(), 1);
    let kinds = kinds(&scene.world, &Scene::stream(first)).await;
    assert_eq!(kinds, ["requested.v1", "completed.v1"]);
}
