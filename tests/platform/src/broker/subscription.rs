//! One subscription's messages: which wait, who holds which under a lease, and in what order they
//! go out. Plain state: every method takes the time, nothing waits and nothing is sent.

pub mod consumers;
mod lane;
mod redelivery;
pub mod settings;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use tokio::time::{Duration, Instant};

use self::{
    consumers::{Consumer, ConsumerId, Consumers},
    lane::Lane,
    settings::Settings,
};

/// A message as its topic accepted it, shared by all subscriptions of the topic.
#[derive(Debug)]
pub struct Published {
    /// Number of `message.message_id`; grows over the whole broker, so it is the publish order.
    pub sequence: u64,
    pub message: PubsubMessage,
    /// Encoded size, which flow control and the broker's bound count.
    pub size_bytes: u64,
}

/// Names one delivery of one message; never used twice by a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// A message on its way to the consumer that holds its lease.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub lease: LeaseId,
    pub message: Arc<Published>,
    /// One more than the message's nacks and expired leases; 0 without a dead-letter policy.
    pub attempt: i32,
}

/// A message that used up its delivery attempts and belongs on the dead-letter topic.
#[derive(Debug)]
pub struct DeadLetter {
    pub topic: String,
    pub message: Arc<Published>,
    pub attempts: i32,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Published>,
    /// Nacks and expired leases so far.
    failures: i32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Backing off after a failure, until then.
    Delayed(Instant),
    Leased(LeaseId),
    /// Acknowledged, and kept because an earlier message of its ordering key is not.
    Acknowledged,
}

#[derive(Debug)]
struct Lease {
    sequence: u64,
    consumer: ConsumerId,
    deadline: Instant,
}

/// The messages of one subscription and the consumers that share them.
#[derive(Debug)]
pub struct Subscription {
    settings: Settings,
    entries: BTreeMap<u64, Entry>,
    lanes: HashMap<String, Lane>,
    /// Deliverable now: unordered messages, and of each lane the first undelivered one.
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Instant, u64)>,
    leases: HashMap<LeaseId, Lease>,
    expiries: BTreeSet<(Instant, LeaseId)>,
    consumers: Consumers,
    lease_last: u64,
    dead: Vec<DeadLetter>,
    size_bytes: u64,
}

impl Subscription {
    /// An empty subscription whose leases are numbered from `lease_base` up.
    ///
    /// A base that grows from one life of a name to the next keeps an old acknowledgement from
    /// meeting a newer message.
    pub fn new(settings: Settings, lease_base: u64) -> Self {
        Self {
            settings,
            entries: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leases: HashMap::new(),
            expiries: BTreeSet::new(),
            consumers: Consumers::default(),
            lease_last: lease_base,
            dead: Vec::new(),
            size_bytes: 0,
        }
    }

