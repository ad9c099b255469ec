//! What was measured, beside what it may be.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use crate::{
    fleet::{Cache, Looks},
    operation::Sample,
    scenario::{Kind, Scenario},
    support::durations::{milliseconds, quantile},
    usage::Used,
    witness::Heard,
};

const FAILURES_SHOWN: usize = 5;
/// `SERVICE_READINESS` §4.
const ERRORS_PERCENT_MAX: f64 = 0.1;
/// `SERVICE_OVERVIEW` §10.
const FIRST_BYTE_MAX: Duration = Duration::from_millis(200);
const FIRST_EVENT_MAX: Duration = Duration::from_millis(200);
const LOG_OUT_MAX: Duration = Duration::from_secs(5);

pub struct Summary {
    pub scenario: Scenario,
    pub desktops: u32,
    pub samples: Vec<Sample>,
    pub heard: Heard,
    pub cache: Cache,
    /// Signs that one key had two effects or two answers.
    pub doubled: usize,
    pub used: Used,
}

/// Durations of one kind, and the longest 95 of a hundred may take.
struct Row {
    name: &'static str,
    durations: Vec<Duration>,
    p95_max: Option<Duration>,
}

impl Summary {
    /// A line a kind of operation, a line a promise of the live streams.
    pub fn table(&self) -> String {
        let mut table = format!(
            "{:<28} {:>9} {:>9} {:>9} {:>9} {:>11}\n",
            "milliseconds", "count", "p50", "p95", "p99", "p95 at most"
        );
        for Row { name, mut durations, p95_max } in self.rows() {
            let limit =
                p95_max.map_or_else(String::new, |limit| format!("{:.0}", milliseconds(limit)));
            let [p50, p95, p99] = quantiles(&mut durations);
            let count = durations.len();
            let row = format!("{name:<28} {count:>9} {p50:>9.1} {p95:>9.1} {p99:>9.1} {limit:>11}");
            writeln!(table, "{row}").expect("a string takes all");
        }
        let Heard { missed, repeated, refused, .. } = &self.heard;
        let tail = format!(
            "cache: {:.1} % found; alerts at streams: {missed} missed, {repeated} twice; openings \
             refused: {refused}; keys with two effects or answers: {}\n{}",
            self.cache.found_percent(),
            self.doubled,
            self.used,
        );
        table.push_str(&tail);
        let missed = self.cache.0.iter().filter(|(_, looks)| 0.0 < looks.missed);
        for (part, Looks { all, missed }) in missed {
            write!(table, "\nasked for in spite of the cache: {part}, {missed} of {all}")
                .expect("a string takes all");
        }
        for failure in self.samples.iter().filter_map(|it| it.failure.as_ref()).take(FAILURES_SHOWN)
        {
            write!(table, "\nfailed: {failure}").expect("a string takes all");
        }
        table
    }

    /// The last line, and whether everything is as it should be.
    pub fn verdict(&self) -> (String, bool) {
        let mut all: Vec<Duration> = self.samples.iter().map(|sample| sample.took).collect();
        let errors = self.errors_percent();
        let mut missed: Vec<String> = Vec::new();
        for Row { name, mut durations, p95_max } in self.rows() {
            if p95_max.is_some_and(|p95_max| p95_max <= quantile(&mut durations, 0.95)) {
                missed.push(name.to_owned());
            }
        }
        let mut require = |is_met: bool, what: &str| {
            if !is_met {
                missed.push(what.to_owned());
            }
        };
        require(quantile(&mut all, 0.95) < self.scenario.p95_max(), "all p95");
        require(errors < ERRORS_PERCENT_MAX, "errors");
        require(self.scenario.found_percent_min() < self.cache.found_percent(), "cache hits");
        let resident_max = self.scenario.resident_mib_max(self.desktops);
        require(resident_max.is_none_or(|max| self.used.resident_mib < max), "resident memory");
        require(self.heard.missed == 0 && self.heard.repeated == 0, "live streams");
        require(self.doubled == 0, "idempotency");
        let [p50, p95, p99] = quantiles(&mut all);
        let verdict = if missed.is_empty() {
            "thresholds met".to_owned()
        } else {
            format!("missed: {}", missed.join(", "))
        };
        let scenario = self.scenario;
        let line = format!(
            "load {scenario}: p50={p50:.1}ms p95={p95:.1}ms p99={p99:.1}ms errors={errors:.2}% {verdict}"
        );
        (line, missed.is_empty())
    }

    fn rows(&self) -> Vec<Row> {
        let mut by_kind: BTreeMap<Kind, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.samples {
            by_kind.entry(sample.kind).or_default().push(sample);
        }
        let mut rows = Vec::new();
        for (kind, samples) in by_kind {
            let durations = samples.iter().map(|sample| sample.took).collect();
            rows.push(Row { name: kind.name(), durations, p95_max: kind.p95_max() });
            if kind == Kind::Dashboard {
                let durations = samples.iter().map(|sample| sample.first_byte).collect();
                let p95_max = Some(FIRST_BYTE_MAX);
                rows.push(Row { name: "dashboard's first byte", durations, p95_max });
            }
        }
        let Heard { first_events, deliveries, log_outs, .. } = &self.heard;
        for (name, durations, p95_max) in [
            ("a stream's first event", first_events, Some(FIRST_EVENT_MAX)),
            ("an alert to a stream", deliveries, None),
            ("force-logout to a stream", log_outs, Some(LOG_OUT_MAX)),
        ] {
            rows.push(Row { name, durations: durations.clone(), p95_max });
        }
        rows
    }

    #[expect(clippy::cast_precision_loss, reason = "far below what a double counts")]
    fn errors_percent(&self) -> f64 {
        let failed = self.samples.iter().filter(|sample| sample.failure.is_some()).count();
        failed as f64 * 100.0 / self.samples.len().max(1) as f64
    }
}

/// The median, the 95th and the 99th of a hundred, in milliseconds.
fn quantiles(durations: &mut [Duration]) -> [f64; 3] {
    [0.5, 0.95, 0.99].map(|fraction| milliseconds(quantile(durations, fraction)))
}
