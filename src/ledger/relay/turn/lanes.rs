//! What a turn does about keys that fail: sets them aside, tries them again, lets them go.

use tokio::time::Instant;

use super::{
    super::{
        failure::Failure,
        lane::{Lane, Progress},
        pending::{Key, Place},
        retry::{Attempt, Retry},
    },
    Turn,
};

/// Parked keys tried at the same time.
const RETRIES_MAX: usize = 8;

impl Turn<'_> {
    /// Sets an event aside, and with it what follows in its key. It counts as settled once the lane
    /// is stored, which is with the position.
    pub(super) fn park(&mut self, key: &Key, place: &Place, failure: &Failure) {
        let (now, settings) = (self.relay.clock.now(), &self.relay.settings);
        if let Some(lane) = self.lanes.get_mut(key) {
            lane.cover_failed(place, failure);
        } else {
            tracing::warn!(
                ordering_key = key.ordering_key(),
                position = place.position,
                reason = failure.reason(),
                "an event cannot be published: its ordering key waits"
            );
            let lane = Lane::new(place.clone(), failure, now, settings);
            self.lanes.insert(key.clone(), lane);
        }
        self.window.settle(place.position);
    }

    /// Starts the retries that are due, of keys with nothing on its way.
    pub(super) fn retry_due(&mut self) {
        let now = self.relay.clock.now();
        for (key, lane) in &mut self.lanes {
            if self.retries.len() >= RETRIES_MAX {
                return;
            }
            if !lane.is_due(now) || self.in_flight.contains_key(key) {
                continue;
            }
            lane.is_retrying = true;
            let attempt = Attempt {
                pool: self.relay.pool.clone(),
                publisher: self.publishers[&key.ledger].clone(),
                clock: self.relay.clock.clone(),
                key: key.clone(),
                from: lane.parked.from.clone(),
                to_position: lane.covered_to,
                is_single: lane.is_single,
            };
            let key = key.clone();
            self.retries.push(Box::pin(async move { (key, attempt.run().await) }));
        }
    }

    pub(super) fn note_retry(&mut self, key: &Key, retry: Retry) {
        let (now, settings) = (self.relay.clock.now(), &self.relay.settings);
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if retry.failed.is_none() {
            self.answered_at = Instant::now();
        }
        let ordering_key = key.ordering_key();
        match lane.retried(key, retry, now, settings) {
            Progress::Waiting => (),
            Progress::Empty => {
                tracing::info!(ordering_key, "every waiting event of the key is published");
                self.lanes.remove(key);
                self.changes.unparked.push(key.clone());
            }
            Progress::GaveUp(given_up) => {
                tracing::error!(ordering_key, event_id = %given_up.event_id,
                    reason = given_up.reason, "an event is given up: a dead letter");
                self.changes.given_up.push(given_up);
            }
            Progress::Stuck => {
                tracing::error!(
                    ordering_key,
                    position = lane.parked.from.position,
                    attempts = lane.parked.attempts,
                    reason = lane.parked.reason,
                    "an audit event cannot be published; its ordering key waits for a person"
                );
            }
        }
    }
}
