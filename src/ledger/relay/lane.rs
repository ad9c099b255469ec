//! A key that the broker refuses, as the relay sees it: where it waits, up to where, and when it is
//! tried again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use events::Ledger;

use super::{
    Settings,
    failure::Failure,
    parked::{GivenUp, Parked},
    pending::{Key, Place},
    retry::Retry,
};

/// The waiting events of one key: from `parked.from` up to `covered_to`.
#[derive(Debug)]
pub(super) struct Lane {
    pub parked: Parked,
    /// The highest position of the key that the relay has read. Later events are not the lane's
    /// yet.
    pub covered_to: i64,
    /// Not yet stored as it is.
    pub is_dirty: bool,
    pub is_retrying: bool,
    /// One by one, until a run of events went well: so that a refusal falls on the event that
    /// caused it.
    pub is_single: bool,
}

/// What a lane is after a retry.
#[derive(Debug, PartialEq)]
pub(super) enum Progress {
    Waiting,
    /// Everything up to `covered_to` is published: the key is as any other again.
    Empty,
    /// The event was given up and the lane goes on after it.
    GaveUp(GivenUp),
    /// Tried often enough that a person has to look at it. It is still tried.
    Stuck,
}

impl Lane {
    /// A key that has just failed at `from`.
    pub(super) fn new(
        from: Place,
        failure: &Failure,
        now: DateTime<Utc>,
        settings: &Settings,
    ) -> Self {
        let covered_to = from.position;
        let parked = Parked {
            from,
            attempts: i32::from(matches!(failure, Failure::Refused(_))),
            reason: failure.reason().to_owned(),
            since: now,
            next_try: now + delta(settings.retry_min),
        };
        Self { parked, covered_to, is_dirty: true, is_retrying: false, is_single: true }
    }

    /// A key that was parked by an earlier relay, which had read up to `cursor`.
    pub(super) fn resumed(parked: Parked, cursor: i64) -> Self {
        Self { parked, covered_to: cursor, is_dirty: false, is_retrying: false, is_single: true }
    }

    /// Takes over a later event of the key; or an earlier one, which makes the lane begin there.
    pub(super) fn cover(&mut self, place: &Place) {
        self.covered_to = self.covered_to.max(place.position);
        if place.position < self.parked.from.position {
            self.parked.from = place.clone();
            self.parked.attempts = 0;
            self.is_dirty = true;
        }
    }

    /// Takes over an event that failed while the key was still on its way.
    pub(super) fn cover_failed(&mut self, place: &Place, failure: &Failure) {
        self.cover(place);
        if let Failure::Refused(reason) = failure
            && *place == self.parked.from
        {
            self.parked.attempts = 1;
            self.parked.reason.clone_from(reason);
            self.is_dirty = true;
        }
    }

    pub(super) fn is_due(&self, now: DateTime<Utc>) -> bool {
        !self.is_retrying && self.parked.next_try <= now
    }

    /// An operator wants it tried now.
    pub(super) fn request(&mut self, now: DateTime<Utc>) {
        self.parked.next_try = now;
        self.parked.attempts = 0;
        self.is_dirty = true;
    }

    /// Records what a retry achieved.
    pub(super) fn retried(
        &mut self,
        key: &Key,
        retry: Retry,
        now: DateTime<Utc>,
        settings: &Settings,
    ) -> Progress {
        self.is_retrying = false;
        self.is_dirty = true;
        if retry.from != self.parked.from {
            self.parked.attempts = 0;
        }
        self.parked.from = retry.from;
        let Some((event_id, failure)) = retry.failed else {
            self.is_single = false;
            self.parked.next_try = now;
            let is_empty = retry.is_complete && self.covered_to <= retry.read_to;
            return if is_empty { Progress::Empty } else { Progress::Waiting };
        };
        self.is_single = true;
        failure.reason().clone_into(&mut self.parked.reason);
        // A broker that does not answer says nothing against the event.
        if matches!(failure, Failure::Refused(_)) {
            self.parked.attempts = self.parked.attempts.saturating_add(1);
        }
        self.parked.next_try = now + delta(backoff(settings, self.parked.attempts));
        if self.parked.attempts < settings.attempts_max {
            return Progress::Waiting;
        }
        match event_id {
            Some(event_id) if key.ledger == Ledger::Activity => {
                let (key, place) = (key.clone(), self.parked.from.clone());
                let reason = self.parked.reason.clone();
                self.parked.from = place.next();
                self.parked.attempts = 0;
                self.parked.next_try = now;
                Progress::GaveUp(GivenUp { key, place, event_id, reason, at: now })
            }
            _ => Progress::Stuck,
        }
    }
}