    /// Replaces deadlines and policies; the order guarantee stays as it was created.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = Settings { is_ordered: self.settings.is_ordered, ..settings };
    }

    /// Messages kept: unacknowledged ones and those held back for the order of their key.
    pub fn message_count(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the messages kept.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Takes a message published after all those taken before.
    pub fn enqueue(&mut self, message: Arc<Published>) {
        let sequence = message.sequence;
        self.size_bytes += message.size_bytes;
        let is_next = match self.settings.key_of(&message) {
            None => true,
            Some(key) => self.lanes.entry(key.to_owned()).or_default().push(sequence),
        };
        self.entries.insert(sequence, Entry { message, failures: 0, state: State::Waiting });
        if is_next {
            self.ready.insert(sequence);
        }
    }

    /// Lets a consumer share the messages from now on.
    pub fn join(&mut self, id: ConsumerId, consumer: Consumer) {
        self.consumers.join(id, consumer);
    }

    /// Changes the ack deadline of the leases a consumer gets from now on.
    pub fn set_ack_deadline(&mut self, id: ConsumerId, ack_deadline: Duration) {
        self.consumers.set_ack_deadline(id, ack_deadline);
    }

    /// Forgets a consumer: what it has not collected goes back at once and is no failed attempt,
    /// what it has collected stays leased until its deadline.
    pub fn leave(&mut self, id: ConsumerId) {
        // The last first, so that each give-back of an ordered lane has nothing after it.
        for delivery in self.consumers.leave(id).into_iter().rev() {
            if let Some(sequence) = self.end_lease(delivery.lease) {
                self.redeliver(sequence, None);
            }
        }
    }

    /// Hands out what was assigned to a consumer, oldest first, up to about `bytes_max` but at
    /// least one message.
    pub fn collect(&mut self, id: ConsumerId, bytes_max: u64) -> Vec<Delivery> {
        self.consumers.collect(id, bytes_max, |lease| self.leases.contains_key(&lease))
    }

    /// Ends a lease for good. An expired, superseded or repeated one changes nothing.
    pub fn acknowledge(&mut self, lease: LeaseId) {
        let Some(sequence) = self.end_lease(lease) else { return };
        let Some(key) = self.key(sequence) else {
            self.remove(sequence);
            return;
        };
        self.entry(sequence).state = State::Acknowledged;
        self.trim(&key);
    }

    /// Moves a lease's deadline to `now + ack_deadline`; zero is a nack. An expired lease stays so.
    pub fn modify_ack_deadline(&mut self, id: LeaseId, ack_deadline: Duration, now: Instant) {
        if ack_deadline.is_zero() {
            self.fail(id, now);
        } else if let Some(lease) = self.leases.get_mut(&id) {
            self.expiries.remove(&(lease.deadline, id));
            lease.deadline = now + ack_deadline;
            self.expiries.insert((lease.deadline, id));
        }
    }

    /// Does what is due at `now` (expired leases, ended backoffs), assigns messages to consumers
    /// with room, and returns the messages that ran out of attempts. Call it after every change.
    pub fn advance(&mut self, now: Instant) -> Vec<DeadLetter> {
        while let Some(&(deadline, lease)) = self.expiries.first()
            && deadline <= now
        {
            self.fail(lease, now);
        }
        while let Some(&(until, sequence)) = self.delayed.first()
            && until <= now
        {
            self.delayed.pop_first();
            self.entry(sequence).state = State::Waiting;
            self.ready.insert(sequence);
        }
        self.assign(now);
        std::mem::take(&mut self.dead)
    }

    /// When [`Self::advance`] next has something to do by itself.
    pub fn next_wake(&self) -> Option<Instant> {
        let expiry = self.expiries.first().map(|(deadline, _)| *deadline);
        let resumption = self.delayed.first().map(|(until, _)| *until);
        expiry.into_iter().chain(resumption).min()
    }

    /// Wakes every consumer, so that it finds out that the subscription was deleted.
    pub fn wake_all(&self) {
        self.consumers.wake_all();
    }

    fn assign(&mut self, now: Instant) {
        let mut from = 0;
        while self.consumers.have_room() {
            let Some(&sequence) = self.ready.range(from..).next() else { return };
            from = sequence + 1;
            let key = self.key(sequence);
            let holder = key.as_ref().and_then(|key| self.lanes.get(key)).and_then(Lane::holder);
            let consumer = match (&key, holder) {
                (_, Some(holder)) => self.consumers.with_room(holder),
                (Some(key), None) => self.consumers.preferred(key),
                (None, None) => self.consumers.next_in_turn(),
            };
            if let Some(consumer) = consumer {
                self.lease(sequence, key.as_deref(), consumer, now);
            }
        }
    }

    fn lease(&mut self, sequence: u64, key: Option<&str>, consumer: ConsumerId, now: Instant) {
        self.ready.remove(&sequence);
        self.lease_last += 1;
        let lease = LeaseId(self.lease_last);
        let counts_attempts = self.settings.counts_attempts;
        let entry = self.entry(sequence);
        entry.state = State::Leased(lease);
        let attempt = if counts_attempts { entry.failures.saturating_add(1) } else { 0 };
        let delivery = Delivery { lease, message: Arc::clone(&entry.message), attempt };
        let ack_deadline = self.consumers.assign(consumer, delivery);
        let deadline = now + ack_deadline.unwrap_or(self.settings.ack_deadline);
        self.leases.insert(lease, Lease { sequence, consumer, deadline });
        self.expiries.insert((deadline, lease));
        if let Some(lane) = key.and_then(|key| self.lanes.get_mut(key)) {
            self.ready.extend(lane.deliver(consumer));
        }
    }

    fn end_lease(&mut self, id: LeaseId) -> Option<u64> {
        let lease = self.leases.remove(&id)?;
        self.expiries.remove(&(lease.deadline, id));
        let size_bytes = self.entry(lease.sequence).message.size_bytes;
        self.consumers.release(lease.consumer, size_bytes);
        Some(lease.sequence)
    }

    fn remove(&mut self, sequence: u64) -> Entry {
        let entry = self.entries.remove(&sequence).expect("a message is removed once");
        self.size_bytes -= entry.message.size_bytes;
        entry
    }

    fn entry(&mut self, sequence: u64) -> &mut Entry {
        self.entries.get_mut(&sequence).expect("leases and lanes name only messages that are kept")
    }

    fn key(&self, sequence: u64) -> Option<String> {
        let entry = self.entries.get(&sequence)?;
        self.settings.key_of(&entry.message).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;
