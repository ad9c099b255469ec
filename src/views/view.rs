//! One view: a Redis hash with its items and how far it has folded each log.

use std::{collections::BTreeMap, marker::PhantomData, sync::LazyLock};

use events::{PropertyId, TenantId};
use projections::{Fact, Log, Projection};
use redis::{RedisError, Script, aio::ConnectionLike};

use super::{Redis, TenantKey, ViewError};

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("read.lua")));
static APPLY: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("apply.lua")));

/// How often a write is tried again after the view changed under it.
const ATTEMPTS_MAX: u32 = 8;

/// The name and revision of a projection with the tenant and property it is about.
///
/// Redis, cache tier: hash `{tenant}:view:<name>:<revision>:<propertyId>`; fields: item ids (JSON),
/// `@ledger` and `@inbox` (last folded position of facts of this view, 0 for none), `@stamp`
/// (server run and recovery epoch). An item id never begins with `@`.
pub struct View<P> {
    pub(super) key: TenantKey,
    pub(super) lock: TenantKey,
    pub(super) recovery_epoch: u32,
    projection: PhantomData<fn() -> P>,
}

/// How far a view has folded each log: the position of the last fact that touched it, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoints {
    pub ledger: i64,
    pub inbox: i64,
}

impl Checkpoints {
    pub fn of(self, log: Log) -> i64 {
        match log {
            Log::Ledger => self.ledger,
            Log::Inbox => self.inbox,
        }
    }

    /// Moves the checkpoint of `log` on to `position`, never back.
    pub fn advance(&mut self, log: Log, position: i64) {
        let checkpoint = match log {
            Log::Ledger => &mut self.ledger,
            Log::Inbox => &mut self.inbox,
        };
        *checkpoint = (*checkpoint).max(position);
    }
}

/// What applying facts did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The view has folded them now.
    Folded,
    /// It had folded all of them before.
    Already,
    /// There is no view. The next reader builds one, from the logs.
    Missing,
}

/// What a view holds.
pub struct Content<Item> {
    pub items: BTreeMap<String, Item>,
    pub checkpoints: Checkpoints,
}

impl<P: Projection> View<P> {
    pub fn of(redis: &Redis, tenant_id: &TenantId, property_id: &PropertyId) -> Self {
        let key = |area| {
            TenantKey::new(tenant_id, area)
                .then(P::NAME)
                .then(&P::REVISION.to_string())
                .then(property_id.as_str())
        };
        Self {
            key: key("view"),
            lock: key("view-build"),
            recovery_epoch: redis.recovery_epoch(),
            projection: PhantomData,
        }
    }

    pub fn key(&self) -> &TenantKey {
        &self.key
    }

    /// The whole view; `None` when it is missing: never built, evicted, or written before the
    /// server started.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn read<C: ConnectionLike>(
        &self,
        connection: &mut C,
    ) -> Result<Option<Content<P::Item>>, ViewError> {
        self.read_fields(connection, &[]).await
    }

    /// Whether there is a view to read.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn is_there<C: ConnectionLike>(&self, connection: &mut C) -> Result<bool, ViewError> {
        Ok(self.read_touched(connection, &[]).await?.is_some())
    }

    /// One item of the view; `None` when the view is missing.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn item<C: ConnectionLike>(
        &self,
        connection: &mut C,
        item_id: &str,
    ) -> Result<Option<Option<P::Item>>, ViewError> {
        let content = self.read_fields(connection, &[item_id]).await?;
        Ok(content.map(|mut content| content.items.remove(item_id)))
    }

    /// Folds `facts` (of one log, in the order of their positions, all of this view) into the view,
    /// if there is one.
    ///
    /// # Errors
    /// When Redis fails; the view then has folded all of them or none, and applying them again is
    /// harmless.
    pub async fn apply<C: ConnectionLike>(
        &self,
        connection: &mut C,
        facts: &[&Fact],
    ) -> Result<Applied, ViewError> {
        let Some(last) = facts.last() else { return Ok(Applied::Already) };
        let routes: Vec<String> =
            facts.iter().filter_map(|fact| P::route(fact)).map(|route| route.item_id).collect();
        for _ in 0..ATTEMPTS_MAX {
            let content = self.read_touched(connection, &routes).await?;
            let checkpoints = content.as_ref().map_or_else(Checkpoints::default, |c| c.checkpoints);
            let fresh: Vec<&Fact> = facts
                .iter()
                .copied()
                .filter(|fact| fact.position > checkpoints.of(last.log))
                .collect();
            if content.is_some() && fresh.is_empty() {
                return Ok(Applied::Already);
            }
            let items = content.map_or_else(BTreeMap::new, |c| fold::<P>(c.items, &fresh));
            match self.write(connection, last, checkpoints, items).await?.as_str() {
                "applied" => return Ok(Applied::Folded),
                "missing" => return Ok(Applied::Missing),
                _ => (),
            }
        }
        Err(ViewError::Contended)
    }

    async fn write<C: ConnectionLike>(
        &self,
        connection: &mut C,
        last: &Fact,
        checkpoints: Checkpoints,
        items: BTreeMap<String, P::Item>,
    ) -> Result<String, ViewError> {
        let mut call = APPLY.key(&self.key);
        call.key(&self.lock)
            .arg(self.recovery_epoch)
            .arg(field_of(last.log))
            .arg(last.position)
            .arg(checkpoints.ledger)
            .arg(checkpoints.inbox);
        for (item_id, item) in &items {
            call.arg(item_id).arg(serde_json::to_vec(item)?);
        }
        Ok(call.invoke_async(connection).await?)
    }

    async fn read_touched<C: ConnectionLike>(
        &self,
        connection: &mut C,
        item_ids: &[String],
    ) -> Result<Option<Content<P::Item>>, ViewError> {
        let mut fields = vec!["@ledger", "@inbox"];
        fields.extend(item_ids.iter().map(String::as_str));
        self.read_fields(connection, &fields).await
    }

    async fn read_fields<C: ConnectionLike>(
        &self,
        connection: &mut C,
        fields: &[&str],
    ) -> Result<Option<Content<P::Item>>, ViewError> {
        let found: Option<Vec<(String, Vec<u8>)>> = READ
            .key(&self.key)
            .arg(self.recovery_epoch)
            .arg(fields)
            .invoke_async(connection)
            .await?;
        let Some(found) = found else { return Ok(None) };
        match parse(found) {
            Ok(content) => Ok(Some(content)),
            Err(source) => {
                // It holds what this revision never wrote. The logs are the truth: drop it, so that
                // it is built anew.
                tracing::error!(
                    key = self.key.as_str(),
                    error = %source,
                    "unreadable view dropped"
                );
                let () = redis::cmd("DEL").arg(&self.key).query_async(connection).await?;
                Ok(None)
            }
        }
    }
}

