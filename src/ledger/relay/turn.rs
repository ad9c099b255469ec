//! The time for which one relay holds the cursor: read ahead, publish, keep account of answers,
//! store the position.

mod lanes;

use std::{collections::HashMap, time::Duration};

use events::Ledger;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::read,
    Relay, RelayError,
    cursor::Held,
    declare,
    failure::Failure,
    lane::Lane,
    message, observe,
    parked::{self, Changes},
    pending::{self, Key, Pending, Place},
    retry::Retry,
    window::Window,
};
use crate::pubsub::Publisher;

/// How often the gauges are set, and an operator's wish is looked for.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Turn<'a> {
    relay: &'a Relay,
    held: Held,
    publishers: HashMap<Ledger, Publisher>,
    window: Window,
    /// Up to here the ledger has been read.
    read_to: i64,
    /// There may be events behind `read_to`.
    has_more: bool,
    /// Not before then is it looked.
    read_at: Instant,
    lanes: HashMap<Key, Lane>,
    changes: Changes,
    in_flight: HashMap<Key, usize>,
    bytes: usize,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    retries: FuturesUnordered<BoxFuture<'static, (Key, Result<Retry, RelayError>)>>,
    /// Dead letters may be without the event that declares them.
    is_undeclared: bool,
    declarations: FuturesUnordered<BoxFuture<'static, Result<bool, RelayError>>>,
    /// When the broker last took something.
    answered_at: Instant,
}

/// What became of a published event.
struct Answer {
    key: Key,
    place: Place,
    bytes: usize,
    sent_at: Instant,
    outcome: Result<(), Failure>,
}

impl<'a> Turn<'a> {
    /// Begins where the last relay stopped. Its publishers are new: none of their keys is paused.
    pub(super) async fn begin(relay: &'a Relay, held: Held) -> Result<Self, RelayError> {
        let position = held.position();
        let lanes = parked::load(&relay.pool)
            .await?
            .into_iter()
            .map(|(key, parked)| (key, Lane::resumed(parked, position)))
            .collect();
        let publishers =
            Ledger::ALL.map(|ledger| (ledger, relay.pubsub.publisher(&ledger.topic()))).into();
        Ok(Self {
            relay,
            held,
            publishers,
            window: Window::after(position),
            read_to: position,
            has_more: true,
            read_at: Instant::now(),
            lanes,
            changes: Changes::default(),
            in_flight: HashMap::new(),
            bytes: 0,
            answers: FuturesUnordered::new(),
            retries: FuturesUnordered::new(),
            is_undeclared: true,
            declarations: FuturesUnordered::new(),
            answered_at: Instant::now(),
        })
    }

