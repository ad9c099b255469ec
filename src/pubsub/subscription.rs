//! Taking messages from one subscription, each acknowledged by hand.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use google_cloud_pubsub::{
    client::Subscriber,
    subscriber::{MessageStream, ShutdownBehavior, handler::Handler},
};
use tokio::time::timeout;

use super::PubsubError;

/// Messages that may be with us unacknowledged, before the broker holds back.
const OUTSTANDING_MAX: i64 = 1_024;
const OUTSTANDING_BYTES_MAX: i64 = 32 * 1024 * 1024;
/// How long a message stays with a puller that has vanished: the client extends the lease of what
/// is at work, and the broker takes back
/// the rest after this. Google's emulator hands messages even to a stream that has ended, which
/// costs them this long.
const LEASE_EXTENSION: Duration = Duration::from_secs(10);
/// How long the end of a pull may take; the whole service has 8 s.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running pull of one subscription. Dropping it gives back what was not acknowledged.
#[derive(Debug)]
pub struct Subscription {
    name: String,
    stream: MessageStream,
}

/// A message of another service. Neither acknowledged nor refused, it comes again.
#[derive(Debug)]
pub struct Delivery {
    pub message_id: String,
    /// When Pub/Sub took it from its publisher; `None` where the broker does not say.
    pub published_at: Option<DateTime<Utc>>,
    pub attributes: HashMap<String, String>,
    pub data: Bytes,
    handler: Handler,
}

impl Subscription {
    pub(super) fn new(name: &str, subscriber: &Subscriber, path: &str) -> Self {
        let stream = subscriber
            .subscribe(path)
            .set_max_outstanding_messages(OUTSTANDING_MAX)
            .set_max_outstanding_bytes(OUTSTANDING_BYTES_MAX)
            .set_max_lease_extension(LEASE_EXTENSION)
            .set_shutdown_behavior(ShutdownBehavior::NackImmediately)
            .build();
        Self { name: name.to_owned(), stream }
    }

    /// The subscription's short name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next message; `None` when the pull has ended. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`PubsubError::Subscription`] when it does not exist or may not be read; a broken connection
    /// is mended silently.
    pub async fn next(&mut self) -> Result<Option<Delivery>, PubsubError> {
        let next = self.stream.next().await.transpose().map_err(|source| {
            PubsubError::Subscription { subscription: self.name.clone(), source }
        })?;
        Ok(next.map(|(message, handler)| Delivery {
            message_id: message.message_id,
            published_at: message.publish_time.and_then(|time| {
                DateTime::from_timestamp(time.seconds(), u32::try_from(time.nanos()).ok()?)
            }),
            attributes: message.attributes,
            data: message.data,
            handler,
        }))
    }
}

impl Subscription {
    /// Ends the pull: sends the acknowledgments that are given and gives everything else back.
    /// Waits [`CLOSE_TIMEOUT`] at most; what
    /// is not sent by then comes again.
    pub async fn close(self) {
        if timeout(CLOSE_TIMEOUT, self.stream.shutdown_token().shutdown()).await.is_err() {
            tracing::warn!(
                subscription = self.name,
                "acknowledgments are not sent in time and messages will come again"
            );
        }
    }
}

impl Delivery {
    /// Tells the broker that the message is dealt with. Best effort: a lost acknowledgment means
    /// another delivery.
    pub fn ack(self) {
        self.handler.ack();
    }

    /// Asks for the message again, after the subscription's backoff.
    pub fn nack(self) {
        self.handler.nack();
    }
}
