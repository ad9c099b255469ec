//! Follows the whole ledger, page by page, each in its own transaction: for the relay, the
//! projector and the sealer.

use chrono::{DateTime, Utc};
use events::{EventId, InvalidId, Ledger, LedgerEvent, StreamId, TenantId, upcast::upcast};
use serde_json::json;
use sqlx::PgPool;

use super::{
    SHARD,
    leaf::{Leaf, hex_sha256, time},
    prepare::LEAF_VERSION,
    streams::CorruptRecord,
};

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub tenant_id: TenantId,
    pub ledger: Ledger,
    /// `2026` or `2026-11`.
    pub period: String,
    /// Gapless in the log (tenant, ledger, period), from 0.
    pub ledger_index: i64,
    /// Gapless in the shard, from 1, in the order of commit.
    pub position: i64,
    pub stream: StreamId,
    /// From 1.
    pub stream_version: i64,
    pub event_id: EventId,
    pub kind: String,
    pub schema_version: u32,
    /// Canonical JSON of the data without personal fields: what the proof covers and Pub/Sub gets,
    /// byte for byte.
    pub body: Vec<u8>,
    /// Canonical JSON of [`events::Metadata`].
    pub metadata: Vec<u8>,
    /// The personal fields' ciphertext.
    pub personal: Option<Vec<u8>>,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub leaf_hash: [u8; 32],
}

/// Why the ledger could not be followed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("the ledger cannot be read")]
    Database(#[from] sqlx::Error),
    /// An event was removed, or the ledger was restored to another state. Nobody may go on: this is
    /// an alarm, not a wait.
    #[error("position {expected} is missing, {found} comes next")]
    Gap { expected: i64, found: i64 },
    #[error("position {position} does not parse")]
    Corrupt { position: i64, source: CorruptEvent },
}

/// What is wrong with a stored event.
#[derive(Debug, thiserror::Error)]
pub enum CorruptEvent {
    #[error(transparent)]
    Id(#[from] InvalidId),
    #[error("a column is out of its range")]
    Range,
    #[error("a member is not JSON of its kind")]
    Json(#[from] serde_json::Error),
}

/// The events after `after` (0 for all), oldest first, at most `limit`; none when the reader has
/// caught up.
///
/// `pool` is that of a role that may read all tenants' events: relay, project, seal or jobs.
///
/// # Errors
/// [`TailError`]; a page is returned whole or not at all.
pub async fn tail(pool: &PgPool, after: i64, limit: u32) -> Result<Vec<StoredEvent>, TailError> {
    let rows = sqlx::query_as!(
        EventRow,
        r#"
        select
            tenant_id, ledger, period, ledger_index, position, stream, stream_version, event_id,
            kind, schema_version, body, metadata, personal, occurred_at, recorded_at, leaf_hash
        from event
        where shard = $1 and $2 < position
        order by position
        limit $3
        "#,
        SHARD,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    (after + 1..)
        .zip(rows)
        .map(|(expected, row)| {
            let position = row.position;
            if position != expected {
                return Err(TailError::Gap { expected, found: position });
            }
            row.try_into().map_err(|source| TailError::Corrupt { position, source })
        })
        .collect()
}

/// The last position of the ledger; 0 when it is empty. For lag; a reader needs only [`tail`].
///
/// # Errors
/// When the database fails.
pub async fn head(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("select position from ledger_head where shard = $1", SHARD)
        .fetch_one(pool)
        .await
}

impl StoredEvent {
    /// The event without its personal fields, in its kind's current version.
    ///
    /// # Errors
    /// When it is not one of `E`, or a newer binary wrote it.
    pub fn decode<E: LedgerEvent>(&self) -> Result<E, CorruptRecord> {
        decode(&self.kind, &self.body)
    }

    /// The leaf hash of what is stored. Another one than `leaf_hash` means that somebody changed
    /// the event.
    pub fn recompute_leaf_hash(&self) -> [u8; 32] {
        Leaf {
            v: LEAF_VERSION,
            tenant: self.tenant_id.as_str(),
            ledger: self.ledger.name(),
            stream_id: self.stream.as_str(),
            stream_version: self.stream_version,
            event_id: self.event_id.as_str(),
            kind: &self.kind,
            schema_version: self.schema_version,
            body_hash: hex_sha256(&self.body),
            ciphertext_hash: self.personal.as_deref().map(hex_sha256),
            metadata_hash: hex_sha256(&self.metadata),
            recorded_at: time(self.recorded_at),
        }
        .hash()
        .expect("strings and numbers are JSON")
    }
}

/// A stored event without its personal fields, in its kind's current version.
///
/// # Errors
/// When it is not one of `E`, or a newer binary wrote it.
pub fn decode<E: LedgerEvent>(kind: &str, body: &[u8]) -> Result<E, CorruptRecord> {
    let (kind, data) = upcast(kind, serde_json::from_slice(body)?)?;
    Ok(serde_json::from_value(json!({ "kind": kind, "data": data }))?)
}

/// A row of `event`.
struct EventRow {
    tenant_id: String,
    ledger: String,
    period: String,
    ledger_index: i64,
    position: i64,
    stream: String,
    stream_version: i64,
    event_id: String,
    kind: String,
    schema_version: i32,
    body: Vec<u8>,
    metadata: Vec<u8>,
    personal: Option<Vec<u8>>,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    leaf_hash: Vec<u8>,
}

impl TryFrom<EventRow> for StoredEvent {
    type Error = CorruptEvent;

    fn try_from(row: EventRow) -> Result<Self, CorruptEvent> {
        Ok(Self {
            tenant_id: row.tenant_id.parse()?,
            ledger: Ledger::from_name(&row.ledger).ok_or(CorruptEvent::Range)?,
            period: row.period,
            ledger_index: row.ledger_index,
            position: row.position,
            stream: row.stream.parse()?,
            stream_version: row.stream_version,
            event_id: row.event_id.parse()?,
            kind: row.kind,
            schema_version: row.schema_version.try_into().map_err(|_| CorruptEvent::Range)?,
            body: row.body,
            metadata: row.metadata,
            personal: row.personal,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            leaf_hash: row.leaf_hash.try_into().map_err(|_| CorruptEvent::Range)?,
        })
    }
}
