//! Reads one stream back as the events of its aggregate, with their personal fields where these
//! still exist.

use chrono::{DateTime, Utc};
use events::{EventId, LedgerEvent, Metadata, OperatorId, StreamId, TenantId, upcast::UnknownKind};
use serde_json::{Value, json};
use sqlx::PgConnection;
use ulid::Ulid;

use super::{
    personal::{Keyring, PersonalError, Place},
    pools::Pools,
};

/// Events read at once. A stream of more is read page by page.
const PAGE_MAX: i64 = 500;

/// An event with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    pub event: E,
    pub event_id: EventId,
    /// From 1.
    pub stream_version: i64,
    /// In the shard, from 1.
    pub position: i64,
    pub occurred_at: DateTime<Utc>,
    pub recorded_at: DateTime<Utc>,
    pub metadata: Metadata,
}

/// Why a stream or claim could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the ledger cannot be read")]
    Unavailable(#[from] sqlx::Error),
    /// A bad deploy, or somebody changed it.
    #[error("event {event_id} does not parse")]
    Corrupt { event_id: String, source: CorruptRecord },
    /// Never skipped: an aggregate without one of its events would decide wrongly.
    #[error("event {event_id} has a gap before it")]
    Gap { event_id: String },
    #[error("the personal fields of event {event_id} cannot be read")]
    Personal { event_id: String, source: PersonalError },
    #[error("claim {key} has no {what}")]
    CorruptClaim { key: Ulid, what: &'static str },
    #[error("the answer of claim {key} cannot be opened")]
    Answer { key: Ulid, source: PersonalError },
    /// What a standby does not know yet would be done a second time.
    #[error("a standby was asked for a claim")]
    Standby,
}

/// What is wrong with an event of a stream.
#[derive(Debug, thiserror::Error)]
pub enum CorruptRecord {
    #[error("it is not JSON of its kind")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    #[error(transparent)]
    Id(#[from] events::InvalidId),
}

pub(super) async fn read<E: LedgerEvent>(
    pools: &Pools,
    keyring: &Keyring,
    tenant_id: &TenantId,
    stream: &StreamId,
) -> Result<Vec<Recorded<E>>, ReadError> {
    let mut transaction = pools.begin(tenant_id).await?;
    let mut recorded: Vec<Recorded<E>> = Vec::new();
    loop {
        let after = recorded.last().map_or(0, |last| last.stream_version);
        let rows = page::<E>(&mut transaction, tenant_id, stream, after).await?;
        let is_last = i64::try_from(rows.len()).unwrap_or(PAGE_MAX) < PAGE_MAX;
        for (expected, row) in (after + 1..).zip(rows) {
            if row.stream_version != expected {
                return Err(ReadError::Gap { event_id: row.event_id });
            }
            let personal = open(&mut transaction, keyring, tenant_id, stream, &row).await?;
            let event_id = row.event_id.clone();
            recorded.push(
                row.into_recorded(personal)
                    .map_err(|source| ReadError::Corrupt { event_id, source })?,
            );
        }
        if is_last {
            break;
        }
    }
    Ok(recorded)
}

pub(super) async fn version(
    pools: &Pools,
    tenant_id: &TenantId,
    (ledger, stream): (events::Ledger, &StreamId),
) -> Result<i64, ReadError> {
    let mut transaction = pools.begin(tenant_id).await?;
    let version = sqlx::query_scalar!(
        r#"
        select stream_version
        from event
        where tenant_id = $1 and ledger = $2 and stream = $3
        order by stream_version desc
        limit 1
        "#,
        tenant_id.as_str(),
        ledger.name(),
        stream.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    Ok(version.unwrap_or(0))
}

struct Row {
    stream_version: i64,
    position: i64,
    event_id: String,
    kind: String,
    body: Vec<u8>,
    personal: Option<Vec<u8>>,
    subject_id: Option<String>,
    metadata: Vec<u8>,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
}

async fn page<E: LedgerEvent>(
    connection: &mut PgConnection,
    tenant_id: &TenantId,
    stream: &StreamId,
    after: i64,
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        select
            stream_version, position, event_id, kind, body, personal, subject_id, metadata,
            occurred_at, recorded_at
        from event
        where tenant_id = $1 and ledger = $2 and stream = $3 and $4 < stream_version
        order by stream_version
        limit $5
        "#,
        tenant_id.as_str(),
        E::LEDGER.name(),
        stream.as_str(),
        after,
        PAGE_MAX,
    )
    .fetch_all(connection)
    .await
}

/// The personal fields, decrypted; `None` when there are none or they were erased.
async fn open(
    connection: &mut PgConnection,
    keyring: &Keyring,
    tenant_id: &TenantId,
    stream: &StreamId,
    row: &Row,
) -> Result<Option<Value>, ReadError> {
    let (Some(ciphertext), Some(subject_id)) = (&row.personal, &row.subject_id) else {
        return Ok(None);
    };
    let corrupt =
        |source: CorruptRecord| ReadError::Corrupt { event_id: row.event_id.clone(), source };
    let personal = |source| ReadError::Personal { event_id: row.event_id.clone(), source };
    let subject_id: OperatorId =
        subject_id.parse().map_err(|error| corrupt(CorruptRecord::Id(error)))?;
    let event_id: EventId =
        row.event_id.parse().map_err(|error| corrupt(CorruptRecord::Id(error)))?;

    let key = match keyring.find(connection, tenant_id, &subject_id).await {
        Ok(key) => key,
        Err(PersonalError::Database(error)) => return Err(ReadError::Unavailable(error)),
        Err(error) => return Err(personal(error)),
    };
    let Some(key) = key else { return Ok(None) };
    let place = Place { tenant_id, stream, event_id: &event_id, subject_id: &subject_id };
    let Some(plaintext) = key.open(place, ciphertext).map_err(personal)? else {
        return Ok(None);
    };
    serde_json::from_slice(&plaintext).map(Some).map_err(|error| corrupt(error.into()))
}

impl Row {
    fn into_recorded<E: LedgerEvent>(
        self,
        personal: Option<Value>,
    ) -> Result<Recorded<E>, CorruptRecord> {
        let mut data: Value = serde_json::from_slice(&self.body)?;
        if let (Some(data), Some(Value::Object(personal))) = (data.as_object_mut(), personal) {
            data.extend(personal);
        }
        let (kind, data) = events::upcast::upcast(&self.kind, data)?;
        Ok(Recorded {
            event: serde_json::from_value(json!({ "kind": kind, "data": data }))?,
            event_id: self.event_id.parse()?,
            stream_version: self.stream_version,
            position: self.position,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            metadata: serde_json::from_slice(&self.metadata)?,
        })
    }
}
