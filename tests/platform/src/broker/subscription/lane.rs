//! The messages of one ordering key, in publish order.

use std::collections::VecDeque;

use super::consumers::ConsumerId;

/// Messages of one key: first those out with a consumer (or acknowledged out of turn), then those
/// that wait.
#[derive(Debug, Default)]
pub struct Lane {
    /// Sequences, growing.
    queue: VecDeque<u64>,
    /// How many at the front have been delivered.
    delivered: usize,
    holder: Option<ConsumerId>,
}

/// What a redelivery takes back.
#[derive(Debug)]
pub struct Rewound {
    /// The message that would have gone out next.
    pub was_next: Option<u64>,
    /// Messages after the redelivered one that had been delivered.
    pub delivered_later: Vec<u64>,
}

impl Lane {
    /// Appends a message and says whether it is the next to deliver.
    pub fn push(&mut self, sequence: u64) -> bool {
        self.queue.push_back(sequence);
        self.queue.len() == self.delivered + 1
    }

    /// The consumer that has messages of this key out, and so gets the next ones.
    pub fn holder(&self) -> Option<ConsumerId> {
        self.holder
    }

    /// The oldest message kept.
    pub fn head(&self) -> Option<u64> {
        self.queue.front().copied()
    }

    /// Counts the next message as out with `consumer` and returns the one after it.
    pub fn deliver(&mut self, consumer: ConsumerId) -> Option<u64> {
        self.delivered += 1;
        self.holder = Some(consumer);
        self.next()
    }

    /// Takes out a delivered message.
    pub fn remove(&mut self, sequence: u64) {
        let index = self.index(sequence);
        self.queue.remove(index);
        self.set_delivered(self.delivered - 1);
    }

    /// Makes `sequence`, a delivered message, the next one to deliver.
    pub fn rewind(&mut self, sequence: u64) -> Rewound {
        let index = self.index(sequence);
        let was_next = self.next();
        let delivered_later = self.queue.range(index + 1..self.delivered).copied().collect();
        self.set_delivered(index);
        Rewound { was_next, delivered_later }
    }

    fn next(&self) -> Option<u64> {
        self.queue.get(self.delivered).copied()
    }

    /// The key is free for any consumer again once nothing of it is out.
    fn set_delivered(&mut self, delivered: usize) {
        self.delivered = delivered;
        if delivered == 0 {
            self.holder = None;
        }
    }

    fn index(&self, sequence: u64) -> usize {
        self.queue
            .binary_search(&sequence)
            .expect("a lane keeps each of its messages until trimmed")
    }
}
