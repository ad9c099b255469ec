//! What operators do, at ten times the capacity model, in open loop: an operation is due at its time
//! whether or not the one before has ended, and is measured from the moment it was due, so that one
//! that waits behind a slow one counts with its wait.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use backoffice::upstream::mutations::ROWS;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    report::{Figure, Report, quantile},
    support::{
        desktop::{Desktop, key},
        locks::Door,
        service::{Service, World},
    },
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
const DESKTOPS_A_TENANT: usize = 8;
const FAILURES_SHOWN: u32 = 5;
/// Before the figures are taken, at the same rate.
const WARM_UP: Duration = Duration::from_secs(2);

static HTTP: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().build().unwrap());

/// A world with desktops in it.
struct Bench {
    world: World,
    service: Service,
    desktops: Vec<Seat>,
    pace: Pace,
    /// Operations, and those of them that were not answered as they should be.
    asked: AtomicU32,
    failed: AtomicU32,
}

/// How long each figure is measured, and how hard.
#[derive(Clone, Copy)]
pub struct Pace {
    pub seconds: u32,
    /// Of ten times the capacity model; less only to try the benchmark itself.
    pub percent: u32,
}

/// A desktop and what it works with.
struct Seat {
    desktop: Desktop,
    /// In the caller's own property.
    room: String,
    door: Door,
}

/// What one operation is sent as, ready to go.
struct Sent {
    request: RequestBuilder,
    expected: StatusCode,
}

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
        alone("a heartbeat, p95", &mut beaten),
        alone("the list of suggestions, p95", &mut listed),
        Figure::share(
            "operations that failed",
            (bench.failed.load(Ordering::Relaxed), bench.asked.load(Ordering::Relaxed)),
            1.0,
        ),
    ])
}

fn overhead(
    name: &'static str,
    fraction: f64,
    limit: Duration,
    ours: &mut [Duration],
    upstream: &mut [Duration],
) -> Figure {
    let added = quantile(ours, fraction).saturating_sub(quantile(upstream, fraction));
    Figure::below(name, added, limit)
        .with_peer("the same straight to the upstream", quantile(upstream, fraction))
        .with_peer("the same with its upstream", quantile(ours, fraction))
        .with_peer("the median with its upstream", quantile(ours, 0.5))
}

fn alone(name: &'static str, measured: &mut [Duration]) -> Figure {
    Figure::below(name, quantile(measured, 0.95), ms(10))
        .with_peer("the median", quantile(measured, 0.5))
        .with_peer("the 99th of a hundred", quantile(measured, 0.99))
}

