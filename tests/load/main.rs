//! Load: a fleet of desktops in open loop, each signing a proof with every request, while live streams
//! witness what they are told. `make load SCENARIO=…` runs this with optimisation, on stores of its
//! own.

#![expect(clippy::unwrap_used, reason = "a load test that cannot go on has failed")]

mod beside;
mod fleet;
mod operation;
#[path = "../bench/peers/program.rs"]
mod peer;
mod scenario;
mod summary;
/// What the integration tests stand on, those parts that are needed here.
#[path = "../it/support"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod support {
    pub mod broker;
    pub mod database;
    pub mod desktop;
    pub mod durations;
    pub mod locks;
    pub mod platform;
    pub mod port;
    pub mod redis;
    pub mod service;
    pub mod suggestions;
    pub mod wait;
}
mod usage;
mod witness;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use tokio::time::Instant;

use self::{
    fleet::Fleet,
    operation::{Operations, Pace},
    scenario::{DESKTOPS, Scenario},
    summary::Summary,
    usage::Usage,
    witness::Witnesses,
};

/// Loads one instance, prints what it took beside the targets; fails when one is missed.
#[derive(Parser)]
struct Arguments {
    #[arg(value_enum)]
    scenario: Scenario,
    /// How long the load lasts.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(10..=600))]
    seconds: u32,
    /// Desktops, each with a live stream.
    #[arg(long, default_value_t = DESKTOPS, value_parser = clap::value_parser!(u32).range(50..=10_000))]
    desktops: u32,
    /// Of the scenario's rates.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    percent: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { scenario, seconds, desktops, percent, bench: _ } = Arguments::parse();
    let pace = Pace { length: Duration::from_secs(seconds.into()), percent };
    let fleet = Arc::new(Fleet::sign_in(desktops).await);
    let witnesses = Witnesses::open(&fleet).await;
    let operations = Arc::new(Operations::prepare(&fleet, scenario, pace).await);
    say(&format!("{scenario} at {percent} % for {seconds} s"));
    let (usage, cache_before) = (Usage::begin(&fleet.service), fleet.cache().await);
    let start = Instant::now();
    let breaking = async {
        if scenario.breaks_streams() {
            witnesses.break_at(start + pace.length / 3).await;
        }
    };
    let (samples, raised, ()) = tokio::join!(
        operations.run(&fleet, scenario, pace),
        witness::raise(&fleet, pace.length),
        breaking,
    );
    let used = usage.end(samples.len());
    let cache = fleet.cache().await.since(&cache_before);
    let heard = witnesses.close(&fleet, &raised).await;
    let doubled = operations.doubled(&fleet, &samples).await;
    let summary = Summary { scenario, desktops, samples, heard, cache, doubled, used };
    println!("{}", summary.table());
    println!("{}", beside::dashboards(&fleet, scenario, percent).await);
    let (line, is_met) = summary.verdict();
    println!("{line}");
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Progress, apart from the figures.
fn say(what: &str) {
    eprintln!("load: {what}");
}
