//! Table `inbox_dead_letter`: messages that could not be read, as they came.

use std::{collections::HashMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};
use events::{InvalidId, TenantId};
use sqlx::{PgConnection, PgPool};

use super::{
    envelope::{self, Incoming},
    store,
};

/// Dead letters read at once, with their content.
const PAGE: i64 = 100;

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

/// What names a dead letter to people: `<tenant>/<topic>/<message id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterId {
    pub tenant_id: TenantId,
    pub topic: String,
    pub message_id: String,
}

/// A dead letter as a list shows it: nothing of its content but the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: LetterId,
    /// Where the message names one.
    pub subject: Option<String>,
    pub reason: String,
    pub received_at: DateTime<Utc>,
}

/// What became of a dead letter that was read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Appended to the inbox, or found to be nobody's or there already.
    Read,
    /// Still, for this reason.
    Unreadable(String),
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

/// The dead letters that were not read after all, by tenant and topic: the page after `place`.
///
/// # Errors
/// When the database fails.
pub async fn list(pool: &PgPool, place: Option<&LetterId>) -> sqlx::Result<Vec<Listed>> {
    let page = unreplayed(pool, place).await?;
    Ok(page
        .into_iter()
        .map(|(letter, received_at)| Listed {
            id: letter.id(),
            subject: envelope::claimed_subject(&letter.topic, &letter.raw),
            reason: letter.reason,
            received_at,
        })
        .collect())
}

/// Reads every dead letter again, after a fix of its adapter, and appends to the inbox what can be
/// read now. `told` hears of each.
///
/// # Errors
/// Only when the database fails; those that were told of are done.
pub async fn replay_all(
    pool: &PgPool,
    now: DateTime<Utc>,
    mut told: impl FnMut(&LetterId, &Replayed) + Send,
) -> sqlx::Result<()> {
    let mut place = None;
    loop {
        let page = unreplayed(pool, place.as_ref()).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        place = Some(last.id());
        for (letter, _) in page {
            told(&letter.id(), &read_again(pool, &letter, now).await?);
        }
    }
}

/// Reads one dead letter again; `None` when there is none of this id that was not read after all.
///
/// # Errors
/// Only when the database fails.
pub async fn replay(
    pool: &PgPool,
    id: &LetterId,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<Replayed>> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select tenant_id, topic, message_id, reason, attributes::text as "attributes!", raw,
            received_at
        from inbox_dead_letter
        where tenant_id = $1 and topic = $2 and message_id = $3 and replayed_at is null
        "#,
        id.tenant_id.as_str(),
        id.topic,
        id.message_id,
    )
    .fetch_optional(pool)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (letter, _) = row.letter()?;
    read_again(pool, &letter, now).await.map(Some)
}

async fn read_again(
    pool: &PgPool,
    letter: &DeadLetter,
    now: DateTime<Utc>,
) -> sqlx::Result<Replayed> {
    match envelope::read(&letter.topic, &letter.attributes, &letter.raw) {
        Ok(incoming) => {
            take_back(pool, letter, incoming, now).await?;
            Ok(Replayed::Read)
        }
        Err(unreadable) => Ok(Replayed::Unreadable(unreadable.reason())),
    }
}

async fn unreplayed(
    pool: &PgPool,
    place: Option<&LetterId>,
) -> sqlx::Result<Vec<(DeadLetter, DateTime<Utc>)>> {
    let (tenant_id, topic, message_id) = place.map_or(("", "", ""), |id| {
        (id.tenant_id.as_str(), id.topic.as_str(), id.message_id.as_str())
    });
    let rows = sqlx::query_as!(
        Row,
        r#"
        select tenant_id, topic, message_id, reason, attributes::text as "attributes!", raw,
            received_at
        from inbox_dead_letter
        where replayed_at is null and (tenant_id, topic, message_id) > ($1, $2, $3)
        order by tenant_id, topic, message_id
        limit $4
        "#,
        tenant_id,
        topic,
        message_id,
        PAGE,
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter().map(Row::letter).collect()
}

struct Row {
    tenant_id: String,
    topic: String,
    message_id: String,
    reason: String,
    attributes: String,
    raw: Vec<u8>,
    received_at: DateTime<Utc>,
}

impl Row {
    fn letter(self) -> sqlx::Result<(DeadLetter, DateTime<Utc>)> {
        let no_id = |source: InvalidId| sqlx::Error::Decode(Box::new(source));
        let no_json = |source: serde_json::Error| sqlx::Error::Decode(Box::new(source));
        let letter = DeadLetter {
            tenant_id: self.tenant_id.parse().map_err(no_id)?,
            topic: self.topic,
            message_id: self.message_id,
            reason: self.reason,
            attributes: serde_json::from_str(&self.attributes).map_err(no_json)?,
            raw: self.raw,
        };
        Ok((letter, self.received_at))
    }
}

impl DeadLetter {
    fn id(&self) -> LetterId {
        LetterId {
            tenant_id: self.tenant_id.clone(),
            topic: self.topic.clone(),
            message_id: self.message_id.clone(),
        }
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant_id, self.topic, self.message_id)
    }
}

impl FromStr for LetterId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant_id), Some(topic), Some(message_id)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("not of the form <tenant>/<topic>/<message id>");
        };
        Ok(Self {
            tenant_id: tenant_id.parse().map_err(|_| "it does not begin with a tenant's id")?,
            topic: topic.to_owned(),
            message_id: message_id.to_owned(),
        })
    }
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
