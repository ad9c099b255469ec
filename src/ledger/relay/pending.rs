//! Reading the ledger for publication: all of it in order, or one ordering key of it.

use chrono::{DateTime, Utc};
use events::{Ledger, TenantId};
use sqlx::PgPool;

use super::{super::SHARD, RelayError};

/// What Pub/Sub keeps in order: one ledger of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub tenant_id: TenantId,
    pub ledger: Ledger,
}

impl Key {
    /// `tenantId/ledger`.
    pub(super) fn ordering_key(&self) -> String {
        format!("{}/{}", self.tenant_id, self.ledger.name())
    }
}

/// Where an event stands: in its log, which orders a key, and in the shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub period: String,
    pub ledger_index: i64,
    pub position: i64,
}

impl Place {
    /// Before every later event of the key, whether in this period or a later one.
    pub(super) fn next(&self) -> Self {
        Self {
            period: self.period.clone(),
            ledger_index: self.ledger_index + 1,
            position: self.position + 1,
        }
    }
}

/// A recorded event with the bytes that were hashed, parsed no further than its key: one that is
/// malformed must hold up its key alone.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub key: Key,
    pub place: Place,
    pub stream: String,
    pub stream_version: i64,
    pub event_id: String,
    pub kind: String,
    pub schema_version: i32,
    /// Canonical JSON without personal fields.
    pub body: Vec<u8>,
    /// Canonical JSON of [`events::Metadata`].
    pub metadata: Vec<u8>,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub leaf_hash: Vec<u8>,
}

/// A row as it comes; both queries have it.
struct Row {
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
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
    leaf_hash: Vec<u8>,
}

/// The next events after position `after`, each exactly one position on; empty at the end of the
/// ledger.
///
/// # Errors
/// [`RelayError::Gap`] when the invariant of gapless positions is broken.
pub(super) async fn page(
    pool: &PgPool,
    after: i64,
    limit: u32,
) -> Result<Vec<Pending>, RelayError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select tenant_id, ledger, period, ledger_index, position, stream, stream_version,
            event_id, kind, schema_version, body, metadata, occurred_at, recorded_at, leaf_hash
        from event
        where shard = $1 and position > $2
        order by position
        limit $3
        "#,
        SHARD,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    for (expected, row) in (after + 1..).zip(&rows) {
        if row.position != expected {
            return Err(RelayError::Gap { after: expected - 1, found: row.position });
        }
    }
    rows.into_iter().map(Pending::try_from).collect()
}

/// The events of one key from a place on, up to a position, in order.
///
/// # Errors
/// When the database fails.
pub(super) async fn of_key(
    pool: &PgPool,
    key: &Key,
    from: &Place,
    to_position: i64,
    limit: u32,
) -> Result<Vec<Pending>, RelayError> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select tenant_id, ledger, period, ledger_index, position, stream, stream_version,
            event_id, kind, schema_version, body, metadata, occurred_at, recorded_at, leaf_hash
        from event
        where tenant_id = $1
            and ledger = $2
            and (period, ledger_index) >= ($3, $4)
            and position <= $5
        order by period, ledger_index
        limit $6
        "#,
        key.tenant_id.as_str(),
        key.ledger.name(),
        from.period,
        from.ledger_index,
        to_position,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(Pending::try_from).collect()
}

impl TryFrom<Row> for Pending {
    type Error = RelayError;

    fn try_from(row: Row) -> Result<Self, RelayError> {
        let corrupt = RelayError::Corrupt { position: row.position };
        let (Ok(tenant_id), Some(ledger)) = (row.tenant_id.parse(), Ledger::from_name(&row.ledger))
        else {
            return Err(corrupt);
        };
        let Row { period, ledger_index, position, .. } = row;
        Ok(Self {
            key: Key { tenant_id, ledger },
            place: Place { period, ledger_index, position },
            stream: row.stream,
            stream_version: row.stream_version,
            event_id: row.event_id,
            kind: row.kind,
            schema_version: row.schema_version,
            body: row.body,
            metadata: row.metadata,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            leaf_hash: row.leaf_hash,
        })
    }
}
