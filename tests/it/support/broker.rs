//! A Pub/Sub project of its own for every test, on the emulator that `PUBSUB_EMULATOR_HOST` names.

use std::{collections::HashMap, time::Duration};

use backoffice::pubsub::{Delivery, Outbound, Pubsub, Settings, Subscription};
use bytes::Bytes;
use tokio::time::timeout;
use ulid::Ulid;

/// How long a test waits for a message that must come.
const DEADLINE: Duration = Duration::from_secs(20);

pub struct TestBroker {
    pub pubsub: Pubsub,
    settings: Settings,
}

impl TestBroker {
    /// An empty project: no topics.
    pub async fn start() -> Self {
        let settings = Settings {
            project: format!("it-{}", Ulid::generate().to_string().to_lowercase()),
            endpoint: Some(emulator()),
            manage_topology: true,
            publish_timeout: Duration::from_secs(5),
            ..Settings::default()
        };
        Self { pubsub: Pubsub::connect(&settings).await.unwrap(), settings }
    }

    /// A project with every topic and subscription of ours.
    pub async fn with_topology() -> Self {
        let broker = Self::start().await;
        broker.pubsub.ensure_topology().await.unwrap();
        broker
    }

    /// A connection of its own, as another instance would have.
    pub async fn connect(&self) -> Pubsub {
        Pubsub::connect(&self.settings).await.unwrap()
    }

    /// Creates the topic if it is missing and listens to it from now on.
    pub async fn listen(&self, topic: &str) -> Listener {
        let subscription = format!("listener-{}", Ulid::generate().to_string().to_lowercase());
        self.pubsub.ensure_topic(topic).await.unwrap();
        self.pubsub.ensure_subscription(topic, &subscription, None).await.unwrap();
        Listener(self.pubsub.subscribe(&subscription))
    }

    /// Publishes bytes as another service would.
    pub async fn publish(&self, topic: &str, ordering_key: &str, data: impl Into<Bytes>) {
        let (ordering_key, attributes) = (ordering_key.to_owned(), HashMap::new());
        let message = Outbound { ordering_key, attributes, data: data.into() };
        self.pubsub.publisher(topic).publish(message).await.unwrap();
    }
}

/// A consumer of a topic.
pub struct Listener(Subscription);

impl Listener {
    /// The next messages, acknowledged, in the order in which they came.
    pub async fn next(&mut self, count: usize) -> Vec<Heard> {
        let mut heard = Vec::new();
        while heard.len() < count {
            heard.push(Heard::from(self.delivery().await));
        }
        heard
    }

    /// The next message, unacknowledged.
    pub async fn delivery(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.0.next()).await.expect("a message comes in time");
        next.unwrap().expect("the subscription goes on")
    }

    /// Every message up to the first for which `is_last` holds, acknowledged.
    pub async fn until(&mut self, is_last: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let next = Heard::from(self.delivery().await);
            let ended = is_last(&next);
            heard.push(next);
            if ended {
                return heard;
            }
        }
    }
}

/// A message as a consumer has it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub attributes: HashMap<String, String>,
    pub data: Bytes,
}

impl Heard {
    pub fn tenant(&self) -> &str {
        &self.attributes["tenantId"]
    }

    pub fn event_id(&self) -> &str {
        &self.attributes["eventId"]
    }

    pub fn position(&self) -> i64 {
        self.attributes["position"].parse().unwrap()
    }

    pub fn ledger_index(&self) -> i64 {
        self.attributes["ledgerIndex"].parse().unwrap()
    }
}

impl From<Delivery> for Heard {
    fn from(delivery: Delivery) -> Self {
        let heard = Self { attributes: delivery.attributes.clone(), data: delivery.data.clone() };
        delivery.ack();
        heard
    }
}

/// The broker of this test run, `host:port`.
#[expect(clippy::disallowed_methods, reason = "tests are told where their servers are")]
pub fn emulator() -> String {
    std::env::var("PUBSUB_EMULATOR_HOST").expect("PUBSUB_EMULATOR_HOST names a Pub/Sub emulator")
}
