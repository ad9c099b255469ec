//! Desktops of all tenants at a running service, and what they do in open loop: an operation is due
//! at its time whether or not the one before has ended, and is measured from the moment it was due, so
//! that one that waits behind a slow one counts with its wait.

use std::{
    collections::BTreeSet,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    report::{Figure, quantile},
    support::{
        desktop::{Desktop, key},
        locks::Door,
        platform::look,
        service::{Service, World},
    },
};

const DESKTOPS_A_TENANT: usize = 8;
const FAILURES_SHOWN: u32 = 5;
/// Before the figures are taken, at the same rate.
const WARM_UP: Duration = Duration::from_secs(2);

pub static HTTP: LazyLock<reqwest::Client> =
    LazyLock::new(|| reqwest::Client::builder().no_proxy().build().unwrap());

/// A world with desktops in it.
pub struct Bench {
    pub world: World,
    pub service: Service,
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
pub struct Seat {
    pub desktop: Desktop,
    /// In the caller's own property.
    pub room: String,
    pub door: Door,
}

/// What one operation is sent as, ready to go.
pub struct Sent {
    pub request: RequestBuilder,
    pub expected: StatusCode,
}

impl Bench {
    pub async fn start(pace: Pace) -> Self {
        let world = World::start().await;
        // All desktops come from one address.
        let service = world.service_with(&[("CONNECTIONS_PER_ADDRESS_MAX", "0")]).await;
        let known = look(&world, "/sim/world").await;
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
    pub async fn above(
        &mut self,
        rate: u32,
        ours: impl Fn(&Self, &Seat) -> Sent,
        upstream: impl Fn(&Self, &Seat) -> Sent,
    ) -> (Vec<Duration>, Vec<Duration>) {
        (self.open_loop(rate, ours).await, self.open_loop(rate, upstream).await)
    }

    /// `rate` operations a second, by the desktops in turn.
    pub async fn open_loop(
        &mut self,
        rate: u32,
        operation: impl Fn(&Self, &Seat) -> Sent,
    ) -> Vec<Duration> {
        self.renew_nonces().await;
        self.run(rate, |number| operation(self, self.seat(number))).await
    }

    /// A nonce lives three minutes, all figures together take longer.
    pub async fn renew_nonces(&mut self) {
        for seat in &mut self.desktops {
            seat.open_session(&self.service).await;
        }
    }

    /// Runs `rate` operations a second after a warm-up; answers how long each took from the moment
    /// it was due.
    pub async fn run(&self, rate: u32, operation: impl Fn(u32) -> Sent) -> Vec<Duration> {
        let rate = self.rate(rate);
        let warm_up = rate * whole_seconds(WARM_UP);
        let interval = Duration::from_secs(1) / rate;
        // Signed before the first is due: many desktops have many processors for it.
        let ready: Vec<Sent> = (0..self.operations(rate)).map(operation).collect();
        let mut running = JoinSet::new();
        let start = Instant::now() + interval;
        for (number, sent) in (0..).zip(ready) {
            let due = start + interval * number;
            running.spawn(async move {
                sleep_until(due.into()).await;
                let failure = sent.failure().await;
                (warm_up <= number).then(|| (due.elapsed(), failure))
            });
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

    pub fn rate(&self, rate: u32) -> u32 {
        (rate * self.pace.percent / 100).max(1)
    }

    pub fn operations(&self, rate: u32) -> u32 {
        rate * (self.pace.seconds + whole_seconds(WARM_UP))
    }

    pub fn seat(&self, number: u32) -> &Seat {
        &self.desktops[usize::try_from(number).unwrap() % self.desktops.len()]
    }

    pub fn ours(&self, seat: &Seat, path: &str, body: &Value, expected: StatusCode) -> Sent {
        let desktop = &seat.desktop;
        let proof = desktop.proof(&self.service, &Method::POST, path);
        let request = desktop
            .signed(&self.service, Method::POST, path, &proof)
            .header("x-idempotency-key", key())
            .header("x-property-id", desktop.property())
            .json(body);
        Sent { request, expected }
    }

    /// A read, on a desktop's own account.
    pub fn read(&self, seat: &Seat, path: &str) -> Sent {
        let desktop = &seat.desktop;
        let proof = desktop.proof(&self.service, &Method::GET, path);
        let request = desktop.signed(&self.service, Method::GET, path, &proof);
        Sent { request, expected: StatusCode::OK }
    }

    /// Tenant and property of every desktop, each pair once.
    pub fn places(&self) -> Vec<(String, String)> {
        let places: BTreeSet<(String, String)> = self
            .desktops
            .iter()
            .map(|seat| {
                (seat.desktop.text("tenantId").to_owned(), seat.desktop.property().to_owned())
            })
            .collect();
        places.into_iter().collect()
    }

    /// Of all operations, those that were not answered as they should be.
    pub fn failures(&self) -> Figure {
        let failed = (self.failed.load(Ordering::Relaxed), self.asked.load(Ordering::Relaxed));
        Figure::share("operations that failed", failed, 1.0)
    }

    pub fn direct(&self, seat: &Seat, path: &str, body: &Value, expected: StatusCode) -> Sent {
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

/// What an operation costs above its upstream's own time.
pub fn overhead(
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

/// An operation that has no upstream.
pub fn alone(name: &'static str, limit: Duration, measured: &mut [Duration]) -> Figure {
    Figure::below(name, quantile(measured, 0.95), limit)
        .with_peer("the median", quantile(measured, 0.5))
        .with_peer("the 99th of a hundred", quantile(measured, 0.99))
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap()
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
