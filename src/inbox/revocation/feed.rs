//! How current the feed of revocations is: what the gate needs to know to trust its fences.
//!
//! A feed is known to be current at a moment when Pub/Sub could be reached then and everything it
//! had published before is fenced. Neither can be asked for as such, so this is the measure: every
//! few seconds Pub/Sub is asked for the subscription (a broker that cannot be reached moves
//! nothing), and the feed counts as current up to the oldest message that is not yet fenced, else
//! up to the publication of the last message while messages keep coming, since then there may be a
//! backlog, else up to now. A broker that answers questions and delivers nothing is not noticed;
//! tokens end after minutes all the same.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{clock::SharedClock, pubsub};

/// How often Pub/Sub is asked whether it is there.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// For so long after a message there may be others waiting behind it.
const QUIET_AFTER: Duration = Duration::from_secs(10);
/// A message that was given back comes again sooner than this, here or elsewhere.
const COMES_AGAIN_WITHIN: Duration = Duration::from_mins(1);

/// How current the revocations of every topic are. Cheap to clone; not current until first known.
#[derive(Clone)]
pub struct Feed {
    clock: SharedClock,
    flows: Arc<[Mutex<State>]>,
}

/// The feed of one topic.
pub(super) struct Flow<'a> {
    clock: &'a SharedClock,
    state: &'a Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Everything published up to here is fenced.
    current_at: Option<DateTime<Utc>>,
    /// When the last message came, and when it had been published.
    last: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// By message id.
    unfenced: HashMap<String, Unfenced>,
}

struct Unfenced {
    published_at: DateTime<Utc>,
    seen_at: DateTime<Utc>,
    at_work: bool,
}

impl Feed {
    pub fn new(clock: SharedClock) -> Self {
        let flows = pubsub::REVOCATION_TOPICS.iter().map(|_| Mutex::default()).collect();
        Self { clock, flows }
    }

    /// How long ago the least current topic was known to be current; the longest time there is
    /// when one never was.
    pub fn lag(&self) -> Duration {
        let now = self.clock.now();
        let lag_of = |state: &Mutex<State>| {
            let current_at = locked(state).current_at;
            current_at.map_or(Duration::MAX, |at| (now - at).to_std().unwrap_or_default())
        };
        self.flows.iter().map(lag_of).max().unwrap_or(Duration::MAX)
    }

    pub(super) fn flow(&self, number: usize) -> Flow<'_> {
        Flow { clock: &self.clock, state: &self.flows[number] }
    }
}

impl Flow<'_> {
    /// A message came.
    pub(super) fn received(&self, message_id: &str, published_at: Option<DateTime<Utc>>) {
        let now = self.clock.now();
        let published_at = published_at.unwrap_or(now);
        let mut state = locked(self.state);
        state.last = Some((now, published_at));
        let unfenced = Unfenced { published_at, seen_at: now, at_work: true };
        state.unfenced.insert(message_id.to_owned(), unfenced);
    }

    /// It is fenced, or it is given back.
    pub(super) fn dealt_with(&self, message_id: &str, is_fenced: bool) {
        let mut state = locked(self.state);
        if is_fenced {
            state.unfenced.remove(message_id);
        } else if let Some(unfenced) = state.unfenced.get_mut(message_id) {
            unfenced.at_work = false;
        }
    }

    /// Pub/Sub answered.
    pub(super) fn reached(&self) {
        let now = self.clock.now();
        locked(self.state).advance(now);
    }
}

impl State {
    fn advance(&mut self, now: DateTime<Utc>) {
        self.unfenced.retain(|_, it| it.at_work || now - COMES_AGAIN_WITHIN < it.seen_at);
        let handed_out_up_to = match self.last {
            Some((received_at, published_at)) if now - QUIET_AFTER < received_at => published_at,
            _ => now,
        };
        let oldest = self.unfenced.values().map(|it| it.published_at).min();
        self.current_at = Some(handed_out_up_to.min(oldest.unwrap_or(now)));
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing in a critical section can leave the state half changed.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::clock::{Clock, TestClock};

    fn feed() -> (Feed, Arc<TestClock>) {
        let clock = TestClock::at(DateTime::from_timestamp(1_000_000, 0).unwrap());
        (Feed::new(Arc::clone(&clock) as SharedClock), clock)
    }

    fn reach_all(feed: &Feed) {
        (0..feed.flows.len()).for_each(|number| feed.flow(number).reached());
    }

    #[test]
    fn a_feed_that_was_never_reached_is_not_current() {
        let (feed, _) = feed();
        assert_eq!(feed.lag(), Duration::MAX);
        feed.flow(0).reached();
        assert_eq!(feed.lag(), Duration::MAX, "the other topic was not");
        reach_all(&feed);
        assert_eq!(feed.lag(), Duration::ZERO);
    }

    #[test]
    fn while_pubsub_is_away_the_lag_grows() {
        let (feed, clock) = feed();
        reach_all(&feed);
        clock.advance(TimeDelta::seconds(61));
        assert_eq!(feed.lag(), Duration::from_secs(61));
    }

    #[test]
    fn a_message_that_is_not_fenced_holds_the_feed_back() {
        let (feed, clock) = feed();
        let published_at = clock.now();
        clock.advance(TimeDelta::seconds(5));
        feed.flow(0).received("m1", Some(published_at));
        clock.advance(TimeDelta::seconds(60));
        feed.flow(0).received("m1", Some(published_at));
        feed.flow(0).dealt_with("m1", false);
        clock.advance(TimeDelta::seconds(20));
        reach_all(&feed);
        assert_eq!(feed.lag(), Duration::from_secs(85));

        feed.flow(0).dealt_with("m1", true);
        reach_all(&feed);
        assert_eq!(feed.lag(), Duration::ZERO);
    }

    #[test]
    fn a_backlog_that_is_worked_off_is_a_lag_until_it_ends() {
        let (feed, clock) = feed();
        let published_at = clock.now();
        clock.advance(TimeDelta::seconds(300));
        feed.flow(1).received("m1", Some(published_at));
        feed.flow(1).dealt_with("m1", true);
        reach_all(&feed);
        assert_eq!(feed.lag(), Duration::from_mins(5));
        clock.advance(TimeDelta::from_std(QUIET_AFTER).unwrap());
        reach_all(&feed);
        assert_eq!(feed.lag(), Duration::ZERO);
    }
}
