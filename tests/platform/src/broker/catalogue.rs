//! Every topic and subscription of the broker, and the way of a message from one to the other.

mod resources;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{self as pubsub, PubsubMessage};
use prost::Message as _;
use tokio::{sync::Notify, time::Instant};
use tonic::Status;

use super::{
    names,
    subscription::{
        DeadLetter, Delivery, Published, Subscription,
        consumers::{Consumer, ConsumerId, Window},
    },
};

/// What all subscriptions keep together, a message counted once for each.
const CAPACITY: Capacity = Capacity { messages_max: 1_000_000, bytes_max: 1 << 30 };

/// How much the broker keeps before it refuses to take more.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    messages_max: usize,
    bytes_max: u64,
}

/// The broker's whole state.
#[derive(Debug)]
pub struct Catalogue {
    topics: BTreeMap<String, Topic>,
    subscriptions: BTreeMap<String, Attached>,
    sequence_last: u64,
    consumer_last: u64,
    capacity: Capacity,
    started: Instant,
    started_at: SystemTime,
    /// When the timekeeper calls next.
    due: Option<Instant>,
    is_rescheduled: bool,
}

#[derive(Debug)]
struct Topic {
    resource: pubsub::Topic,
    subscriptions: BTreeSet<String>,
}

#[derive(Debug)]
struct Attached {
    resource: pubsub::Subscription,
    messages: Subscription,
}

impl Catalogue {
    /// An empty catalogue, at a moment on both clocks. Message ids continue from the wall time in
    /// microseconds, so that they differ from those of a broker that ran here before.
    pub fn new(started: Instant, started_at: SystemTime) -> Self {
        Self {
            topics: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            sequence_last: micros(started_at),
            consumer_last: 0,
            capacity: CAPACITY,
            started,
            started_at,
            due: None,
            is_rescheduled: false,
        }
    }

    /// Hands messages to every subscription of a topic and returns their ids; all or nothing.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, or `RESOURCE_EXHAUSTED` when the broker is full.
    pub fn publish(
        &mut self,
        request: pubsub::PublishRequest,
        now: Instant,
    ) -> Result<Vec<String>, Status> {
        let topic = self.topics.get(&request.topic).ok_or_else(|| not_found(&request.topic))?;
        names::check_publish(&request)?;
        self.check_capacity(&request, topic.subscriptions.len())?;
        let mut ids = Vec::with_capacity(request.messages.len());
        for message in request.messages {
            ids.push(self.enqueue(&request.topic, message, now));
        }
        self.settle(self.subscriptions_of(&request.topic), now);
        Ok(ids)
    }