impl Bench {
    async fn start(pace: Pace) -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let known = look(&world).await;
        let mut desktops = Vec::new();
        for tenant_id in world.simulator.tenant_ids() {
            for number in 0..DESKTOPS_A_TENANT {
                desktops.push(Seat::take(&world, &service, &known, (&tenant_id, number)).await);
            }
        }
        let (asked, failed) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { world, service, desktops, pace, asked, failed }
    }

    /// Through the service, and then straight to its upstream.
    async fn above(
        &mut self,
        rate: u32,
        ours: impl Fn(&Self, &Seat) -> Sent,
        upstream: impl Fn(&Self, &Seat) -> Sent,
    ) -> (Vec<Duration>, Vec<Duration>) {
        (self.open_loop(rate, ours).await, self.open_loop(rate, upstream).await)
    }

    /// `rate` operations a second, by the desktops in turn.
    async fn open_loop(
        &mut self,
        rate: u32,
        operation: impl Fn(&Self, &Seat) -> Sent,
    ) -> Vec<Duration> {
        self.renew_nonces().await;
        self.run(rate, |number| operation(self, self.seat(number))).await
    }

    /// A nonce lives three minutes, all figures together take longer.
    async fn renew_nonces(&mut self) {
        for seat in &mut self.desktops {
            seat.open_session(&self.service).await;
        }
    }

    /// Runs `rate` operations a second after a warm-up; answers how long each took from the moment
    /// it was due.
    async fn run(&self, rate: u32, operation: impl Fn(u32) -> Sent) -> Vec<Duration> {
        let rate = self.rate(rate);
        let warm_up = rate * whole_seconds(WARM_UP);
        let interval = Duration::from_secs(1) / rate;
        let mut running = JoinSet::new();
        let start = Instant::now() + interval;
        for number in 0..self.operations(rate) {
            let sent = operation(number);
            let due = start + interval * number;
            running.spawn(async move {
                sleep_until(due.into()).await;
                let failure = sent.failure().await;
                (warm_up <= number).then(|| (due.elapsed(), failure))
            });
            // What is due is made ready just before, not all at once.
            sleep_until(due.checked_sub(interval).unwrap_or(due).into()).await;
        }
        let mut took = Vec::new();
        for (elapsed, failure) in running.join_all().await.into_iter().flatten() {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match failure {
                None => took.push(elapsed),
                Some(failure) => {
                    if self.failed.fetch_add(1, Ordering::Relaxed) < FAILURES_SHOWN {
                        println!("failed: {failure}");
                    }
                }
            }
        }
        assert!(!took.is_empty(), "every operation failed");
        took
    }

    fn rate(&self, rate: u32) -> u32 {
        (rate * self.pace.percent / 100).max(1)
    }

    fn operations(&self, rate: u32) -> u32 {
        rate * (self.pace.seconds + whole_seconds(WARM_UP))
    }

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

    fn seat(&self, number: u32) -> &Seat {
        &self.desktops[usize::try_from(number).unwrap() % self.desktops.len()]
    }

    fn ours(&self, seat: &Seat, path: &str, body: &Value, expected: StatusCode) -> Sent {
        let desktop = &seat.desktop;
        let proof = desktop.proof(&self.service, &Method::POST, path);
        let request = desktop
            .signed(&self.service, Method::POST, path, &proof)
            .header("x-idempotency-key", key())
            .header("x-property-id", desktop.property())
            .json(body);
        Sent { request, expected }
    }

    fn direct(&self, seat: &Seat, path: &str, body: &Value, expected: StatusCode) -> Sent {
        let request = HTTP
            .post(format!("{}/{path}", self.world.simulator.url()))
            .bearer_auth("development")
            .header("x-tenant-id", seat.desktop.text("tenantId"))
            .header("idempotency-key", key())
            .json(body);
        Sent { request, expected }
    }
}

impl Seat {
    async fn take(
        world: &World,
        service: &Service,
        known: &Value,
        (tenant_id, number): (&str, usize),
    ) -> Self {
        let desktop = Desktop::sign_in(world, tenant_id, json!({})).await;
        let property_id = desktop.property().to_owned();
        let stays = known["reservations"].as_array().unwrap();
        let stay = stays.iter().find(|stay| stay["propertyId"] == property_id.as_str()).unwrap();
        let room = stay["roomId"].as_str().unwrap().to_owned();
        let door = Door::of(world, &property_id, number).await;
        let mut seat = Self { desktop, room, door };
        seat.open_session(service).await;
        seat
    }

    /// Learns the nonce, too.
    async fn open_session(&mut self, service: &Service) {
        let session = self.desktop.get(service, "/session").await;
        assert_eq!(session.status, StatusCode::OK, "{}", session.body);
    }
}

impl Sent {
    /// Sends it; answers what went wrong.
    async fn failure(self) -> Option<String> {
        let answer = match self.request.send().await {
            Ok(answer) => answer,
            Err(error) => return Some(error.to_string()),
        };
        let status = answer.status();
        match answer.text().await {
            Ok(_) if status == self.expected => None,
            Ok(body) => Some(format!("{status}: {body}")),
            Err(error) => Some(error.to_string()),
        }
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
    let path = "/ai/suggestions";
    let desktop = &seat.desktop;
    let proof = desktop.proof(&bench.service, &Method::GET, path);
    let request = desktop.signed(&bench.service, Method::GET, path, &proof);
    Sent { request, expected: StatusCode::OK }
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

async fn look(world: &World) -> Value {
    let answer = HTTP.get(format!("{}/sim/world", world.simulator.url())).send().await.unwrap();
    answer.json().await.unwrap()
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
