//! Figures beside their peers, as a table and as JSON.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, time::Duration};

use serde::Serialize;

use crate::support::durations::milliseconds;
pub use crate::support::durations::quantile;

/// One figure.
#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    /// `us` or `ms`, an operation; `‰` of the operations; `MiB`.
    pub unit: &'static str,
    pub value: f64,
    /// The same work by others, in the same unit, measured in the same run.
    pub peers: BTreeMap<&'static str, f64>,
    /// What the ratio is taken to: a peer, or the most the figure may be.
    pub limit: f64,
    /// `value` / `limit`.
    pub ratio: f64,
    /// The most the ratio may be.
    pub target: f64,
    pub met: bool,
}

impl Figure {
    /// A duration that must stay below `limit`.
    pub fn below(name: &'static str, value: Duration, limit: Duration) -> Self {
        let (value, limit) = (milliseconds(value), milliseconds(limit));
        Self::new(name, "ms", value, limit, 1.0)
    }

    /// A cost in microseconds that must stay below `target` times that of a peer.
    pub fn beside(name: &'static str, value: f64, peer: (&'static str, f64), target: f64) -> Self {
        let mut figure = Self::new(name, "us", value, peer.1, target);
        figure.peers.insert(peer.0, peer.1);
        figure
    }

    /// Memory in MiB that must stay below a peer's.
    pub fn smaller(name: &'static str, value: f64, peer: (&'static str, f64)) -> Self {
        let mut figure = Self::new(name, "MiB", value, peer.1, 1.0);
        figure.peers.insert(peer.0, peer.1);
        figure
    }

    /// A share that must stay below `limit`, in thousandths.
    pub fn share(name: &'static str, (some, all): (u32, u32), limit: f64) -> Self {
        Self::new(name, "‰", f64::from(some) * 1000.0 / f64::from(all.max(1)), limit, 1.0)
    }

    /// Shown beside the figure, without a target of its own.
    #[must_use]
    pub fn with_peer(mut self, name: &'static str, value: Duration) -> Self {
        self.peers.insert(name, milliseconds(value));
        self
    }

    fn new(name: &'static str, unit: &'static str, value: f64, limit: f64, target: f64) -> Self {
        let ratio = value / limit;
        let met = ratio < target;
        Self { name, unit, value, peers: BTreeMap::new(), limit, ratio, target, met }
    }
}

/// The figures of one suite.
#[derive(Debug)]
pub struct Report(pub Vec<Figure>);

impl Report {
    pub fn all_met(&self) -> bool {
        self.0.iter().all(|figure| figure.met)
    }

    /// Writes `target/bench/<suite>.json` under the repository.
    pub fn write(&self, suite: &str) -> io::Result<()> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&directory)?;
        let json = serde_json::to_vec_pretty(&self.0).expect("figures have string keys only");
        fs::write(directory.join(format!("{suite}.json")), json)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<58} {:>10} {:>10} {:>7} {:>7}",
            "", "measured", "limit", "ratio", "target"
        )?;
        for figure in &self.0 {
            let Figure { name, unit, value, limit, ratio, target, met, .. } = figure;
            let verdict = if *met { "met" } else { "MISSED" };
            writeln!(
                f,
                "{name:<58} {value:>7.2} {unit} {limit:>7.2} {unit} {ratio:>7.2} {target:>7.2} {verdict}"
            )?;
            for (peer, value) in &figure.peers {
                writeln!(f, "    beside {peer:<47} {value:>7.2} {unit}")?;
            }
        }
        Ok(())
    }
}