/// Doubles with every refusal, up to the longest wait. Lanes are few: no jitter is needed to spread
/// them.
fn backoff(settings: &Settings, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 20) - 1).unwrap_or_default();
    settings.retry_min.saturating_mul(1 << doublings).min(settings.retry_max)
}

fn delta(wait: Duration) -> TimeDelta {
    TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: i64) -> Place {
        Place { period: "2026".to_owned(), ledger_index: position - 1, position }
    }

    fn key(ledger: Ledger) -> Key {
        Key { tenant_id: events::TenantId::system(), ledger }
    }

    fn refused() -> Failure {
        Failure::Refused("no such topic".to_owned())
    }

    fn failed_at(position: i64) -> Retry {
        let event_id = events::EventId::new(ulid::Ulid::nil());
        Retry {
            from: place(position),
            read_to: position,
            is_complete: false,
            failed: Some((Some(event_id), refused())),
        }
    }

    #[test]
    fn an_earlier_failure_moves_the_lane_back() {
        let settings = Settings::default();
        let mut lane = Lane::new(place(7), &Failure::Paused, DateTime::UNIX_EPOCH, &settings);
        lane.cover_failed(&place(5), &refused());
        lane.cover(&place(9));
        assert_eq!((lane.parked.from.position, lane.covered_to), (5, 9));
        assert_eq!((lane.parked.attempts, lane.parked.reason.as_str()), (1, "no such topic"));
    }

    #[test]
    fn only_activity_is_given_up() {
        let settings = Settings { attempts_max: 2, ..Settings::default() };
        let now = DateTime::UNIX_EPOCH;
        let mut lane = Lane::new(place(5), &refused(), now, &settings);
        let gave_up = lane.retried(&key(Ledger::Activity), failed_at(5), now, &settings);
        assert!(matches!(gave_up, Progress::GaveUp(given_up) if given_up.place == place(5)));
        assert_eq!((lane.parked.from.position, lane.parked.attempts), (6, 0));

        let mut lane = Lane::new(place(5), &refused(), now, &settings);
        let stuck = lane.retried(&key(Ledger::LockAudit), failed_at(5), now, &settings);
        assert_eq!((stuck, lane.parked.from.position), (Progress::Stuck, 5));
    }

    #[test]
    fn a_silent_broker_never_costs_an_event() {
        let settings = Settings { attempts_max: 1, ..Settings::default() };
        let now = DateTime::UNIX_EPOCH;
        let silence = Failure::Unavailable("silence".to_owned());
        let mut lane = Lane::new(place(5), &silence, now, &settings);
        for _ in 0..5 {
            let mut retry = failed_at(5);
            retry.failed = retry.failed.map(|(event_id, _)| (event_id, silence.clone()));
            let progress = lane.retried(&key(Ledger::Activity), retry, now, &settings);
            assert_eq!(progress, Progress::Waiting);
        }
    }

    #[test]
    fn a_lane_is_empty_only_when_nothing_came_in_meanwhile() {
        let settings = Settings::default();
        let now = DateTime::UNIX_EPOCH;
        let delivered = || Retry { from: place(6), read_to: 5, is_complete: true, failed: None };
        let mut lane = Lane::new(place(5), &refused(), now, &settings);
        lane.cover(&place(8));
        let key = key(Ledger::Session);
        assert_eq!(lane.retried(&key, delivered(), now, &settings), Progress::Waiting);

        let mut lane = Lane::new(place(5), &refused(), now, &settings);
        assert_eq!(lane.retried(&key, delivered(), now, &settings), Progress::Empty);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let settings = Settings::default();
        let seconds = |attempts| backoff(&settings, attempts).as_secs_f64();
        assert!((seconds(1) - 0.5).abs() < 1e-9);
        assert!((seconds(3) - 2.0).abs() < 1e-9);
        assert!((seconds(i32::MAX) - 60.0).abs() < 1e-9);
    }
}
