//! Brokers to test against, and what every test does with one.

use std::net::SocketAddr;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    self as pubsub, PubsubMessage, publisher_client::PublisherClient,
    subscriber_client::SubscriberClient,
};
use platform::broker::Broker;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Duration, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use ulid::Ulid;

/// By when a broker must have done what a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An embedded broker that serves until it is dropped or stopped.
pub struct Embedded {
    pub broker: Broker,
    pub address: SocketAddr,
    shutdown: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Embedded {
    pub async fn start() -> Self {
        Self::start_at(Broker::new(), "127.0.0.1:0".parse().unwrap()).await
    }

    pub async fn start_at(broker: Broker, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (served, stop) = (broker.clone(), shutdown.clone());
        tasks.spawn(async move { served.serve(listener, stop).await });
        Self { broker, address, shutdown, tasks }
    }

    pub async fn stop(mut self) -> Broker {
        self.shutdown.cancel();
        timeout(PATIENCE, self.tasks.join_next()).await.unwrap().unwrap().unwrap().unwrap();
        self.broker
    }
}

/// One broker under test and names that no other test uses.
pub struct Bench {
    pub url: String,
    pub topic: String,
    pub subscription: String,
    pub publisher: PublisherClient<Channel>,
    pub subscriber: SubscriberClient<Channel>,
    /// Kept so that the broker serves as long as the bench.
    embedded: Option<Embedded>,
}

impl Bench {
    pub async fn at(address: &str) -> Self {
        let url = format!("http://{address}");
        let channel = Endpoint::from_shared(url.clone()).unwrap().connect().await.unwrap();
        let project = format!("test-{}", Ulid::generate().to_string().to_lowercase());
        Self {
            url,
            topic: format!("projects/{project}/topics/orders"),
            subscription: format!("projects/{project}/subscriptions/orders"),
            publisher: PublisherClient::new(channel.clone()),
            subscriber: SubscriberClient::new(channel),
            embedded: None,
        }
    }

    /// With the topic and an ordered subscription already there.
    pub async fn ready_at(address: &str) -> Self {
        let mut bench = Self::at(address).await;
        bench.create_topic().await.unwrap();
        let subscription = bench.described();
        bench.create_subscription(subscription).await.unwrap();
        bench
    }

    pub fn described(&self) -> pubsub::Subscription {
        pubsub::Subscription {
            name: self.subscription.clone(),
            topic: self.topic.clone(),
            enable_message_ordering: true,
            ..pubsub::Subscription::default()
        }
    }

    pub async fn create_topic(&mut self) -> Result<pubsub::Topic, tonic::Status> {
        let topic = pubsub::Topic { name: self.topic.clone(), ..pubsub::Topic::default() };
        Ok(self.publisher.create_topic(topic).await?.into_inner())
    }

    pub async fn create_subscription(
        &mut self,
        subscription: pubsub::Subscription,
    ) -> Result<pubsub::Subscription, tonic::Status> {
        Ok(self.subscriber.create_subscription(subscription).await?.into_inner())
    }

    pub async fn publish(&mut self, messages: Vec<PubsubMessage>) -> Vec<String> {
        let request = pubsub::PublishRequest { topic: self.topic.clone(), messages };
        self.publisher.publish(request).await.unwrap().into_inner().message_ids
    }

    /// What one pull answers at once, possibly nothing.
    pub async fn pull_now(&mut self) -> Vec<pubsub::ReceivedMessage> {
        #[expect(deprecated, reason = "the only way to see that nothing is there")]
        let request = pubsub::PullRequest {
            subscription: self.subscription.clone(),
            return_immediately: true,
            max_messages: 1_000,
        };
        self.subscriber.pull(request).await.unwrap().into_inner().received_messages
    }

    /// Pulls until `wanted` messages have come, acknowledging nothing.
    pub async fn pull(&mut self, wanted: usize) -> Vec<pubsub::ReceivedMessage> {
        self.pull_each(wanted, false).await
    }

    /// Pulls until `wanted` messages have come, acknowledging each batch before the next.
    pub async fn pull_and_acknowledge(&mut self, wanted: usize) -> Vec<pubsub::ReceivedMessage> {
        self.pull_each(wanted, true).await
    }

    async fn pull_each(
        &mut self,
        wanted: usize,
        acknowledges: bool,
    ) -> Vec<pubsub::ReceivedMessage> {
        let mut received = Vec::new();
        while received.len() < wanted {
            let missing = i32::try_from(wanted - received.len()).unwrap();
            let subscription = self.subscription.clone();
            let request = pubsub::PullRequest {
                subscription,
                max_messages: missing,
                ..pubsub::PullRequest::default()
            };
            let pulled = timeout(PATIENCE, self.subscriber.pull(request)).await;
            let batch = pulled.expect("messages come in time").unwrap().into_inner();
            if acknowledges && !batch.received_messages.is_empty() {
                self.acknowledge(&batch.received_messages).await;
            }
            received.extend(batch.received_messages);
        }
        received
    }

    pub async fn acknowledge(&mut self, received: &[pubsub::ReceivedMessage]) {
        let ack_ids = received.iter().map(|it| it.ack_id.clone()).collect();
        let subscription = self.subscription.clone();
        let request = pubsub::AcknowledgeRequest { subscription, ack_ids };
        self.subscriber.acknowledge(request).await.unwrap();
    }

    pub async fn modify(&mut self, received: &pubsub::ReceivedMessage, seconds: i32) {
        let request = pubsub::ModifyAckDeadlineRequest {
            subscription: self.subscription.clone(),
            ack_ids: vec![received.ack_id.clone()],
            ack_deadline_seconds: seconds,
        };
        self.subscriber.modify_ack_deadline(request).await.unwrap();
    }
}

/// A bench for each broker there is: the embedded one, then Google's emulator where it runs.
pub async fn benches() -> Vec<Bench> {
    let embedded = Embedded::start().await;
    let mut bench = Bench::ready_at(&embedded.address.to_string()).await;
    bench.embedded = Some(embedded);
    let mut benches = vec![bench];
    if let Some(address) = emulator() {
        benches.push(Bench::ready_at(&address).await);
    }
    benches
}

#[expect(clippy::disallowed_methods, reason = "the variable Google's tools name the emulator by")]
fn emulator() -> Option<String> {
    std::env::var("PUBSUB_EMULATOR_HOST").ok().filter(|address| !address.is_empty())
}

pub fn message(data: &str, ordering_key: &str) -> PubsubMessage {
    PubsubMessage {
        data: data.into(),
        ordering_key: ordering_key.into(),
        ..PubsubMessage::default()
    }
}

/// The data of received messages, in the order they came.
pub fn texts(received: &[pubsub::ReceivedMessage]) -> Vec<String> {
    received.iter().map(text).collect()
}

pub fn text(received: &pubsub::ReceivedMessage) -> String {
    String::from_utf8(received.message.as_ref().unwrap().data.clone()).unwrap()
}
