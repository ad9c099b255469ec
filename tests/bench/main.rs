//! Benchmarks: what a claim of speed rests on. Each figure stands beside its peer, measured in
//! alternation in the same run.
//!
//! `make bench SUITE=…` runs this with optimisation, on stores of its own. Suites and figures:
//! `target/bench/<suite>.json`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on has failed")]

mod access;
#[path = "../it/access_keys.rs"]
#[expect(dead_code, reason = "the integration tests use more of it")]
mod access_keys;
mod journey;
mod peers;
mod report;
mod screens;
mod seats;
#[path = "../load/usage.rs"]
mod usage;
mod write;
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
    pub mod wait;
}

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use self::report::Report;

/// Measures, prints a table, writes the figures as JSON; fails when a target is missed.
#[derive(Parser)]
struct Arguments {
    #[arg(value_enum, default_value = "all")]
    suite: Suite,
    /// How long each figure of open loop is measured; its proofs are signed before and grow old.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=40))]
    seconds: u32,
    /// Of the rates of open loop and of the requests of a round; less only to try the benchmark
    /// itself.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Token and proof: what verifying costs beside the curve.
    Access,
    /// The way of an alert through the running service, and its start; dashboards and boards.
    Read,
    /// What operators do, at ten times the capacity model.
    Write,
    /// Dashboards and proofs, beside a Node service that does the same work.
    Peers,
    All,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { suite, seconds, percent, bench: _ } = Arguments::parse();
    let mut all_met = true;
    if matches!(suite, Suite::Access | Suite::All) {
        all_met &= finish("access", &access::run().await);
    }
    if matches!(suite, Suite::Read | Suite::All) {
        let mut report = journey::run().await;
        report.0.extend(screens::run(seats::Pace { seconds, percent }).await.0);
        all_met &= finish("read", &report);
    }
    if matches!(suite, Suite::Write | Suite::All) {
        all_met &= finish("write", &write::run(seats::Pace { seconds, percent }).await);
    }
    if matches!(suite, Suite::Peers | Suite::All) {
        all_met &= finish("peers", &peers::run(percent).await);
    }
    if all_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn finish(suite: &str, report: &Report) -> bool {
    report.write(suite).expect("target/bench can be written");
    println!("{report}");
    report.all_met()
}
