//! Dashboards and boards: warm at ten times the capacity model, while upstream events change what
//! they show; and cold, beside the slowest upstream.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{task::JoinSet, time::interval};

use crate::{
    report::{Figure, Report, quantile},
    seats::{Bench, HTTP, Pace, Seat, alone, ms},
    support::platform::{fault, heal},
};

/// Of the capacity model, a second, ten times over: 1,500 reads of the dashboard a minute. Boards are
/// read as often.
const DASHBOARDS: u32 = 250;
const BOARDS: u32 = 250;
/// What upstream services say meanwhile.
const EVERY: Duration = Duration::from_millis(500);
const CHANGES: [(&str, &str); 6] = [
    ("reservation-service", "melmastoon.reservation.checked_in.v1"),
    ("housekeeping-service", "melmastoon.housekeeping.task.completed.v1"),
    ("maintenance-service", "melmastoon.maintenance.work_order.resolved.v1"),
    ("billing-service", "melmastoon.billing.folio.charged.v1"),
    ("inventory-service", "melmastoon.inventory.room.assigned.v1"),
    ("pricing-service", "melmastoon.pricing.rate.changed.v1"),
];
/// Asked as well; what they say changes too seldom to be heard here.
const UNHEARD: [(&str, &str); 3] =
    [("analytics-service", ""), ("property-service", ""), ("lock-integration-service", "")];
const COLD: usize = 40;
/// How long the slowest upstream takes when a dashboard is cold.
const SLOWEST: Duration = Duration::from_millis(50);

pub async fn run(pace: Pace) -> Report {
    let mut bench = Bench::start(pace).await;
    // The first reader has the inboxes built.
    bench.open_loop(DASHBOARDS / 5, |bench, seat| bench.read(seat, &dashboard(seat))).await;
    let (mut first, mut last) = cold(&bench).await;
    bench.open_loop(DASHBOARDS / 5, |bench, seat| bench.read(seat, &board(seat))).await;
    let url = format!("{}/sim/events", bench.world.simulator.url());
    let mut changing = JoinSet::new();
    changing.spawn(change(url, bench.places()));
    let mut dashboards =
        bench.open_loop(DASHBOARDS, |bench, seat| bench.read(seat, &dashboard(seat))).await;
    let mut boards = bench.open_loop(BOARDS, |bench, seat| bench.read(seat, &board(seat))).await;
    assert!(changing.try_join_next().is_none(), "events cannot be published");
    Report(vec![
        alone("a warm dashboard, p95", ms(15), &mut dashboards),
        alone("a warm board, p95", ms(25), &mut boards),
        Figure::below("a cold dashboard's first byte, p95", quantile(&mut first, 0.95), ms(10))
            .with_peer("the median", quantile(&mut first, 0.5)),
        Figure::below(
            "a cold dashboard's last widget above its slowest upstream, p95",
            quantile(&mut last, 0.95).saturating_sub(SLOWEST),
            ms(10),
        )
        .with_peer("the median, with the upstream", quantile(&mut last, 0.5)),
        bench.failures(),
    ])
}

fn dashboard(seat: &Seat) -> String {
    format!("/dashboard?propertyId={}", seat.desktop.property())
}

fn board(seat: &Seat) -> String {
    format!("/front-desk?propertyId={}", seat.desktop.property())
}

/// Upstream services say that something has changed, at every property in turn, for ever.
pub async fn change(url: String, places: Vec<(String, String)>) -> Infallible {
    let mut pace = interval(EVERY);
    loop {
        for (tenant_id, property_id) in &places {
            pace.tick().await;
            for (producer, subject) in CHANGES {
                let event = json!({
                    "producer": producer, "subject": subject, "tenantId": tenant_id,
                    "payload": { "propertyId": property_id },
                });
                HTTP.post(&url).json(&event).send().await.unwrap().error_for_status().unwrap();
            }
        }
    }
}

/// One dashboard after the other, each without a snapshot: until the first byte, until the last.
async fn cold(bench: &Bench) -> (Vec<Duration>, Vec<Duration>) {
    for (upstream, _) in CHANGES.into_iter().chain(UNHEARD) {
        let latency = json!({ "latencyMs": millis(SLOWEST) });
        fault(&bench.world, upstream, &latency).await;
    }
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for number in 0..COLD {
        forget_snapshots(bench).await;
        let seat = bench.seat(u32::try_from(number).unwrap());
        let request = bench.read(seat, &dashboard(seat)).request;
        let began_at = Instant::now();
        let mut answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.chunk().await.unwrap().expect("the skeleton");
        first.push(began_at.elapsed());
        while answer.chunk().await.unwrap().is_some() {}
        last.push(began_at.elapsed());
    }
    for (upstream, _) in CHANGES.into_iter().chain(UNHEARD) {
        heal(&bench.world, upstream).await;
    }
    (first, last)
}

async fn forget_snapshots(bench: &Bench) {
    let cache = &bench.world.cache_tier;
    for key in cache.keys().await.iter().filter(|key| key.contains(":snapshot:")) {
        cache.command(&["DEL", key]).await;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
