//! Publishing to one topic, in order per key.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::{client, error, model::Message};

/// A message on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// Messages of one key are delivered in the order of [`Publisher::publish`].
    pub ordering_key: String,
    pub attributes: HashMap<String, String>,
    /// At most 10 MB with the attributes.
    pub data: Bytes,
}

/// Why a message may not have been published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker said no, and will again: no such topic, not allowed, not acceptable.
    #[error("the broker refuses the message")]
    Refused(#[source] Arc<google_cloud_pubsub::Error>),
    /// No answer in time, after retries. It may have been published all the same.
    #[error("the broker does not answer")]
    Unavailable(#[source] Arc<google_cloud_pubsub::Error>),
    /// Not sent: an earlier message of the key failed, see [`Publisher::resume`].
    #[error("an earlier message of the ordering key failed")]
    Paused,
    #[error("the publisher has stopped")]
    Stopped,
}

/// Publishes to one topic. A failed message pauses its ordering key until [`Publisher::resume`].
#[derive(Clone, Debug)]
pub struct Publisher(client::Publisher);

impl Publisher {
    pub(super) fn new(client: client::Publisher) -> Self {
        Self(client)
    }

    /// Queues a message at once; the answer resolves when the broker has stored it.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub fn publish(
        &self,
        message: Outbound,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        let published = self.0.publish(
            Message::new()
                .set_ordering_key(message.ordering_key)
                .set_attributes(message.attributes)
                .set_data(message.data),
        );
        async move { published.await.map(drop).map_err(classify) }
    }

    /// Lets a key go on after a failure, when every answer of the key has come in.
    pub fn resume(&self, ordering_key: &str) {
        self.0.resume_publish(ordering_key);
    }
}

fn classify(failure: error::PublishError) -> PublishError {
    match failure {
        error::PublishError::Rpc(source) if is_refusal(&source) => PublishError::Refused(source),
        error::PublishError::Rpc(source) => PublishError::Unavailable(source),
        error::PublishError::OrderingKeyPaused => PublishError::Paused,
        _ => PublishError::Stopped,
    }
}

/// Codes that another try without a change on one of the two sides cannot cure.
fn is_refusal(source: &google_cloud_pubsub::Error) -> bool {
    source.status().is_some_and(|status| {
        matches!(
            status.code,
            Code::InvalidArgument
                | Code::NotFound
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
        )
    })
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    #[test]
    fn a_missing_topic_is_a_refusal_and_a_silent_broker_is_not() {
        let failure = |code| {
            let status = Status::default().set_code(code);
            classify(error::PublishError::Rpc(Arc::new(google_cloud_pubsub::Error::service(
                status,
            ))))
        };
        assert!(matches!(failure(Code::NotFound), PublishError::Refused(_)));
        assert!(matches!(failure(Code::Unavailable), PublishError::Unavailable(_)));
        assert!(matches!(failure(Code::ResourceExhausted), PublishError::Unavailable(_)));
    }
}
