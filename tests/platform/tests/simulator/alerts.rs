//! notification-service: lists and acknowledgments.

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Bench, acknowledgment, answer, text};

#[tokio::test]
async fn an_acknowledgment_repeated_under_its_key_has_one_effect_and_one_answer() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    let acknowledge = || answer(bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment()));

    let first = acknowledge().await;
    let second = acknowledge().await;

    assert_eq!(first.0, StatusCode::OK, "{}", first.1);
    assert_eq!(first.1["state"], "acknowledged");
    assert_eq!(first.1["acknowledgment"]["acknowledgedBy"], "usr_A");
    assert_eq!(first, second);
    let effects = bench.effects("notification-service", "KEY1").await;
    assert_eq!(effects.len(), 1);
    assert_eq!(effects[0]["tenantId"], tenant_id.as_str());
    assert_eq!(effects[0]["body"], acknowledgment());
    let calls = "/sim/upstreams/notification-service/calls?idempotencyKey=KEY1";
    let calls = bench.get(calls).await;
    assert_eq!(calls["calls"].as_array().unwrap().len(), 2);
    assert_eq!(calls["calls"][0]["headers"]["x-tenant-id"], tenant_id.as_str());
    bench.stop().await;
}

#[tokio::test]
async fn racing_requests_under_one_key_have_one_effect() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");

    let racers =
        (0..16).map(|_| answer(bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment())));
    let answers = futures::future::join_all(racers).await;

    assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK));
    assert_eq!(bench.effects("notification-service", "KEY1").await.len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn an_alert_acknowledged_under_another_key_answers_with_the_standing_acknowledgment() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    answer(bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment())).await;

    let other = json!({ "acknowledgedBy": "usr_B", "acknowledgedAt": "2026-11-21T11:00:00Z" });
    let (status, problem) = answer(bench.mutate(&tenant_id, &path, "KEY2").json(&other)).await;

    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(problem["acknowledgment"]["acknowledgedBy"], "usr_A");
    assert!(bench.effects("notification-service", "KEY2").await.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn another_tenants_alert_is_not_found() {
    let bench = Bench::start().await;
    let (_, alert_id) = bench.open_alert().await;
    let world = bench.get("/sim/world").await;
    let other = text(&world["tenants"][1]["id"]);

    let path = format!("/notification-service/api/v1/alerts/{alert_id}/acknowledge");
    let (status, _) = answer(bench.mutate(&other, &path, "KEY1").json(&acknowledgment())).await;

    assert_eq!(status, StatusCode::NOT_FOUND);
    bench.stop().await;
}

#[tokio::test]
async fn pages_of_alerts_are_newest_first_without_gap_or_repeat() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;
    let path = "/notification-service/api/v1/alerts";
    let (_, whole) = answer(bench.read(&tenant_id, &format!("{path}?limit=100"))).await;

    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = format!("{path}?limit=2&state=raised&cursor={cursor}");
        let (status, page) = answer(bench.read(&tenant_id, &page)).await;
        assert_eq!(status, StatusCode::OK);
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = next.to_owned();
    }

    assert_eq!(json!(paged), whole["items"]);
    let raised: Vec<String> = paged.iter().map(|alert| text(&alert["raisedAt"])).collect();
    assert!(raised.is_sorted_by(|newer, older| newer >= older));
    bench.stop().await;
}
