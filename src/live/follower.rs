//! One desktop's way through its tenant's events: first the past from the streams, then what the
//! hub hands out, without gap or repeat.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use projections::{Channel, Log};
use rand::Rng;
use redis::RedisError;
use tokio::sync::{
    broadcast::{self, error::RecvError},
    oneshot,
};

use super::{
    Cursor, Delivery, Hinted, LiveItem, Subscriber,
    cursor::{CursorSealer, EntryId},
    hints,
    hub::Registration,
    registry::{Broadcast, End, Joined},
    streams::{Entry, Streams, entry_id, readable},
};

/// Events of the past read in one go.
const PAGE_MAX: usize = 256;
/// How often reading the past is tried again before the client is asked to come back.
const RETRIES_MAX: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a follower hears: its tenant, and the word to end.
pub(super) type Ears = (Joined, oneshot::Receiver<End>);

pub(super) struct Follower {
    pub(super) registration: Registration,
    pub(super) subscriber: Arc<Subscriber>,
    streams: Streams,
    pub(super) sealer: CursorSealer,
    events: broadcast::Receiver<Broadcast>,
    hints: hints::Listener,
    /// The last refresh hint before those that are heard.
    pub(super) hints_at: EntryId,
    end: oneshot::Receiver<End>,
    /// Everything up to here has been read, though not all of it was for this desktop.
    pub(super) cursor: Cursor,
    /// Read, not yet said.
    pub(super) pending: VecDeque<LiveItem>,
    pub(super) phase: Phase,
    /// Readings of the past that failed in a row.
    failures: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Phase {
    /// The place of the cursor is unknown to the streams: say so and go on from their end.
    Reset,
    /// Reading what happened before the follower joined.
    Past(Log),
    Live,
    Ended,
}

/// What one step found.
pub(super) enum Step {
    Item(LiveItem),
    Nothing,
}

impl Follower {
    pub(super) fn new(
        registration: Registration,
        subscriber: Arc<Subscriber>,
        sealer: CursorSealer,
        (Joined { events, hints, hints_at }, end): Ears,
        head: Cursor,
    ) -> Self {
        let cursor = subscriber.cursor.unwrap_or(head);
        // A place that the streams have not reached is none of theirs: waiting for them to reach it
        // would pass over what happens until then.
        let is_known = head.covers(&cursor);
        let streams = Streams::of(&subscriber.tenant_id);
        let phase = if is_known { Phase::Past(Log::Ledger) } else { Phase::Reset };
        Self {
            registration,
            subscriber,
            streams,
            sealer,
            events,
            hints,
            hints_at,
            end,
            cursor,
            pending: VecDeque::new(),
            phase,
            failures: 0,
        }
    }

    pub(super) fn sealed_cursor(&self) -> String {
        self.sealer.seal(&self.cursor)
    }

    /// The next item; `None` after a last one. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<LiveItem> {
        loop {
            // The word to end goes before whatever else there is to say.
            if let Ok(end) = self.end.try_recv() {
                return Some(self.end_with(end));
            }
            if let Some(item) = self.pending.pop_front() {
                return Some(item);
            }
            let step = match self.phase {
                Phase::Ended => return None,
                Phase::Live => self.listen().await,
                Phase::Past(log) => self.read_past(log).await,
                Phase::Reset => self.reset().await,
            };
            match step {
                Ok(step) => {
                    self.failures = 0;
                    if let Step::Item(item) = step {
                        return Some(item);
                    }
                }
                Err(error) if self.failures < RETRIES_MAX => {
                    // Whether Redis works is logged by the tail, once, not by every desktop.
                    tracing::debug!(error = %error, "a live stream could not read the past");
                    self.failures += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                Err(_) => return Some(self.reconnect()),
            }
        }
    }

    async fn listen(&mut self) -> Result<Step, RedisError> {
        let shutdown = self.registration.shared().shutdown.clone();
        tokio::select! {
            biased;
            end = &mut self.end => {
                Ok(end.map_or(Step::Nothing, |end| Step::Item(self.end_with(end))))
            }
            () = shutdown.cancelled() => {
                tokio::time::sleep(self.drain_delay()).await;
                Ok(Step::Item(self.reconnect()))
            }
            // Events go before hints, which cost them no place in their queue.
            received = self.events.recv() => Ok(self.take(received)),
            hinted = self.hints.next() => {
                let is_ours = self.hears_hint(&hinted);
                Ok(if is_ours { Step::Item(LiveItem::Hint(hinted)) } else { Step::Nothing })
            }
        }
    }

