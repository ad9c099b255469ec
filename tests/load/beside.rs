//! The dashboards of a scenario alone, at the service and then at a Node service that does the same
//! work for the same desktops (tests/bench/peers): how long each takes, and of the processor how much.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, sleep_until};

use crate::{
    fleet::{Fleet, Member},
    peer, say,
    scenario::{Kind, Scenario},
    support::{
        durations::{milliseconds, quantile},
        service::Service,
    },
    usage::{Usage, Used},
    witness::LOGGED_OUT,
};

/// Shorter than the least freshness, so that either renews as little.
const LENGTH: Duration = Duration::from_secs(12);

/// What one of the two did.
struct Shown {
    took: Vec<Duration>,
    failed: usize,
    used: Used,
}

/// Shows the scenario's dashboards by both; a line each, and one that compares them.
pub async fn dashboards(fleet: &Fleet, scenario: Scenario, percent: u32) -> String {
    say("dashboards alone, by the service and by its Node peer");
    let rate = scenario.rate(Kind::Dashboard) * f64::from(percent) / 100.0;
    let peer = peer::start(&fleet.world).await;
    let ours = show(fleet, &fleet.service, rate).await;
    let theirs = show(fleet, &peer, rate).await;
    let ratio = ours.used.cpu_micros_an_operation / theirs.used.cpu_micros_an_operation;
    let mut lines = format!("dashboards alone, {rate:.0} a second");
    for (name, mut shown) in [("the service", ours), ("the Node peer", theirs)] {
        let [p50, p95, p99] =
            [0.5, 0.95, 0.99].map(|fraction| milliseconds(quantile(&mut shown.took, fraction)));
        let Used { cpu_micros_an_operation, resident_mib, .. } = shown.used;
        let failed = shown.failed;
        write!(
            lines,
            "\n  {name:<14} p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, \
             {cpu_micros_an_operation:.0} us of processor each, {resident_mib:.0} MiB, {failed} failed"
        )
        .expect("a string takes all");
    }
    let versions = peer::versions();
    write!(lines, "\n  {ratio:.2} of the peer's processor time (target 0.17); {versions}")
        .expect("a string takes all");
    lines
}

/// In open loop, once every property's dashboard has been looked at.
async fn show(fleet: &Fleet, service: &Service, rate: f64) -> Shown {
    let members = &fleet.desktops[LOGGED_OUT..];
    let mut seen = BTreeSet::new();
    for member in members {
        if seen.insert(member.property()) {
            dashboard(member, service).await.expect("a dashboard");
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let count = (rate * LENGTH.as_secs_f64()).ceil() as u32;
    let (usage, start) = (Usage::begin(service), Instant::now());
    let ended = join_all((0..count).map(async |number| {
        let due = start + Duration::from_secs_f64(f64::from(number) / rate);
        sleep_until(due).await;
        let turn = usize::try_from(number).unwrap() % members.len();
        let shown = dashboard(&members[turn], service).await;
        shown.map(|()| due.elapsed())
    }))
    .await;
    let used = usage.end(ended.len());
    let took: Vec<Duration> = ended.iter().filter_map(|it| it.as_ref().ok().copied()).collect();
    Shown { failed: ended.len() - took.len(), took, used }
}

async fn dashboard(member: &Member, service: &Service) -> Result<(), String> {
    let path = format!("/dashboard?propertyId={}", member.property());
    let answer = member.send(|| member.signed(service, &Method::GET, &path)).await?;
    if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.status.to_string()) }
}
