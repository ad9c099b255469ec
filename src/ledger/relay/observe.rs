//! What operators see of the relay: how far it is behind, and what it cannot publish.

use chrono::{DateTime, Utc};

pub(super) struct Gauges {
    /// Events that are committed and not yet settled.
    pub depth: i64,
    /// When the oldest event on its way was recorded.
    pub oldest_at: Option<DateTime<Utc>>,
    pub parked_keys: usize,
    /// Parked keys that need a person.
    pub stuck_keys: usize,
    pub now: DateTime<Utc>,
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^52")]
pub(super) fn set(gauges: &Gauges) {
    let lag = gauges.oldest_at.map_or(0, |at| (gauges.now - at).num_milliseconds().max(0));
    metrics::gauge!("bff_backoffice_outbox_depth").set(gauges.depth.max(0) as f64);
    metrics::gauge!("bff_backoffice_outbox_lag_seconds").set(lag as f64 / 1_000.0);
    metrics::gauge!("bff_backoffice_outbox_parked_keys").set(gauges.parked_keys as f64);
    metrics::gauge!("bff_backoffice_outbox_stuck_keys").set(gauges.stuck_keys as f64);
}
