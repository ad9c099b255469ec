//! Refresh hints: the word to desktops that the content of a screen is another one now.
//!
//! A hint is an announcement, not a fact: it has no cursor, who does not listen misses it, and a
//! desktop that comes back fetches its screen anyway. Only who polls does not come back each time:
//! its next poll says what was hinted in between.
//!
//! They are written by `views/refresh_hint.rs`.

use std::{collections::VecDeque, sync::Arc};

use chrono::{DateTime, Utc};
use events::{PropertyId, TenantId};
use projections::Channel;
use redis::{
    RedisError,
    aio::ConnectionLike,
    streams::{StreamId, StreamRangeReply},
};
use serde_json::json;
use tokio::sync::watch;

use super::{
    Hinted,
    cursor::EntryId,
    streams::{entry_id, field, readable},
};
use crate::views::key::REFRESH_HINTS;

/// Hints of one tenant that wait for its slow desktops; beyond it the oldest are dropped. More than
/// a tenant's properties have widgets and boards that change in one moment.
const WAITING_MAX: usize = 1_024;

/// How old a hint may be to be said to who polls again; who was away for longer has to fetch the
/// screens.
const AGE_MAX_MS: i64 = 60_000;
/// Hints of all tenants read in one go.
const PAGE_MAX: usize = 500;

/// A hint as it stands in the stream; a newer version may know names that this one does not.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    id: EntryId,
    pub(super) tenant_id: TenantId,
    property_id: PropertyId,
    widgets: Vec<String>,
    boards: Vec<String>,
    at: DateTime<Utc>,
}

impl Announced {
    pub(super) fn read(entry: &StreamId) -> Result<Self, RedisError> {
        let id = entry_id(&entry.id)?;
        let (tenant_id, property_id): (String, String) =
            (field(entry, "tenant")?, field(entry, "property")?);
        let (widgets, boards): (String, String) =
            (field(entry, "widgets")?, field(entry, "boards")?);
        let (Ok(tenant_id), Ok(property_id), Some(at)) = (
            TenantId::try_from(tenant_id),
            PropertyId::try_from(property_id),
            DateTime::from_timestamp_millis(field(entry, "at")?),
        ) else {
            return Err((redis::ErrorKind::UnexpectedReturnType, "not a refresh hint").into());
        };
        let (widgets, boards) = (names(&widgets), names(&boards));
        Ok(Self { id, tenant_id, property_id, widgets, boards, at })
    }

    /// Whether whoever hears this one needs not hear the `earlier` one.
    fn covers(&self, earlier: &Self) -> bool {
        self.property_id == earlier.property_id
            && earlier.widgets.iter().all(|name| self.widgets.contains(name))
            && earlier.boards.iter().all(|name| self.boards.contains(name))
    }

    /// Without `id`, so that a client's last event id stays. JSON escapes line breaks.
    fn encoded(&self) -> Hinted {
        let data = json!({
            "kind": "dashboard.refresh", "propertyId": self.property_id,
            "widgets": self.widgets, "boards": self.boards, "at": self.at,
        })
        .to_string();
        let event = Channel::DashboardRefreshHints.name();
        let frame = format!("event: {event}\ndata: {data}\n\n").into();
        let property_id = self.property_id.clone();
        Hinted { id: self.id, property_id, data: data.into(), frame }
    }
}

fn names(joined: &str) -> Vec<String> {
    joined.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A tenant's hints on their way to its desktops here.
///
/// They do not stand in the queue of its events, so that no flood of them makes a desktop lag: each
/// waits until the slowest had its turn or a later hint covers it.
#[derive(Default)]
pub(super) struct Hints(watch::Sender<Latest>);

#[derive(Default)]
struct Latest {
    last_number: u64,
    /// By ascending number.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    announced: Announced,
    hinted: Arc<Hinted>,
}

impl Hints {
    /// Hears what is said from now on.
    pub(super) fn listener(&self) -> Listener {
        let latest = self.0.subscribe();
        let heard = latest.borrow().last_number;
        Listener { latest, heard }
    }

    pub(super) fn say(&self, announced: Announced) {
        let hinted = Arc::new(announced.encoded());
        self.0.send_modify(|latest| {
            latest.waiting.retain(|earlier| !announced.covers(&earlier.announced));
            if latest.waiting.len() == WAITING_MAX {
                latest.waiting.pop_front();
            }
            latest.last_number += 1;
            let number = latest.last_number;
            latest.waiting.push_back(Waiting { number, announced, hinted });
        });
    }
}

/// One desktop's place among the hints of its tenant.
pub(super) struct Listener {
    latest: watch::Receiver<Latest>,
    /// The number of the last hint that was taken.
    heard: u64,
}

impl Listener {
    /// The oldest hint that has not been taken. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Arc<Hinted> {
        loop {
            if let Some(hinted) = self.take() {
                return hinted;
            }
            if self.latest.changed().await.is_err() {
                // The feed is gone, which is told with its events.
                return std::future::pending().await;
            }
        }
    }

    fn take(&mut self) -> Option<Arc<Hinted>> {
        let latest = self.latest.borrow_and_update();
        let first = latest.waiting.partition_point(|waiting| waiting.number <= self.heard);
        let waiting = latest.waiting.get(first)?;
        self.heard = waiting.number;
        Some(Arc::clone(&waiting.hinted))
    }
}

