//! What becomes of messages that went out and came back: redelivery, order, dead letters.

use tokio::time::Instant;

use super::{DeadLetter, LeaseId, State, Subscription};

impl Subscription {
    /// Counts a nack or an expired lease against its message.
    pub(super) fn fail(&mut self, lease: LeaseId, now: Instant) {
        let Some(sequence) = self.end_lease(lease) else { return };
        let entry = self.entry(sequence);
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        match &self.settings.dead_letter {
            Some(rule) if failures >= rule.attempts_max => {
                let topic = rule.topic.clone();
                self.bury(sequence, topic);
            }
            _ => {
                let until = self.settings.backoff.map(|backoff| now + backoff.after(failures));
                self.redeliver(sequence, until);
            }
        }
    }

    fn bury(&mut self, sequence: u64, topic: String) {
        let key = self.key(sequence);
        let entry = self.remove(sequence);
        self.dead.push(DeadLetter { topic, message: entry.message, attempts: entry.failures });
        if let Some(key) = key {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.remove(sequence);
            }
            self.trim(&key);
        }
    }

    /// Makes a message deliverable again, and with it every later one of its ordering key, the
    /// acknowledged ones too: that is Pub/Sub's promise of order.
    pub(super) fn redeliver(&mut self, sequence: u64, until: Option<Instant>) {
        let lane = self.key(sequence).and_then(|key| self.lanes.get_mut(&key));
        if let Some(lane) = lane {
            let rewound = lane.rewind(sequence);
            if let Some(next) = rewound.was_next {
                self.hold_back(next);
            }
            for later in rewound.delivered_later {
                if let State::Leased(lease) = self.entry(later).state {
                    self.end_lease(lease);
                }
                self.entry(later).state = State::Waiting;
            }
        }
        if let Some(until) = until {
            self.entry(sequence).state = State::Delayed(until);
            self.delayed.insert((until, sequence));
        } else {
            self.entry(sequence).state = State::Waiting;
            self.ready.insert(sequence);
        }
    }

    fn hold_back(&mut self, sequence: u64) {
        self.ready.remove(&sequence);
        if let State::Delayed(until) = self.entry(sequence).state {
            self.delayed.remove(&(until, sequence));
            self.entry(sequence).state = State::Waiting;
        }
    }

    /// Drops the acknowledged messages at the head of a lane, and the lane when it is empty.
    pub(super) fn trim(&mut self, key: &str) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        while let Some(head) = lane.head()
            && self.entries.get(&head).is_some_and(|entry| entry.state == State::Acknowledged)
        {
            lane.remove(head);
            if let Some(entry) = self.entries.remove(&head) {
                self.size_bytes -= entry.message.size_bytes;
            }
        }
        if lane.head().is_none() {
            self.lanes.remove(key);
        }
    }
}
