//! An analytics consumer: a subscription of its own on one of our topics, by Google's client.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::{Subscriber, SubscriptionAdmin};
use serde_json::Value;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use ulid::Ulid;

use super::{broker::emulator, service::World};

pub struct Listener {
    messages: Mutex<mpsc::UnboundedReceiver<Value>>,
    /// Ends with this value.
    _pull: JoinSet<()>,
}

impl Listener {
    /// Hears what is published on the topic from now on. The topic exists once a service has started.
    pub async fn on(world: &World, topic: &str) -> Self {
        let endpoint = format!("http://{}", emulator());
        let name = format!("listener-{}", Ulid::generate().to_string().to_lowercase());
        let subscription = format!("projects/{}/subscriptions/{name}", world.project);
        let admin = SubscriptionAdmin::builder()
            .with_endpoint(&endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        admin
            .create_subscription()
            .set_name(&subscription)
            .set_topic(format!("projects/{}/topics/{topic}", world.project))
            .set_enable_message_ordering(true)
            .send()
            .await
            .unwrap();
        let subscriber = Subscriber::builder()
            .with_endpoint(&endpoint)
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        let (sender, messages) = mpsc::unbounded_channel();
        let mut stream = subscriber.subscribe(&subscription).build();
        let mut pull = JoinSet::new();
        pull.spawn(async move {
            while let Some(Ok((message, handler))) = stream.next().await {
                handler.ack();
                let body = serde_json::from_slice(&message.data).unwrap();
                if sender.send(body).is_err() {
                    return;
                }
            }
        });
        Self { messages: Mutex::new(messages), _pull: pull }
    }

    /// The first message that fulfils the condition; those before it are passed over.
    pub async fn message(&self, condition: impl Fn(&Value) -> bool) -> Value {
        let mut messages = self.messages.lock().await;
        let found = async {
            loop {
                let message = messages.recv().await.expect("the subscription goes on");
                if condition(&message) {
                    return message;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("such a message")
    }
}
