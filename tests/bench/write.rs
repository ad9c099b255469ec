//! What operators do, at ten times the capacity model, beside the same straight at the upstreams.

use std::time::Duration;

use backoffice::upstream::mutations::ROWS;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    report::Report,
    seats::{Bench, HTTP, Pace, Seat, Sent, alone, ms, overhead},
    support::{desktop::Desktop, service::World},
};

/// Of the capacity model, a second, ten times over: 3,000 mutations, 2,500 heartbeats and 1,500
/// reads of a desktop's first page a minute.
const MUTATIONS: u32 = 500;
const HEARTBEATS: u32 = 417;
const SUGGESTION_LISTS: u32 = 250;
/// More than ten times the model's 500 lock actions an hour, so that a short run has a tail.
const LOCK_ACTIONS: u32 = 20;
/// The model names no rate for these.
const HANDSHAKES: u32 = 20;
const ACKNOWLEDGMENTS: u32 = 20;
pub async fn run(pace: Pace) -> Report {
    let mut bench = Bench::start(pace).await;
    let (mut mutated, mut upstream) = bench.above(MUTATIONS, mutation, direct_mutation).await;
    let (mut issued, mut lock_upstream) = bench.above(LOCK_ACTIONS, issue, direct_issue).await;
    let (mut shaken, mut sync_upstream) = bench.above(HANDSHAKES, handshake, direct_shake).await;
    let mut beaten = bench.open_loop(HEARTBEATS, heartbeat).await;
    let mut listed = bench.open_loop(SUGGESTION_LISTS, list).await;
    let (mut acknowledged, mut notification) = bench.acknowledge().await;
    Report(vec![
        overhead("a mutation above its upstream, p99", 0.99, ms(20), &mut mutated, &mut upstream),
        overhead(
            "a lock action above its upstream, p99",
            0.99,
            ms(20),
            &mut issued,
            &mut lock_upstream,
        ),
        overhead(
            "a sync handshake above its upstream, p95",
            0.95,
            ms(10),
            &mut shaken,
            &mut sync_upstream,
        ),
        overhead(
            "an acknowledgment above its upstream, p95",
            0.95,
            ms(25),
            &mut acknowledged,
            &mut notification,
        ),
        alone("a heartbeat, p95", ms(10), &mut beaten),
        alone("the list of suggestions, p95", ms(10), &mut listed),
        bench.failures(),
    ])
}

impl Bench {
    /// Alerts of each desktop through the service, and as many others straight at the upstream.
    async fn acknowledge(&mut self) -> (Vec<Duration>, Vec<Duration>) {
        let count = self.operations(self.rate(ACKNOWLEDGMENTS));
        let (mut alerts, mut others) = (Vec::new(), Vec::new());
        for number in 0..count {
            let desktop = &self.seat(number).desktop;
            alerts.push(raise(&self.world, desktop).await);
            others.push(raise(&self.world, desktop).await);
        }
        self.renew_nonces().await;
        for (number, alert_id) in (0..count).zip(&alerts) {
            listed_alert(self, self.seat(number), alert_id).await;
        }
        let ours = self
            .run(ACKNOWLEDGMENTS, |number| {
                let alert_id = &alerts[usize::try_from(number).unwrap()];
                let path = format!("/alerts/{alert_id}/acknowledge");
                self.ours(self.seat(number), &path, &json!({}), StatusCode::OK)
            })
            .await;
        let upstream = self
            .run(ACKNOWLEDGMENTS, |number| {
                let alert_id = &others[usize::try_from(number).unwrap()];
                let seat = self.seat(number);
                let path = format!("notification-service/api/v1/alerts/{alert_id}/acknowledge");
                let body = json!({
                    "acknowledgedBy": seat.desktop.text("operatorId"),
                    "acknowledgedAt": "2026-11-21T10:00:00Z",
                });
                self.direct(seat, &path, &body, StatusCode::OK)
            })
            .await;
        (ours, upstream)
    }
}

/// An operation that can be done again and again.
fn mutation(bench: &Bench, seat: &Seat) -> Sent {
    let path = format!("/rooms/{}/status", seat.room);
    bench.ours(seat, &path, &json!({ "status": "dirty" }), StatusCode::OK)
}

fn direct_mutation(bench: &Bench, seat: &Seat) -> Sent {
    let row = ROWS.iter().find(|row| row.verb == "housekeeping.room-status").unwrap();
    let path = format!("{}{}", row.service.name(), row.path_to(Some(&seat.room)));
    bench.direct(seat, &path, &json!({ "status": "dirty" }), StatusCode::OK)
}

fn issue(bench: &Bench, seat: &Seat) -> Sent {
    bench.ours(seat, &seat.door.issue_path(), &seat.door.wish(), StatusCode::OK)
}

fn direct_issue(bench: &Bench, seat: &Seat) -> Sent {
    let mut body = seat.door.wish();
    body["auditEnvelope"] = json!({
        "operator_id": seat.desktop.text("operatorId"),
        "device_id": seat.desktop.text("deviceId"),
        "mfa_attestation": null,
    });
    let path = "lock-integration-service/api/v1/key-credentials";
    bench.direct(seat, path, &body, StatusCode::CREATED)
}

fn handshake(bench: &Bench, seat: &Seat) -> Sent {
    bench.ours(seat, "/sync/handshake", &json!({}), StatusCode::OK)
}

fn direct_shake(bench: &Bench, seat: &Seat) -> Sent {
    let body = json!({ "deviceId": seat.desktop.text("deviceId") });
    bench.direct(seat, "sync-service/api/v1/sync/handshake", &body, StatusCode::OK)
}

fn heartbeat(bench: &Bench, seat: &Seat) -> Sent {
    let path = format!("/devices/{}/heartbeat", seat.desktop.text("deviceId"));
    let body = json!({
        "appVersion": "1.4.2",
        "networkMode": "good",
        "pendingActions": 0,
        "lastSyncAt": "2026-11-20T10:00:00Z",
        "clock": "2026-11-22T10:00:00Z",
    });
    bench.ours(seat, &path, &body, StatusCode::OK)
}

fn list(bench: &Bench, seat: &Seat) -> Sent {
    bench.read(seat, "/ai/suggestions")
}

async fn raise(world: &World, desktop: &Desktop) -> String {
    let event = json!({
        "producer": "notification",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": desktop.text("tenantId"),
        "payload": {
            "propertyId": desktop.property(),
            "severity": "high",
            "category": "lock",
            "title": "Battery low",
        },
    });
    let url = format!("{}/sim/events", world.simulator.url());
    let answer = HTTP.post(url).json(&event).send().await.unwrap();
    let event: Value = answer.error_for_status().unwrap().json().await.unwrap();
    event["payload"]["alertId"].as_str().unwrap().to_owned()
}

/// Waits until the service knows of an alert.
async fn listed_alert(bench: &Bench, seat: &Seat, alert_id: &str) {
    crate::support::wait::until("the alert is listed", async || {
        let mut path = "/alerts?limit=100".to_owned();
        loop {
            let proof = seat.desktop.proof(&bench.service, &Method::GET, &path);
            let request = seat.desktop.signed(&bench.service, Method::GET, &path, &proof);
            let page: Value = request.send().await.unwrap().json().await.unwrap();
            let items = page["items"].as_array().unwrap();
            if items.iter().any(|alert| alert["id"] == alert_id) {
                return true;
            }
            let Some(cursor) = page["nextCursor"].as_str() else { return false };
            path = format!("/alerts?limit=100&cursor={cursor}");
        }
    })
    .await;
}
