//! Upstreams are strict where reality is: headers, keys, states, audit envelopes.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Bench, acknowledgment, answer, text};

#[tokio::test]
async fn a_missing_header_is_a_bad_request_that_names_it() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    let given = [
        ("Authorization", "Bearer id-token"),
        ("X-Tenant-Id", tenant_id.as_str()),
        ("Idempotency-Key", "KEY1"),
    ];

    for (missing, _) in given {
        let mut request = bench.request(Method::POST, &path).json(&acknowledgment());
        for (name, value) in given.iter().filter(|(name, _)| *name != missing) {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = response.json().await.unwrap();
        assert!(text(&problem["detail"]).contains(missing), "{problem}");
        assert_eq!(problem["errors"][0]["field"], missing);
    }
    assert!(bench.effects("notification-service", "KEY1").await.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn a_key_that_stands_for_another_request_is_refused() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    answer(bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment())).await;

    let other = json!({ "acknowledgedBy": "usr_B", "acknowledgedAt": "2026-11-21T11:00:00Z" });
    let (status, _) = answer(bench.mutate(&tenant_id, &path, "KEY1").json(&other)).await;

    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    bench.stop().await;
}

#[tokio::test]
async fn a_reservation_is_checked_in_once_whatever_the_keys() {
    let bench = Bench::start().await;
    let world = bench.get("/sim/world").await;
    let stays = world["reservations"].as_array().unwrap();
    let stay = stays.iter().find(|stay| stay["state"] == "confirmed").unwrap();
    let (tenant_id, id) = (text(&stay["tenantId"]), text(&stay["id"]));
    let path = format!("/reservation-service/api/v1/reservations/{id}/check-in");
    let check_in = |key: &'static str| answer(bench.mutate(&tenant_id, &path, key));

    let first = check_in("KEY1").await;
    let repeated = check_in("KEY1").await;
    let other = check_in("KEY2").await;

    assert_eq!(first.0, StatusCode::OK);
    assert_eq!(first.1["data"]["state"], "in_house");
    assert_eq!(first, repeated);
    assert_eq!(other.0, StatusCode::CONFLICT);
    assert_eq!(other.1["state"], "in_house");
    bench.stop().await;
}

#[tokio::test]
async fn a_key_credential_needs_the_audit_envelope_and_its_revocation_an_attestation() {
    let bench = Bench::start().await;
    let world = bench.get("/sim/world").await;
    let stay = &world["reservations"][0];
    let tenant_id = text(&stay["tenantId"]);
    let issue = |envelope: Value, key: &'static str| {
        let body = json!({
            "reservationId": stay["id"],
            "rooms": [stay["roomId"]],
            "validFrom": "2026-11-22T12:00:00Z",
            "validUntil": "2026-11-24T12:00:00Z",
            "preferredKinds": ["rfid_card"],
            "auditEnvelope": envelope,
        });
        let path = "/lock-integration-service/api/v1/key-credentials";
        answer(bench.mutate(&tenant_id, path, key).json(&body))
    };

    let bare = json!({ "operator_id": "usr_A", "device_id": "dev_A" });
    let (status, problem) = issue(bare, "KEY1").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text(&problem["detail"]).contains("mfa_attestation"));

    let envelope = json!({ "operator_id": "usr_A", "device_id": "dev_A", "mfa_attestation": null });
    let (status, issued) = issue(envelope.clone(), "KEY2").await;
    assert_eq!(status, StatusCode::CREATED, "{issued}");

    let id = text(&issued["data"]["id"]);
    let path = format!("/lock-integration-service/api/v1/key-credentials/{id}/revoke");
    let body = json!({ "reason": "lost", "auditEnvelope": envelope });
    let (status, _) = answer(bench.mutate(&tenant_id, &path, "KEY3").json(&body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);

    let mut body = body;
    body["auditEnvelope"]["mfa_attestation"] = json!({ "id": "mfa_A" });
    let (status, revoked) = answer(bench.mutate(&tenant_id, &path, "KEY4").json(&body)).await;
    assert_eq!(status, StatusCode::OK, "{revoked}");
    assert_eq!(revoked["data"]["state"], "revoked");
    bench.stop().await;
}

#[tokio::test]
async fn unknown_services_and_paths_are_named_in_the_problem() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;

    let (status, problem) = answer(bench.read(&tenant_id, "/minibar-service/api/v1/x")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text(&problem["detail"]).contains("notification-service"));
    let (status, problem) = answer(bench.read(&tenant_id, "/iam-service/api/v1/x")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text(&problem["detail"]).contains("/api/v1/x"));
    bench.stop().await;
}