/// What a listener of the tenant would have heard after one entry, up to another.
pub(super) async fn between<C: ConnectionLike>(
    connection: &mut C,
    tenant_id: &TenantId,
    (after, to): (EntryId, EntryId),
) -> Result<Vec<Arc<Hinted>>, RedisError> {
    let hints = Hints::default();
    let mut listener = hints.listener();
    let mut after = after.max(EntryId { position: to.position - AGE_MAX_MS, number: 0 });
    while after < to {
        let page: StreamRangeReply = redis::cmd("XRANGE")
            .arg(REFRESH_HINTS)
            .arg(format!("({after}"))
            .arg(to.to_string())
            .arg("COUNT")
            .arg(PAGE_MAX)
            .query_async(connection)
            .await?;
        let Some(last) = page.ids.last() else { break };
        after = entry_id(&last.id)?;
        let announced =
            page.ids.iter().filter_map(|entry| readable(Announced::read(entry).map(Some)));
        announced
            .filter(|announced| announced.tenant_id == *tenant_id)
            .for_each(|it| hints.say(it));
    }
    Ok(std::iter::from_fn(|| listener.take()).collect())
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_listener_that_waited_hears_the_last_of_hints_that_say_the_same() {
        let hints = Hints::default();
        let mut listener = hints.listener();
        for n in 0..1_000 {
            hints.say(announced("p1", &["rates"], n));
            hints.say(announced("p2", &["rates", "arrivals"], n));
        }
        hints.say(announced("p1", &["arrivals"], 1_000));

        let heard: Vec<_> = std::iter::from_fn(|| hear(&mut listener)).collect();

        let told = |hinted: &Arc<Hinted>| {
            let data: serde_json::Value = serde_json::from_slice(&hinted.data).unwrap();
            (data["propertyId"].to_string(), data["widgets"].to_string(), data["at"].clone())
        };
        let expected = [
            announced("p1", &["rates"], 999),
            announced("p2", &["rates", "arrivals"], 999),
            announced("p1", &["arrivals"], 1_000),
        ];
        let expected = expected.map(|one| told(&Arc::new(one.encoded())));
        assert_eq!(heard.iter().map(told).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn no_more_hints_wait_than_there_is_room_for() {
        let hints = Hints::default();
        let mut listener = hints.listener();
        for n in 0..WAITING_MAX + 10 {
            hints.say(announced(&format!("p{n}"), &["rates"], 0));
        }

        let heard: Vec<_> = std::iter::from_fn(|| hear(&mut listener)).collect();

        assert_eq!(heard.len(), WAITING_MAX);
        assert_eq!(heard[0].property_id.as_str(), "p10");
    }

    #[test]
    fn a_listener_hears_nothing_from_before_it_came_and_nothing_twice() {
        let hints = Hints::default();
        hints.say(announced("p1", &["rates"], 0));
        let mut listener = hints.listener();
        assert!(hear(&mut listener).is_none());

        hints.say(announced("p2", &["rates"], 1));

        assert_eq!(hear(&mut listener).unwrap().property_id.as_str(), "p2");
        assert!(hear(&mut listener).is_none());
    }

    fn hear(listener: &mut Listener) -> Option<Arc<Hinted>> {
        listener.next().now_or_never()
    }

    fn announced(property: &str, widgets: &[&str], seconds: i64) -> Announced {
        Announced {
            id: EntryId::default(),
            tenant_id: "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            property_id: property.parse().unwrap(),
            widgets: widgets.iter().map(|name| (*name).to_owned()).collect(),
            boards: Vec::new(),
            at: DateTime::from_timestamp(seconds, 0).unwrap(),
        }
    }
}
