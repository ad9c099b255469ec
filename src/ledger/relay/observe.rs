//! What operators see of the relay: how far it is behind, and what it cannot publish.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{RelayError, pending::SHARD};

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

/// The shard's last position, 0 when the ledger is empty.
///
/// # Errors
/// When the database fails.
pub(super) async fn head(pool: &PgPool) -> Result<i64, RelayError> {
    let position = sqlx::query_scalar!("select position from ledger_head where shard = $1", SHARD)
        .fetch_optional(pool)
        .await?;
    Ok(position.unwrap_or_default())
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; counts stay far below 2^52")]
pub(super) fn set(gauges: Gauges) {
    let lag = gauges.oldest_at.map_or(0, |at| (gauges.now - at).num_milliseconds().max(0));
    metrics::gauge!("bff_backoffice_outbox_depth").set(gauges.depth.max(0) as f64);
    metrics::gauge!("bff_backoffice_outbox_lag_seconds").set(lag as f64 / 1_000.0);
    metrics::gauge!("bff_backoffice_outbox_parked_keys").set(gauges.parked_keys as f64);
    metrics::gauge!("bff_backoffice_outbox_stuck_keys").set(gauges.stuck_keys as f64);
}
