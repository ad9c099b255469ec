//! One stream's or pull's membership of a subscription, and `Pull`.

use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use tokio::{
    sync::Notify,
    time::{Duration, Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Server, ack_id};
use crate::broker::{
    Broker,
    subscription::consumers::{ConsumerId, Window},
};

/// How long a pull of an empty subscription waits before it answers with nothing.
const PULL_WAIT: Duration = Duration::from_secs(20);

/// Bytes of messages one pull answers with, unless a single one is larger.
const PULL_BYTES_MAX: u64 = 10_000_000;

/// A consumer of one subscription, from joining until it is dropped.
pub struct Membership {
    pub broker: Broker,
    pub subscription: String,
    pub consumer: ConsumerId,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
    stream_end: CancellationToken,
}

impl Membership {
    /// Joins a subscription.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn join(
        server: Server,
        subscription: String,
        window: Window,
        ack_deadline: Option<Duration>,
    ) -> Result<Self, Status> {
        let Server { broker, shutdown } = server;
        let stream_end = broker.stream_end();
        let (consumer, wake) = broker
            .with(|catalogue, now| catalogue.join(&subscription, window, ack_deadline, now))?;
        Ok(Self { broker, subscription, consumer, wake, shutdown, stream_end })
    }

    /// Takes what is assigned, possibly nothing.
    ///
    /// # Errors
    /// `NOT_FOUND` once the subscription is deleted.
    pub fn collect(&self, bytes_max: u64) -> Result<Vec<pubsub::ReceivedMessage>, Status> {
        let deliveries = self.broker.with(|catalogue, now| {
            catalogue.collect(&self.subscription, self.consumer, bytes_max, now)
        })?;
        let received = deliveries.into_iter().map(|delivery| pubsub::ReceivedMessage {
            ack_id: ack_id(delivery.lease),
            message: Some(delivery.message.message.clone()),
            delivery_attempt: delivery.attempt,
        });
        Ok(received.collect())
    }

    /// Waits until there may be something to collect.
    pub async fn assigned(&self) {
        self.wake.notified().await;
    }

    /// Waits until the broker ends its streams, and says why.
    pub async fn ended(&self) -> Status {
        tokio::select! {
            () = self.shutdown.cancelled() => Status::unavailable("the broker is shutting down"),
            () = self.stream_end.cancelled() => Status::unavailable("the stream was ended"),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let left = self.broker.with(|catalogue, now| {
            catalogue.change(&self.subscription, now, |messages| messages.leave(self.consumer))
        });
        // A deleted subscription has no consumers to forget.
        drop(left);
    }
}

/// Answers `Pull`: what there is, or what comes first within [`PULL_WAIT`].
pub async fn pull(
    server: Server,
    request: pubsub::PullRequest,
) -> Result<pubsub::PullResponse, Status> {
    let messages_max = u64::try_from(request.max_messages).unwrap_or(0);
    if messages_max == 0 {
        return Err(Status::invalid_argument("max_messages must be positive"));
    }
    #[expect(deprecated, reason = "clients still send it")]
    let wait = if request.return_immediately { Duration::ZERO } else { PULL_WAIT };
    let deadline = Instant::now() + wait;
    let window = Window { messages_max, bytes_max: PULL_BYTES_MAX };
    let membership = Membership::join(server, request.subscription, window, None)?;
    loop {
        let received_messages = membership.collect(PULL_BYTES_MAX)?;
        if !received_messages.is_empty() || Instant::now() >= deadline {
            return Ok(pubsub::PullResponse { received_messages });
        }
        tokio::select! {
            () = membership.assigned() => {}
            () = sleep_until(deadline) => {}
            status = membership.ended() => return Err(status),
        }
    }
}
