//! A tenant's live streams in Redis: one a log, written by the projector's lane only, after the
//! views.
//!
//! Session tier: streams `{tenant}:live:ledger` and `{tenant}:live:inbox` (entry id
//! `<position>-<number>`, fields `e` epoch, `t` written at, unix milliseconds, `c` channel, `p`
//! property, `d` JSON, `h` 1 where a tenant that works by the Sharia must not hear it), hash `{tenant}:live:head` (`epoch`, `stamp`, and for each log the last
//! trimmed id).

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use bytes::Bytes;
use events::{PropertyId, TenantId};
use projections::{Channel, Fact, LiveEvent, Log, live::live_events};
use redis::{
    FromRedisValue, RedisError, Script, Value, aio::ConnectionLike, from_redis_value,
    streams::StreamId,
};

use super::{
    Delivery,
    cursor::{Cursor, EntryId},
};
use crate::views::TenantKey;

static HEAD: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("epoch.lua"), include_str!("head.lua"))));
static PUBLISH: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("epoch.lua"), include_str!("publish.lua"))));
static RANGE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("range.lua")));

/// How much of the past a tenant's streams keep, so that a desktop can resume.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Nothing younger is trimmed, up to `entries_max`. At least five minutes.
    pub age_min: Duration,
    /// So many entries stay whatever their age. At least 1,000.
    pub entries_min: u32,
    /// More entries than this are trimmed whatever their age: a flood must not fill the session
    /// tier.
    pub entries_max: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age_min: Duration::from_mins(5), entries_min: 1_000, entries_max: 50_000 }
    }
}

/// The keys of one tenant's live streams.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    pub(super) head: TenantKey,
    pub(super) ledger: TenantKey,
    pub(super) inbox: TenantKey,
}

/// One live event as it stands in its stream.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) epoch: i64,
    pub(super) id: EntryId,
    pub(super) channel: Channel,
    pub(super) property_id: PropertyId,
    pub(super) hidden_from_sharia: bool,
    /// JSON on one line.
    pub(super) data: Bytes,
}

impl Streams {
    pub(super) fn of(tenant_id: &TenantId) -> Self {
        let key = |name| TenantKey::new(tenant_id, "live").then(name);
        Self { head: key("head"), ledger: key("ledger"), inbox: key("inbox") }
    }

    pub(super) fn of_log(&self, log: Log) -> &TenantKey {
        match log {
            Log::Ledger => &self.ledger,
            Log::Inbox => &self.inbox,
        }
    }

    /// The cursor behind everything that has been published.
    pub(super) async fn head<C: ConnectionLike>(
        &self,
        connection: &mut C,
        recovery_epoch: u32,
    ) -> Result<Cursor, RedisError> {
        let (epoch, ledger, inbox): (i64, String, String) = HEAD
            .key(&self.head)
            .key(&self.ledger)
            .key(&self.inbox)
            .arg(recovery_epoch)
            .invoke_async(connection)
            .await?;
        let (ledger, inbox) = (entry_id(&ledger)?, entry_id(&inbox)?);
        Ok(Cursor { epoch, ledger, inbox, hints: None })
    }

    /// At most `limit` entries of `log` after `cursor`; `None` when some of them are gone.
    pub(super) async fn after<C: ConnectionLike>(
        &self,
        connection: &mut C,
        log: Log,
        cursor: &Cursor,
        limit: usize,
    ) -> Result<Option<Vec<StreamId>>, RedisError> {
        let page: Value = RANGE
            .key(&self.head)
            .key(self.of_log(log))
            .arg(cursor.epoch)
            .arg(log.name())
            .arg(cursor.of(log).to_string())
            .arg(limit)
            .invoke_async(connection)
            .await?;
        match page {
            Value::Nil | Value::Boolean(false) => Ok(None),
            page => {
                let page: redis::streams::StreamRangeReply = from_redis_value(page)?;
                Ok(Some(page.ids))
            }
        }
    }
}

