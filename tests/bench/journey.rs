//! The way of an alert through the running service: heard of, acknowledged; and how fast the
//! service is there.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    report::{Figure, Report, quantile},
    support::{
        desktop::{Desktop, key},
        service::{Service, World},
    },
};

const STARTS: usize = 9;
const ALERTS: usize = 220;
/// Of the alerts, not counted.
const WARM_UP: usize = 20;

pub async fn run() -> Report {
    let world = World::start().await;
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let service = world.service().await;
        starts.push(service.ready_after);
        service.stop().await;
    }
    // The first start finds cold stores.
    starts.remove(0);

    let service = world.service().await;
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
    let (mut heard, alerts) = hear(&world, &service, &mut desktop).await;
    let (mut acknowledged, mut upstream) =
        acknowledge(&world, &service, &mut desktop, &alerts).await;
    let added = quantile(&mut acknowledged, 0.95).saturating_sub(quantile(&mut upstream, 0.95));
    Report(vec![
        Figure::below("start to ready, warm stores, p95", quantile(&mut starts, 0.95), ms(800))
            .with_peer("the median", quantile(&mut starts, 0.5)),
        Figure::below(
            "an alert published to its live event, p95",
            quantile(&mut heard, 0.95),
            ms(250),
        )
        .with_peer("the median", quantile(&mut heard, 0.5)),
        Figure::below("an acknowledgment above its upstream, p95", added, ms(25))
            .with_peer("the same call straight to the upstream, p95", quantile(&mut upstream, 0.95))
            .with_peer(
                "the acknowledgment with its upstream, median",
                quantile(&mut acknowledged, 0.5),
            )
            .with_peer(
                "the acknowledgment with its upstream, p95",
                quantile(&mut acknowledged, 0.95),
            ),
    ])
}

/// From the broker's answer to the publisher, to the event on the stream.
async fn hear(
    world: &World,
    service: &Service,
    desktop: &mut Desktop,
) -> (Vec<Duration>, Vec<String>) {
    // A view has to stand before events are folded into it.
    desktop.get(service, "/alerts").await;
    let mut live = desktop.live(service, "?channels=alerts").await;
    let (mut measured, mut alerts) = (Vec::new(), Vec::new());
    for number in 0..ALERTS {
        let event = post(
            world,
            "/sim/events",
            &[],
            &json!({
                "producer": "notification",
                "subject": "melmastoon.notification.alert.raised.v1",
                "tenantId": desktop.text("tenantId"),
                "payload": {
                    "propertyId": desktop.property(),
                    "severity": "high",
                    "category": "lock",
                    "title": "Battery low",
                },
            }),
        )
        .await;
        let published = Instant::now();
        let id = event["payload"]["alertId"].as_str().unwrap().to_owned();
        while live.next_of("alert.raised").await["id"] != id.as_str() {}
        if WARM_UP <= number {
            measured.push(published.elapsed());
        }
        alerts.push(id);
    }
    (measured, alerts)
}

/// Each alert once through the service; then the same call to the upstream itself.
async fn acknowledge(
    world: &World,
    service: &Service,
    desktop: &mut Desktop,
    alerts: &[String],
) -> (Vec<Duration>, Vec<Duration>) {
    let (mut ours, mut upstream) = (Vec::new(), Vec::new());
    for (number, id) in alerts.iter().enumerate() {
        let path = format!("/alerts/{id}/acknowledge");
        let started = Instant::now();
        let answer = desktop.post(service, &path, &key(), &json!({})).await;
        let elapsed = started.elapsed();
        assert_eq!((answer.status.as_u16(), &answer.body["forwarded"]), (200, &json!(true)));
        let path = format!("/notification-service/api/v1{path}");
        let (tenant, key) = (desktop.text("tenantId"), key());
        let headers = [
            ("authorization", "Bearer development"),
            ("x-tenant-id", tenant),
            ("idempotency-key", &key),
        ];
        let body = json!({
            "acknowledgedBy": desktop.text("operatorId"),
            "acknowledgedAt": "2026-11-21T10:00:00Z",
        });
        let started = Instant::now();
        post(world, &path, &headers, &body).await;
        if WARM_UP <= number {
            ours.push(elapsed);
            upstream.push(started.elapsed());
        }
    }
    (ours, upstream)
}

async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: &Value) -> Value {
    static HTTP: LazyLock<reqwest::Client> =
        LazyLock::new(|| reqwest::Client::builder().no_proxy().build().unwrap());
    let mut request = HTTP.post(format!("{}{path}", world.simulator.url())).json(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null)
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