    /// Relays until `shutdown` or a failure; gives the cursor back in both cases.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let ended = match self.relay_until(shutdown).await {
            Ok(()) => self.save().await,
            Err(error) => Err(error),
        };
        let lease = self.relay.settings.lease;
        if let Ok(Err(error)) = timeout(lease, self.held.release(&self.relay.pool)).await {
            tracing::warn!(error = %error, "the cursor is not given back; its lease will end");
        }
        ended
    }

    async fn relay_until(&mut self, shutdown: &CancellationToken) -> Result<(), RelayError> {
        let settings = &self.relay.settings;
        let mut head = self.relay.head.clone();
        let mut poll = interval(settings.poll_interval);
        let mut save = interval(settings.save_interval);
        let mut observe = interval(OBSERVE_INTERVAL);
        for ticks in [&mut poll, &mut save, &mut observe] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let lease = settings.lease;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                Some(answer) = self.answers.next() => self.note(answer)?,
                Some((key, retry)) = self.retries.next() => self.note_retry(&key, retry?),
                Some(is_complete) = self.declarations.next() => self.is_undeclared |= !is_complete?,
                _ = save.tick() => {
                    if self.has_news() || self.held.is_aging() {
                        self.save().await?;
                    }
                }
                _ = observe.tick() => {
                    timeout(lease, self.observe()).await.map_err(|_| RelayError::Timeout)??;
                }
                _ = poll.tick() => {
                    self.retry_due();
                    self.has_more = true;
                }
                Ok(()) = head.changed() => self.has_more = true,
                () = sleep_until(self.read_at), if self.has_more && self.has_room() => {
                    timeout(lease, self.fill()).await.map_err(|_| RelayError::Timeout)??;
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        let settings = &self.relay.settings;
        self.window.len() < settings.window_max && self.bytes < settings.window_bytes_max
    }

    fn has_news(&self) -> bool {
        self.window.settled() > self.held.position()
            || !self.changes.is_empty()
            || self.lanes.values().any(|lane| lane.is_dirty)
    }

    /// Reads a page and publishes it; events of a parked key wait behind it.
    async fn fill(&mut self) -> Result<(), RelayError> {
        let page_max = self.relay.settings.page_max;
        let page = pending::page(&self.relay.pool, self.read_to, page_max).await?;
        self.has_more = page.len() == page_max as usize;
        if !self.has_more {
            self.read_at = Instant::now() + self.relay.settings.rest;
        }
        if self.held.is_over() {
            return Err(RelayError::Fenced);
        }
        for event in page {
            self.window.push(event.recorded_at);
            self.read_to = event.place.position;
            match self.lanes.get_mut(&event.key) {
                Some(lane) => {
                    lane.cover(&event.place);
                    self.window.settle(event.place.position);
                }
                None => self.publish(event),
            }
        }
        Ok(())
    }

    fn publish(&mut self, event: Pending) {
        let message = match message::outbound(&event, self.relay.clock.now()) {
            Ok(message) => message,
            Err(malformed) => return self.park(&event.key, &event.place, &malformed.into()),
        };
        let bytes = message.data.len();
        self.bytes += bytes;
        *self.in_flight.entry(event.key.clone()).or_default() += 1;
        let sent_at = Instant::now();
        let published = self.publishers[&event.key.ledger].publish(message);
        self.answers.push(Box::pin(async move {
            let outcome = published.await.map_err(Failure::from);
            Answer { key: event.key, place: event.place, bytes, sent_at, outcome }
        }));
    }

    fn note(&mut self, answer: Answer) -> Result<(), RelayError> {
        let Answer { key, place, bytes, sent_at, outcome } = answer;
        self.bytes -= bytes;
        if let Some(count) = self.in_flight.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&key);
            }
        }
        match outcome {
            Ok(()) => {
                self.answered_at = Instant::now();
                self.window.settle(place.position);
            }
            Err(Failure::Unavailable(reason)) if self.is_outage(sent_at) => {
                return Err(RelayError::Unavailable(reason));
            }
            Err(failure) => self.park(&key, &place, &failure),
        }
        Ok(())
    }

    /// Whether the broker has taken nothing at all since: then it is not the key that fails.
    fn is_outage(&self, since: Instant) -> bool {
        self.answered_at <= since
    }

    /// Sets the gauges, declares dead letters, and makes the keys due that an operator wants tried.
    async fn observe(&mut self) -> Result<(), RelayError> {
        let now = self.relay.clock.now();
        let head = read::head(&self.relay.pool).await?;
        let stuck_from = self.relay.settings.attempts_max;
        observe::set(&observe::Gauges {
            depth: head - self.window.settled(),
            oldest_at: self.window.oldest(),
            parked_keys: self.lanes.len(),
            stuck_keys: self.lanes.values().filter(|l| l.parked.attempts >= stuck_from).count(),
            now,
        });
        if self.is_undeclared && self.declarations.is_empty() {
            self.is_undeclared = false;
            self.declarations.push(Box::pin(declare::all(self.relay.clone())));
        }
        if self.lanes.is_empty() {
            return Ok(());
        }
        for key in parked::requested(&self.relay.pool).await? {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.request(now);
            }
        }
        Ok(())
    }

    /// Stores the position and the lanes in one transaction.
    async fn save(&mut self) -> Result<(), RelayError> {
        let mut changes = std::mem::take(&mut self.changes);
        // A key may have been parked again since it was unparked: what it is now is what counts.
        changes.unparked.retain(|key| !self.lanes.contains_key(key));
        for (key, lane) in self.lanes.iter_mut().filter(|(_, lane)| lane.is_dirty) {
            lane.is_dirty = false;
            changes.parked.push((key.clone(), lane.parked.clone()));
        }
        let lease = self.relay.settings.lease;
        let save = self.held.save(&self.relay.pool, self.window.settled(), &changes);
        timeout(lease, save).await.map_err(|_| RelayError::Timeout)??;
        self.is_undeclared |= !changes.given_up.is_empty();
        Ok(())
    }
}
