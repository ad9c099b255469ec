//! Faults: failing, waiting, hanging and cutting.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Bench, acknowledgment, answer, text};

const SERVICE: &str = "notification-service";

#[tokio::test]
async fn a_connection_dropped_after_the_effect_leaves_one_effect_and_no_answer() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/{SERVICE}/api/v1/alerts/{alert_id}/acknowledge");
    let acknowledge = || bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment());
    bench.set_faults(SERVICE, &json!({ "dropAfterEffect": true })).await;

    let first = acknowledge().send().await;
    let second = acknowledge().send().await;
    lift(&bench).await;
    let third = answer(acknowledge()).await;

    assert!(first.is_err() && second.is_err());
    assert_eq!(third.0, StatusCode::OK);
    assert_eq!(bench.effects(SERVICE, "KEY1").await.len(), 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_reset_connection_leaves_no_effect() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/{SERVICE}/api/v1/alerts/{alert_id}/acknowledge");
    bench.set_faults(SERVICE, &json!({ "resetRate": 1.0 })).await;

    let answered = bench.mutate(&tenant_id, &path, "KEY1").json(&acknowledgment()).send().await;

    assert!(answered.is_err());
    assert!(bench.effects(SERVICE, "KEY1").await.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn a_failing_service_answers_its_status_and_the_others_go_on() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;
    bench.set_faults(SERVICE, &json!({ "errorRate": 1.0, "status": 502 })).await;

    let alerts = bench.read(&tenant_id, &format!("/{SERVICE}/api/v1/alerts"));
    let properties = bench.read(&tenant_id, "/property-service/api/v1/properties");

    assert_eq!(answer(alerts).await.0, StatusCode::BAD_GATEWAY);
    assert_eq!(answer(properties).await.0, StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn latency_is_added_before_the_answer() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;
    bench.set_faults(SERVICE, &json!({ "latencyMs": 120, "jitterMs": 10 })).await;

    let started = Instant::now();
    let (status, _) = answer(bench.read(&tenant_id, &format!("/{SERVICE}/api/v1/alerts"))).await;

    assert_eq!(status, StatusCode::OK);
    assert!(started.elapsed() >= Duration::from_millis(120));
    bench.stop().await;
}

#[tokio::test]
async fn what_hangs_goes_on_when_the_fault_is_lifted() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;
    bench.set_faults(SERVICE, &json!({ "hang": true })).await;
    let hanging = answer(bench.read(&tenant_id, &format!("/{SERVICE}/api/v1/alerts")));

    let (answered, ()) = tokio::join!(hanging, async {
        received(&bench, 1).await;
        lift(&bench).await;
    });

    assert_eq!(answered.0, StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn a_client_that_gives_up_on_what_hangs_leaves_no_effect() {
    let bench = Bench::start().await;
    let (tenant_id, alert_id) = bench.open_alert().await;
    let path = format!("/{SERVICE}/api/v1/alerts/{alert_id}/acknowledge");
    bench.set_faults(SERVICE, &json!({ "hang": true })).await;

    let given_up = bench
        .mutate(&tenant_id, &path, "KEY1")
        .json(&acknowledgment())
        .timeout(Duration::from_millis(100))
        .send()
        .await;

    assert!(given_up.is_err_and(|error| error.is_timeout()));
    lift(&bench).await;
    // An alert that was not acknowledged by the request given up can still be.
    let (status, _) = answer(bench.mutate(&tenant_id, &path, "KEY2").json(&acknowledgment())).await;
    assert_eq!(status, StatusCode::OK);
    assert!(bench.effects(SERVICE, "KEY1").await.is_empty());
    bench.stop().await;
}

#[tokio::test]
async fn a_simulator_with_a_hanging_request_stops() {
    let bench = Bench::start().await;
    let (tenant_id, _) = bench.open_alert().await;
    bench.set_faults(SERVICE, &json!({ "hang": true })).await;
    let hanging = bench.read(&tenant_id, &format!("/{SERVICE}/api/v1/alerts")).send();

    let (answered, stopped) = tokio::join!(hanging, async move {
        received(&bench, 1).await;
        tokio::time::timeout(Duration::from_secs(5), bench.stop()).await
    });

    assert!(answered.is_err());
    assert!(stopped.is_ok());
}

#[tokio::test]
async fn a_fault_that_does_not_exist_is_refused_by_name() {
    let bench = Bench::start().await;
    let path = format!("/sim/upstreams/{SERVICE}/faults");
    let put = |faults| answer(bench.request(Method::PUT, &path).json(&faults));

    for (faults, named) in [
        (json!({ "latency": 5 }), "latency"),
        (json!({ "errorRate": 2.0 }), "errorRate"),
        (json!({ "status": 200 }), "status"),
    ] {
        let (status, problem) = put(faults).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text(&problem["detail"]).contains(named), "{problem}");
    }
    bench.stop().await;
}

async fn lift(bench: &Bench) {
    let path = format!("/sim/upstreams/{SERVICE}/faults");
    let (status, _) = answer(bench.request(Method::DELETE, &path)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

/// Returns once the service has received so many calls.
async fn received(bench: &Bench, count: usize) {
    let poll = async {
        loop {
            let calls = bench.get(&format!("/sim/upstreams/{SERVICE}/calls")).await;
            if calls["calls"].as_array().unwrap().len() >= count {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), poll).await.unwrap();
}