/// The field that holds the checkpoint of `log`.
pub(super) const fn field_of(log: Log) -> &'static str {
    match log {
        Log::Ledger => "@ledger",
        Log::Inbox => "@inbox",
    }
}

/// The items that `facts` touch, after them. `items` holds what they were before.
fn fold<P: Projection>(
    mut items: BTreeMap<String, P::Item>,
    facts: &[&Fact],
) -> BTreeMap<String, P::Item> {
    for fact in facts {
        if let Some(route) = P::route(fact) {
            let item = P::evolve(items.remove(&route.item_id), fact);
            items.insert(route.item_id, item);
        }
    }
    items
}

fn parse<Item: serde::de::DeserializeOwned>(
    fields: Vec<(String, Vec<u8>)>,
) -> Result<Content<Item>, serde_json::Error> {
    let mut content = Content { items: BTreeMap::new(), checkpoints: Checkpoints::default() };
    for (field, value) in fields {
        match field.as_str() {
            "@ledger" => content.checkpoints.ledger = serde_json::from_slice(&value)?,
            "@inbox" => content.checkpoints.inbox = serde_json::from_slice(&value)?,
            "@stamp" => (),
            _ => {
                content.items.insert(field, serde_json::from_slice(&value)?);
            }
        }
    }
    Ok(content)
}

/// Every item of a view; `None` when the view is missing and has to be built
/// (`projector::Builder::ensure_view`).
///
/// # Errors
/// When Redis fails.
pub async fn list<P: Projection>(
    cache: &Redis,
    tenant_id: &TenantId,
    property_id: &PropertyId,
) -> Result<Option<Vec<P::Item>>, ViewError> {
    let view = View::<P>::of(cache, tenant_id, property_id);
    let content = view.read(&mut cache.shared()).await?;
    Ok(content.map(|content| content.items.into_values().collect()))
}

/// One item of a view; `None` when the view is missing.
///
/// # Errors
/// When Redis fails.
pub async fn get<P: Projection>(
    cache: &Redis,
    (tenant_id, property_id): (&TenantId, &PropertyId),
    item_id: &str,
) -> Result<Option<Option<P::Item>>, ViewError> {
    let view = View::<P>::of(cache, tenant_id, property_id);
    view.item(&mut cache.shared(), item_id).await
}

/// Drops a view; the next reader builds it anew.
///
/// # Errors
/// When Redis fails.
pub async fn forget<P: Projection>(
    cache: &Redis,
    tenant_id: &TenantId,
    property_id: &PropertyId,
) -> Result<(), RedisError> {
    let view = View::<P>::of(cache, tenant_id, property_id);
    redis::cmd("UNLINK").arg(view.key()).query_async(&mut cache.shared()).await
}
