//! Tables `inbox_event` and `inbox_head`: events of other services, deduplicated, each with its
//! place.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::envelope::Incoming;

/// The one shard there is so far; a head of its own would make another.
pub(super) const SHARD: i16 = 0;

/// What [`append`] made of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The inbox's last position afterwards, 0 when it is empty.
    pub last_position: i64,
    /// How many were not there before.
    pub stored: i64,
}

/// Appends the events that are not there yet, in order, gapless; what a batch or an earlier one
/// already holds is left out.
///
/// The head stays locked until the transaction of `db` ends: commit at once.
///
/// # Errors
/// Only when the database fails or refuses a value; nothing is left behind once the transaction is
/// rolled back.
pub async fn append(
    db: &mut PgConnection,
    events: &[Incoming],
    received_at: DateTime<Utc>,
) -> sqlx::Result<Appended> {
    let text_of = |field: fn(&Incoming) -> &str| -> Vec<String> {
        events.iter().map(|event| field(event).to_owned()).collect()
    };
    let property_ids: Vec<Option<String>> = events
        .iter()
        .map(|event| event.property_id.as_ref().map(|id| id.as_str().to_owned()))
        .collect();
    let occurred_ats: Vec<DateTime<Utc>> = events.iter().map(|event| event.occurred_at).collect();
    let payloads: Vec<String> = events.iter().map(|event| event.payload.to_string()).collect();
    sqlx::query_as!(
        Appended,
        r#"
        select o_last_position as "last_position!", o_stored as "stored!"
        from inbox_append($1, $2, $3, $4, $5, $6, $7, $8, $9)
        "#,
        SHARD,
        received_at,
        &text_of(|event| event.tenant_id.as_str()),
        &text_of(|event| &event.producer),
        &text_of(|event| &event.event_id),
        &text_of(|event| &event.subject),
        &property_ids as &[Option<String>],
        &occurred_ats,
        &payloads,
    )
    .fetch_one(db)
    .await
}