    fn take(&mut self, received: Result<Broadcast, RecvError>) -> Step {
        match received {
            Ok(Broadcast::Event { cursor, entry, log, delivery }) => {
                self.take_event(cursor, &entry, log, delivery)
            }
            Ok(Broadcast::Reset(head)) => {
                self.cursor = head;
                Step::Item(LiveItem::Reset { cursor: self.sealed_cursor() })
            }
            Err(RecvError::Lagged(_)) => {
                metrics::counter!("bff_backoffice_live_lagged_total").increment(1);
                Step::Item(self.reconnect())
            }
            Err(RecvError::Closed) => Step::Item(self.reconnect()),
        }
    }

    fn take_event(
        &mut self,
        hub_cursor: Cursor,
        entry: &Entry,
        log: Log,
        delivery: Arc<Delivery>,
    ) -> Step {
        if hub_cursor.epoch != self.cursor.epoch {
            self.cursor = hub_cursor;
            return Step::Item(LiveItem::Reset { cursor: self.sealed_cursor() });
        }
        if entry.id <= self.cursor.of(log) {
            return Step::Nothing;
        }
        self.cursor.set(log, entry.id);
        if !self.hears(entry) {
            return Step::Nothing;
        }
        // Having read further in the other log than the hub, this desktop would be sent back by the
        // hub's cursor.
        let delivery = if hub_cursor.covers(&self.cursor) {
            delivery
        } else {
            Arc::new(entry.delivery(self.sealed_cursor()))
        };
        Step::Item(LiveItem::Event(delivery))
    }

    pub(super) async fn read_past(&mut self, log: Log) -> Result<Step, RedisError> {
        let mut connection = self.registration.shared().redis.shared();
        let page = self.streams.after(&mut connection, log, &self.cursor, PAGE_MAX).await?;
        let Some(page) = page else {
            self.phase = Phase::Reset;
            return Ok(Step::Nothing);
        };
        if page.len() < PAGE_MAX {
            self.phase = match log {
                Log::Ledger => Phase::Past(Log::Inbox),
                Log::Inbox => Phase::Live,
            };
        }
        for entry in &page {
            self.cursor.set(log, entry_id(&entry.id)?);
            if let Some(entry) = readable(Entry::read(entry))
                && self.hears(&entry)
            {
                let delivery = entry.delivery(self.sealed_cursor());
                self.pending.push_back(LiveItem::Event(Arc::new(delivery)));
            }
        }
        Ok(Step::Nothing)
    }

    pub(super) async fn reset(&mut self) -> Result<Step, RedisError> {
        let redis = &self.registration.shared().redis;
        self.cursor = self.streams.head(&mut redis.shared(), redis.recovery_epoch()).await?;
        self.phase = Phase::Past(Log::Ledger);
        Ok(Step::Item(LiveItem::Reset { cursor: self.sealed_cursor() }))
    }

    fn listens_to(&self, channel: Channel) -> bool {
        self.subscriber.channels.contains(&channel)
    }

    pub(super) fn hears_hint(&self, hinted: &Hinted) -> bool {
        let since = self.subscriber.cursor.and_then(|cursor| cursor.hints);
        self.listens_to(Channel::DashboardRefreshHints)
            && self.subscriber.property_ids.contains(&hinted.property_id)
            // An instance that is behind hands out what an earlier poll has heard elsewhere.
            && since.is_none_or(|since| since < hinted.id)
    }

    fn hears(&self, entry: &Entry) -> bool {
        self.listens_to(entry.channel)
            && self.subscriber.property_ids.contains(&entry.property_id)
            && !(self.subscriber.works_by_sharia && entry.hidden_from_sharia)
    }

    fn end_with(&mut self, end: End) -> LiveItem {
        self.phase = Phase::Ended;
        self.pending.clear();
        match end {
            End::Superseded => LiveItem::Superseded,
            End::ForceLogout { reason } => LiveItem::ForceLogout { reason },
        }
    }

    fn reconnect(&mut self) -> LiveItem {
        self.phase = Phase::Ended;
        LiveItem::Reconnect
    }

    fn drain_delay(&self) -> Duration {
        self.registration.shared().settings.drain_spread.mul_f64(rand::rng().random())
    }
}
