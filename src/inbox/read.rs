//! Reading the inbox in the order of its positions.

use chrono::{DateTime, Utc};
use events::TenantId;
use serde_json::Value;
use sqlx::PgPool;

/// A stored event of another service.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxEvent {
    /// From 1, gapless.
    pub position: i64,
    pub tenant_id: TenantId,
    /// The service as topics name it, such as `iam`.
    pub producer: String,
    pub event_id: String,
    pub subject: String,
    pub occurred_at: DateTime<Utc>,
    /// As it was sent; [`events::upstream::UpstreamEvent::read`] reads it.
    pub payload: Value,
}

/// The inbox cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InboxReadError {
    #[error("the inbox cannot be read")]
    Database(#[from] sqlx::Error),
    #[error("position {position} of the inbox does not parse")]
    Corrupt { position: i64 },
    /// The invariant that positions are gapless is broken: an alarm, nothing to wait for.
    #[error("the inbox has a gap: position {found} follows {after}")]
    Gap { after: i64, found: i64 },
}

/// The next events after position `after` (0 for all), at most `limit`, each exactly one position
/// on; empty at the end.
///
/// For the roles `project` and `intake`.
///
/// # Errors
/// See [`InboxReadError`].
pub async fn tail(
    pool: &PgPool,
    after: i64,
    limit: u32,
) -> Result<Vec<InboxEvent>, InboxReadError> {
    let rows = sqlx::query!(
        r#"
        select position, tenant_id, producer, event_id, subject, occurred_at,
            payload::text as "payload!"
        from inbox_event
        where position > $1
        order by position
        limit $2
        "#,
        after,
        i64::from(limit),
    )
    .fetch_all(pool)
    .await?;
    let mut expected = after;
    rows.into_iter()
        .map(|row| {
            expected += 1;
            let position = row.position;
            if position != expected {
                return Err(InboxReadError::Gap { after: expected - 1, found: position });
            }
            let corrupt = InboxReadError::Corrupt { position };
            let (Ok(tenant_id), Ok(payload)) =
                (row.tenant_id.parse(), serde_json::from_str(&row.payload))
            else {
                return Err(corrupt);
            };
            Ok(InboxEvent {
                position,
                tenant_id,
                producer: row.producer,
                event_id: row.event_id,
                subject: row.subject,
                occurred_at: row.occurred_at,
                payload,
            })
        })
        .collect()
}

/// What lock-integration-service said of a request that was made under this key: the subject and
/// payload of its event.
///
/// For the role `jobs`.
///
/// # Errors
/// When the database fails, or a payload does not parse.
pub async fn said_of_key(
    pool: &PgPool,
    tenant_id: &TenantId,
    upstream_key: &str,
) -> Result<Option<(String, Value)>, InboxReadError> {
    let row = sqlx::query!(
        r#"
        select position, subject, payload::text as "payload!"
        from inbox_event
        where tenant_id = $1
          and producer = 'lock'
          and payload ? 'idempotencyKey'
          and payload ->> 'idempotencyKey' = $2
        order by position desc
        limit 1
        "#,
        tenant_id.as_str(),
        upstream_key,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let payload = serde_json::from_str(&row.payload)
        .map_err(|_| InboxReadError::Corrupt { position: row.position })?;
    Ok(Some((row.subject, payload)))
}