/// Publishes the live events of `facts` (of one log, in the order of their positions), tenant by
/// tenant, and returns how many were new.
///
/// # Errors
/// When Redis fails; publishing the same facts again is harmless.
pub async fn publish<C: ConnectionLike>(
    connection: &mut C,
    facts: &[Fact],
    recovery_epoch: u32,
    retention: &Retention,
) -> Result<usize, RedisError> {
    let mut by_tenant: HashMap<&TenantId, Vec<(EntryId, LiveEvent)>> = HashMap::new();
    for fact in facts {
        for (number, event) in (0..).zip(live_events(fact)) {
            let id = EntryId { position: fact.position, number };
            by_tenant.entry(&fact.tenant_id).or_default().push((id, event));
        }
    }
    let Some(log) = facts.first().map(|fact| fact.log) else { return Ok(0) };
    let mut published = 0;
    for (tenant_id, events) in by_tenant {
        let streams = Streams::of(tenant_id);
        let mut call = PUBLISH.key(&streams.head);
        call.key(&streams.ledger)
            .key(&streams.inbox)
            .arg(recovery_epoch)
            .arg(log.name())
            .arg(u64::try_from(retention.age_min.as_millis()).unwrap_or(u64::MAX))
            .arg(retention.entries_min)
            .arg(retention.entries_max);
        for (id, event) in events {
            call.arg(id.position)
                .arg(id.number)
                .arg(event.channel.name())
                .arg(event.property_id.as_str())
                .arg(event.data.to_string())
                .arg(u8::from(event.hidden_from_sharia));
        }
        let added: usize = call.invoke_async(connection).await?;
        published += added;
    }
    Ok(published)
}

impl Entry {
    /// Reads an entry; `None` for a channel or property this version does not know, which nobody
    /// here listens to.
    pub(super) fn read(entry: &StreamId) -> Result<Option<Self>, RedisError> {
        let id = entry_id(&entry.id)?;
        let epoch = field(entry, "e")?;
        let channel: String = field(entry, "c")?;
        let property_id: String = field(entry, "p")?;
        let data: Vec<u8> = field(entry, "d")?;
        // Older entries do not say: there was nothing to hide.
        let hidden_from_sharia = entry.get("h").unwrap_or(0_u8) != 0;
        let (Some(channel), Ok(property_id)) =
            (Channel::from_name(&channel), PropertyId::try_from(property_id))
        else {
            return Ok(None);
        };
        let data = data.into();
        Ok(Some(Self { epoch, id, channel, property_id, hidden_from_sharia, data }))
    }

    /// The event as a desktop at the sealed `cursor` hears it. Neither part holds a line break:
    /// channels are fixed words, cursors base64url, and JSON escapes them.
    pub(super) fn delivery(&self, cursor: String) -> Delivery {
        let mut frame = Vec::with_capacity(cursor.len() + self.data.len() + 48);
        for part in ["id: ", &cursor, "\nevent: ", self.channel.name(), "\ndata: "] {
            frame.extend_from_slice(part.as_bytes());
        }
        frame.extend_from_slice(&self.data);
        frame.extend_from_slice(b"\n\n");
        Delivery {
            cursor,
            channel: self.channel,
            property_id: self.property_id.clone(),
            data: self.data.clone(),
            frame: frame.into(),
        }
    }
}

impl std::fmt::Display for EntryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.position, self.number)
    }
}

pub(super) fn entry_id(text: &str) -> Result<EntryId, RedisError> {
    text.split_once('-')
        .and_then(|(position, number)| {
            Some(EntryId { position: position.parse().ok()?, number: number.parse().ok()? })
        })
        .ok_or_else(|| (redis::ErrorKind::UnexpectedReturnType, "not an entry id").into())
}

/// What was read of an entry. One that cannot be read is passed over: another look would find it
/// again, and everything behind it would wait.
pub(super) fn readable<T>(entry: Result<Option<T>, RedisError>) -> Option<T> {
    entry.unwrap_or_else(|error| {
        metrics::counter!("bff_backoffice_live_unreadable_total").increment(1);
        tracing::error!(error = %error, "an entry of a live stream cannot be read");
        None
    })
}

/// A field of a stream entry.
pub(super) fn field<T: FromRedisValue>(entry: &StreamId, name: &str) -> Result<T, RedisError> {
    entry
        .get(name)
        .ok_or_else(|| (redis::ErrorKind::UnexpectedReturnType, "an entry lacks a field").into())
}
