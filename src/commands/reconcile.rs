//! An inbox is compared with its upstream's own list: what the inbox never heard of is taken in as
//! if it had been published.
//!
//! What is missing goes through the inbox table under an id derived from what it says. So a rebuild
//! sees it too, and two instances that reconcile at once add it once.

mod alerts;
mod suggestions;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{PropertyId, TenantId, upstream::UpstreamEvent};
use projections::Log;
use serde_json::Value;

use super::Resources;
use crate::{
    inbox::{envelope::Incoming, store},
    ledger::Pools,
    projector::{self, Feed},
    upstream::{
        CallContext, Upstream, UpstreamError,
        page::{Page, PageQuery},
    },
    views::{self, Redis, TenantKey},
};

/// How often an inbox that is being read is compared.
const INTERVAL: Duration = Duration::from_mins(10);
/// How often to look whether what was taken in is folded.
const FOLD_POLL: Duration = Duration::from_millis(20);
/// Items asked for in one call.
const PAGE: u32 = 100;
/// Pages of the newest items that are compared; older ones a desktop does not show.
const PAGES_MAX: usize = 5;

/// An inbox whose upstream has a list of its own.
pub trait Mirrored: Feed {
    /// As the topic names it.
    const PRODUCER: &'static str;
    /// How long the first reader of an inbox waits for what its upstream lists.
    const WAIT: Duration;

    /// An item's id, which the upstream gave it.
    fn id(item: &Self::Item) -> &str;

    /// Whether the upstream's own word of the item is known. What was done with it here does not
    /// make it.
    fn is_offered(item: &Self::Item) -> bool;

    /// One page of the upstream's list, newest first.
    fn page(
        upstream: &Upstream,
        tenant_id: &TenantId,
        context: &CallContext,
        query: PageQuery<'_>,
    ) -> impl Future<Output = Result<Page, UpstreamError>> + Send;

    /// The events that would bring `known`, an item of this property, to what is listed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn missing(
        listed: Value,
        property_id: &PropertyId,
        known: &HashMap<&str, &Self::Item>,
    ) -> Result<Vec<Missing>, serde_json::Error>;
}

/// An event that the inbox would have heard, had it heard everything.
pub struct Missing {
    /// The item it is about.
    item_id: String,
    /// Which of its events, once an item.
    what: &'static str,
    subject: &'static str,
    occurred_at: DateTime<Utc>,
    payload: Value,
    event: UpstreamEvent,
}

/// Where an inbox is compared and what with.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub pools: &'a Pools,
    pub cache_tier: &'a Redis,
    pub property: (&'a TenantId, &'a PropertyId),
}

/// Compares an inbox with its upstream unless somebody did within the last ten minutes. True when
/// something was missing and has been folded.
///
/// # Errors
/// When the upstream, the inbox or the cache tier cannot be reached. After a failure it is due
/// again.
pub async fn if_due<M: Mirrored>(
    resources: &Resources,
    sources: Sources<'_>,
    known: &[M::Item],
) -> anyhow::Result<bool> {
    let (tenant_id, property_id) = sources.property;
    let key = TenantKey::new(tenant_id, "reconciled").then(M::NAME).then(property_id.as_str());
    if !views::claim(sources.cache_tier, &key, INTERVAL).await? {
        return Ok(false);
    }
    let taken_in = run::<M>(resources, sources, known).await;
    if taken_in.is_err() {
        views::release(sources.cache_tier, &key).await?;
    }
    let Some(position) = taken_in? else { return Ok(false) };
    while projector::folded(sources.pools, Log::Inbox).await? < position {
        tokio::time::sleep(FOLD_POLL).await;
    }
    Ok(true)
}

/// Takes in what the upstream lists for a property and `known` does not have. Answers the inbox
/// position of the last event taken in; `None` when nothing was missing.
///
/// # Errors
/// When the upstream or the inbox cannot be reached; what was taken in before stays.
pub async fn run<M: Mirrored>(
    resources: &Resources,
    sources: Sources<'_>,
    known: &[M::Item],
) -> anyhow::Result<Option<i64>> {
    let (tenant_id, property_id) = sources.property;
    let known: HashMap<&str, &M::Item> = known.iter().map(|item| (M::id(item), item)).collect();
    let context = CallContext { property_id: Some(property_id.clone()), ..CallContext::internal() };
    let mut cursor = None;
    let mut position = None;
    for _ in 0..PAGES_MAX {
        let query = PageQuery { property_id, cursor, limit: PAGE };
        let page = M::page(&resources.upstream, tenant_id, &context, query).await?;
        let missing: Vec<Incoming> = page
            .items
            .into_iter()
            .filter_map(|listed| {
                // One that cannot be read is left to the next reconciliation.
                M::missing(listed, property_id, &known)
                    .map_err(|error| {
                        let inbox = M::NAME;
                        tracing::warn!(inbox, error = %error, "a listed item cannot be read");
                    })
                    .ok()
            })
            .flatten()
            .map(|missing| missing.incoming::<M>(tenant_id, property_id))
            .collect();
        if !missing.is_empty() {
            let mut transaction = sources.pools.intake().begin().await?;
            let appended = store::append(&mut transaction, &missing, resources.clock.now()).await?;
            transaction.commit().await?;
            position = Some(appended.last_position);
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok(position)
}

impl Missing {
    fn incoming<M: Mirrored>(self, tenant_id: &TenantId, property_id: &PropertyId) -> Incoming {
        Incoming {
            tenant_id: tenant_id.clone(),
            producer: M::PRODUCER.to_owned(),
            event_id: format!("listed:{}:{}", self.item_id, self.what),
            subject: self.subject.to_owned(),
            property_id: Some(property_id.clone()),
            occurred_at: self.occurred_at,
            payload: self.payload,
            event: self.event,
        }
    }
}

/// A listed item with its id under the name that events have for it, too.
fn named_as_in_events(mut item: Value, member: &str) -> Value {
    if let Some(members) = item.as_object_mut()
        && !members.contains_key(member)
        && let Some(id) = members.get("id").cloned()
    {
        members.insert(member.to_owned(), id);
    }
    item
}

#[cfg(test)]
mod tests {
    use projections::{Fact, FactEvent};

    use super::*;

    /// An item as it is once these events are folded.
    pub(super) fn folded<M: Mirrored>(missing: &[Missing]) -> M::Item {
        let facts = missing.iter().zip(1..).map(|(missing, position)| Fact {
            tenant_id: TenantId::system(),
            log: Log::Inbox,
            position,
            occurred_at: missing.occurred_at,
            event: FactEvent::Upstream(missing.event.clone()),
        });
        facts.fold(None, |item, fact| Some(M::evolve(item, &fact))).unwrap()
    }

    /// What kinds of events are missing.
    pub(super) fn kinds(missing: &[Missing]) -> Vec<&'static str> {
        missing.iter().map(|missing| missing.what).collect()
    }
}
