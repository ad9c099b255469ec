//! Table `inbox_dead_letter`: messages that could not be read, as they came.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::TenantId;
use sqlx::{PgConnection, PgPool};

use super::{
    envelope::{self, Incoming},
    store,
};

const REPLAY_PAGE: i64 = 100;

/// A message that nobody here could read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The tenant it claims, [`TenantId::system`] where none can be read.
    pub tenant_id: TenantId,
    pub topic: String,
    /// Pub/Sub's id of the message.
    pub message_id: String,
    /// Why, in words for an operator; never the content.
    pub reason: String,
    pub attributes: HashMap<String, String>,
    pub raw: Vec<u8>,
}

/// What [`replay`] made of the dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Read now, and appended to the inbox or found to be nobody's.
    pub read: u64,
    pub still_unreadable: u64,
}

/// Keeps a dead letter; one that is kept already, from an earlier delivery, stays as it is.
///
/// # Errors
/// Only when the database fails.
pub async fn insert(
    db: &mut PgConnection,
    letter: &DeadLetter,
    received_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        insert into inbox_dead_letter
            (tenant_id, topic, message_id, reason, attributes, raw, received_at)
        values ($1, $2, $3, $4, $5::text::jsonb, $6, $7)
        on conflict (tenant_id, topic, message_id) do nothing
        "#,
        letter.tenant_id.as_str(),
        letter.topic,
        letter.message_id,
        storable(&letter.reason),
        attributes_json(&letter.attributes),
        letter.raw,
        received_at,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Reads every dead letter again, after a fix of its adapter, and appends to the inbox what can be
/// read now.
///
/// # Errors
/// Only when the database fails; the pages before are done.
pub async fn replay(pool: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut after = (String::new(), String::new(), String::new());
    loop {
        let page = unreplayed(pool, &after).await?;
        let Some(last) = page.last() else { return Ok(replayed) };
        after = (last.tenant_id.to_string(), last.topic.clone(), last.message_id.clone());
        for letter in page {
            match envelope::read(&letter.topic, &letter.attributes, &letter.raw) {
                Ok(incoming) => {
                    take_back(pool, &letter, incoming, now).await?;
                    replayed.read += 1;
                }
                Err(_) => replayed.still_unreadable += 1,
            }
        }
    }
}

async fn unreplayed(
    pool: &PgPool,
    after: &(String, String, String),
) -> sqlx::Result<Vec<DeadLetter>> {
    let rows = sqlx::query!(
        r#"
        select tenant_id, topic, message_id, reason, attributes::text as "attributes!", raw
        from inbox_dead_letter
        where replayed_at is null and (tenant_id, topic, message_id) > ($1, $2, $3)
        order by tenant_id, topic, message_id
        limit $4
        "#,
        after.0,
        after.1,
        after.2,
        REPLAY_PAGE,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            let decode = |source| sqlx::Error::Decode(Box::new(source));
            Ok(DeadLetter {
                tenant_id: row
                    .tenant_id
                    .parse()
                    .map_err(|source| sqlx::Error::Decode(Box::<events::InvalidId>::new(source)))?,
                topic: row.topic,
                message_id: row.message_id,
                reason: row.reason,
                attributes: serde_json::from_str(&row.attributes).map_err(decode)?,
                raw: row.raw,
            })
        })
        .collect()
}

async fn take_back(
    pool: &PgPool,
    letter: &DeadLetter,
    incoming: Option<Incoming>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query!(
        r#"
        update inbox_dead_letter
        set replayed_at = $4
        where tenant_id = $1 and topic = $2 and message_id = $3
        "#,
        letter.tenant_id.as_str(),
        letter.topic,
        letter.message_id,
        now,
    )
    .execute(&mut *transaction)
    .await?;
    store::append(&mut transaction, incoming.as_slice(), now).await?;
    transaction.commit().await
}

/// Attributes are for people here; what Postgres cannot hold is shown as the replacement character.
fn attributes_json(attributes: &HashMap<String, String>) -> String {
    let attributes: serde_json::Map<String, serde_json::Value> =
        attributes.iter().map(|(name, value)| (storable(name), storable(value).into())).collect();
    serde_json::Value::Object(attributes).to_string()
}

fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