    /// Lets a new consumer share a subscription's messages; `wake` tells it to collect.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn join(
        &mut self,
        name: &str,
        window: Window,
        ack_deadline: Option<tokio::time::Duration>,
        now: Instant,
    ) -> Result<(ConsumerId, Arc<Notify>), Status> {
        self.consumer_last += 1;
        let id = ConsumerId(self.consumer_last);
        let wake = Arc::new(Notify::new());
        let consumer = Consumer::new(window, ack_deadline, Arc::clone(&wake));
        self.change(name, now, |messages| messages.join(id, consumer))?;
        Ok((id, wake))
    }

    /// Takes a consumer's assigned messages, which may make room for more.
    ///
    /// # Errors
    /// `NOT_FOUND` once the subscription is deleted.
    pub fn collect(
        &mut self,
        name: &str,
        consumer: ConsumerId,
        bytes_max: u64,
        now: Instant,
    ) -> Result<Vec<Delivery>, Status> {
        self.change(name, now, |messages| messages.collect(consumer, bytes_max))
    }

    /// Applies `operate` to a subscription's messages, then does what follows from it.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn change<R>(
        &mut self,
        name: &str,
        now: Instant,
        operate: impl FnOnce(&mut Subscription) -> R,
    ) -> Result<R, Status> {
        let attached = self.subscriptions.get_mut(name).ok_or_else(|| not_found(name))?;
        let result = operate(&mut attached.messages);
        self.settle(vec![name.to_owned()], now);
        Ok(result)
    }

    /// Does what is due in every subscription and returns when to call again.
    pub fn advance_due(&mut self, now: Instant) -> Option<Instant> {
        let is_due =
            |attached: &Attached| attached.messages.next_wake().is_some_and(|wake| wake <= now);
        let due = self.subscriptions.iter().filter(|(_, attached)| is_due(attached));
        let names = due.map(|(name, _)| name.clone()).collect();
        self.settle(names, now);
        let wakes = self.subscriptions.values().filter_map(|it| it.messages.next_wake());
        self.due = wakes.min();
        self.is_rescheduled = false;
        self.due
    }

    /// Whether something became due earlier than the timekeeper knows; asking resets it.
    pub fn is_rescheduled(&mut self) -> bool {
        std::mem::take(&mut self.is_rescheduled)
    }

    /// Advances subscriptions, and those that dead letters reach from them.
    fn settle(&mut self, mut names: Vec<String>, now: Instant) {
        while let Some(name) = names.pop() {
            let Some(attached) = self.subscriptions.get_mut(&name) else { continue };
            let dead = attached.messages.advance(now);
            if let Some(wake) = attached.messages.next_wake()
                && self.due.is_none_or(|due| wake < due)
            {
                self.due = Some(wake);
                self.is_rescheduled = true;
            }
            for letter in dead {
                names.extend(self.subscriptions_of(&letter.topic));
                self.forward(&name, &letter, now);
            }
        }
    }

    /// Publishes a message on its dead-letter topic, saying where it comes from as Google does.
    fn forward(&mut self, subscription: &str, letter: &DeadLetter, now: Instant) {
        let mut message = letter.message.message.clone();
        let published_at = message.publish_time.unwrap_or_default();
        let id = subscription.rsplit('/').next().unwrap_or_default();
        let project = names::project(subscription);
        let attributes = [
            ("CloudPubSubDeadLetterSourceDeliveryCount", letter.attempts.to_string()),
            ("CloudPubSubDeadLetterSourceSubscription", id.to_owned()),
            ("CloudPubSubDeadLetterSourceSubscriptionProject", project.to_owned()),
            ("CloudPubSubDeadLetterSourceTopicPublishTime", published_at.to_string()),
        ];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value));
        message.attributes.extend(attributes);
        self.enqueue(&letter.topic, message, now);
    }

    fn enqueue(&mut self, topic: &str, mut message: PubsubMessage, now: Instant) -> String {
        self.sequence_last += 1;
        let id = self.sequence_last.to_string();
        message.message_id.clone_from(&id);
        message.publish_time = Some(self.wall_time(now).into());
        let size_bytes = message.encoded_len() as u64;
        let published = Published { sequence: self.sequence_last, message, size_bytes };
        let published = Arc::new(published);
        for name in self.topics.get(topic).map(|topic| &topic.subscriptions).into_iter().flatten() {
            if let Some(attached) = self.subscriptions.get_mut(name) {
                attached.messages.enqueue(Arc::clone(&published));
            }
        }
        id
    }

    fn check_capacity(
        &self,
        request: &pubsub::PublishRequest,
        copies: usize,
    ) -> Result<(), Status> {
        let kept = self.subscriptions.values().map(|attached| &attached.messages);
        let (count, size_bytes) = kept.fold((0, 0), |(count, size_bytes), messages| {
            (count + messages.message_count(), size_bytes + messages.size_bytes())
        });
        let more = copies * request.messages.len();
        let more_bytes = (copies * request.encoded_len()) as u64;
        let Capacity { messages_max, bytes_max } = self.capacity;
        let is_over = count + more > messages_max || size_bytes + more_bytes > bytes_max;
        if copies > 0 && is_over {
            return Err(Status::resource_exhausted(
                "the embedded broker is full; acknowledge messages or delete a subscription",
            ));
        }
        Ok(())
    }

    fn wall_time(&self, now: Instant) -> SystemTime {
        self.started_at + now.duration_since(self.started)
    }

    fn subscriptions_of(&self, topic: &str) -> Vec<String> {
        let topic = self.topics.get(topic);
        topic.map(|topic| topic.subscriptions.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Microseconds since the epoch; 0 before it.
fn micros(time: SystemTime) -> u64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX / 2)
}

fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={name})."))
}

fn already_exists(name: &str) -> Status {
    Status::already_exists(format!("Resource already exists in the project (resource={name})."))
}

#[cfg(test)]
mod tests;
