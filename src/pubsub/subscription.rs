//! Taking messages from one subscription, each acknowledged by hand.

use std::collections::HashMap;

use bytes::Bytes;
use google_cloud_pubsub::{
    client::Subscriber,
    subscriber::{MessageStream, handler::Handler},
};

use super::PubsubError;

/// Messages that may be with us unacknowledged, before the broker holds back.
const OUTSTANDING_MAX: i64 = 1_024;
const OUTSTANDING_BYTES_MAX: i64 = 32 * 1024 * 1024;

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
    /// [`PubsubError::Subscription`] when it does not exist or may not be read; a broken connection is mended silently.
    pub async fn next(&mut self) -> Result<Option<Delivery>, PubsubError> {
        let next = self.stream.next().await.transpose().map_err(|source| {
            PubsubError::Subscription { subscription: self.name.clone(), source }
        })?;
        Ok(next.map(|(message, handler)| Delivery {
            message_id: message.message_id,
            attributes: message.attributes,
            data: message.data,
            handler,
        }))
    }
}

impl Delivery {
    /// Tells the broker that the message is dealt with. Best effort: a lost acknowledgment means another delivery.
    pub fn ack(self) {
        self.handler.ack();
    }

    /// Asks for the message again, after the subscription's backoff.
    pub fn nack(self) {
        self.handler.nack();
    }
}
