//! The consumers of one subscription: their flow control, and which of them gets a message.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
    sync::Arc,
};

use tokio::{sync::Notify, time::Duration};

use super::{Delivery, LeaseId};

/// Messages assigned to a consumer that it has not collected; bounds what a slow reader piles up.
const ASSIGNED_MAX: usize = 1_000;

/// Names a stream, or one pull, for as long as the broker lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// How much a consumer holds at once: leases that are neither ended nor expired.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub messages_max: u64,
    /// A message is handed out while less than this is held, so one large message always passes.
    pub bytes_max: u64,
}

/// One stream or one pull.
#[derive(Debug)]
pub struct Consumer {
    window: Window,
    /// In place of the subscription's.
    ack_deadline: Option<Duration>,
    wake: Arc<Notify>,
    outstanding_messages: u64,
    outstanding_bytes: u64,
    assigned: VecDeque<Delivery>,
}

impl Consumer {
    /// A consumer that holds nothing; `wake` is notified when it has something to collect.
    pub fn new(window: Window, ack_deadline: Option<Duration>, wake: Arc<Notify>) -> Self {
        Self {
            window,
            ack_deadline,
            wake,
            outstanding_messages: 0,
            outstanding_bytes: 0,
            assigned: VecDeque::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.outstanding_messages < self.window.messages_max
            && self.outstanding_bytes < self.window.bytes_max
            && self.assigned.len() < ASSIGNED_MAX
    }
}

/// All consumers of a subscription.
#[derive(Debug, Default)]
pub struct Consumers {
    by_id: BTreeMap<ConsumerId, Consumer>,
    /// Who got the last unordered message.
    last: ConsumerId,
}

impl Consumers {
    pub fn join(&mut self, id: ConsumerId, consumer: Consumer) {
        self.by_id.insert(id, consumer);
    }

    /// Removes a consumer and returns what it has not collected, oldest first.
    pub fn leave(&mut self, id: ConsumerId) -> VecDeque<Delivery> {
        self.by_id.remove(&id).map(|consumer| consumer.assigned).unwrap_or_default()
    }

    pub fn set_ack_deadline(&mut self, id: ConsumerId, ack_deadline: Duration) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.ack_deadline = Some(ack_deadline);
        }
    }

    /// Whether any consumer can take a message.
    pub fn have_room(&self) -> bool {
        self.by_id.values().any(Consumer::has_room)
    }

    /// This consumer, if it is here and can take a message.
    pub fn with_room(&self, id: ConsumerId) -> Option<ConsumerId> {
        self.by_id.get(&id).filter(|consumer| consumer.has_room()).map(|_| id)
    }

    /// The consumer an ordering key belongs with: the same one as long as it is here and has room,
    /// another for other keys (highest random weight, so that nothing is remembered per key).
    pub fn preferred(&self, key: &str) -> Option<ConsumerId> {
        self.ids_with_room().max_by_key(|id| {
            let mut hasher = DefaultHasher::new();
            (key, id).hash(&mut hasher);
            hasher.finish()
        })
    }

    /// The next consumer after the last one that can take a message, round and round.
    pub fn next_in_turn(&mut self) -> Option<ConsumerId> {
        let after = (Bound::Excluded(self.last), Bound::Unbounded);
        let mut later = self.by_id.range(after).filter(|(_, consumer)| consumer.has_room());
        let next = later.next().map(|(id, _)| *id).or_else(|| self.ids_with_room().next())?;
        self.last = next;
        Some(next)
    }

    /// Gives a message to a consumer and returns the ack deadline it asked for.
    pub fn assign(&mut self, id: ConsumerId, delivery: Delivery) -> Option<Duration> {
        let consumer = self.by_id.get_mut(&id)?;
        consumer.outstanding_messages += 1;
        consumer.outstanding_bytes += delivery.message.size_bytes;
        consumer.assigned.push_back(delivery);
        consumer.wake.notify_one();
        consumer.ack_deadline
    }

    /// Gives a consumer the room of an ended lease back.
    pub fn release(&mut self, id: ConsumerId, size_bytes: u64) {
        if let Some(consumer) = self.by_id.get_mut(&id) {
            consumer.outstanding_messages -= 1;
            consumer.outstanding_bytes -= size_bytes;
        }
    }

    /// Takes assigned deliveries whose lease still `is_live`, oldest first.
    pub fn collect(
        &mut self,
        id: ConsumerId,
        bytes_max: u64,
        is_live: impl Fn(LeaseId) -> bool,
    ) -> Vec<Delivery> {
        let Some(consumer) = self.by_id.get_mut(&id) else { return Vec::new() };
        let mut collected = Vec::new();
        let mut size_bytes = 0;
        while size_bytes < bytes_max
            && let Some(delivery) = consumer.assigned.pop_front()
        {
            if is_live(delivery.lease) {
                size_bytes += delivery.message.size_bytes;
                collected.push(delivery);
            }
        }
        if !consumer.assigned.is_empty() {
            consumer.wake.notify_one();
        }
        collected
    }

    pub fn wake_all(&self) {
        for consumer in self.by_id.values() {
            consumer.wake.notify_one();
        }
    }

    fn ids_with_room(&self) -> impl Iterator<Item = ConsumerId> {
        self.by_id.iter().filter(|(_, consumer)| consumer.has_room()).map(|(id, _)| *id)
    }
}
