//! Google Pub/Sub: the one place that knows its client, for what we publish and what we take in.

mod publisher;
mod subscription;
mod topology;

use std::{sync::Arc, time::Duration};

use google_cloud_auth::credentials::{Credentials, anonymous};
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::{
    client::{BasePublisher, Subscriber, SubscriptionAdmin, TopicAdmin},
    retry_policy::RetryableErrors,
};

pub use publisher::{Outbound, PublishError, Publisher};
pub use subscription::{Delivery, Subscription};
pub use topology::{
    CHECKPOINT_TOPIC, IAM_EVENTS, INTAKE_TOPICS, REVOCATION_TOPICS, TENANT_EVENTS,
    dead_letter_topic, revocation_subscription, subscription_of,
};

/// Where Pub/Sub is and what we may do there.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Google Cloud project that holds topics and subscriptions.
    pub project: String,
    /// An emulator, `http://host:port` or `host:port`; `None` is Google's, with the machine's
    /// credentials.
    pub endpoint: Option<String>,
    /// Whether start-up creates missing topics and subscriptions: emulators only, in service
    /// Terraform does it.
    pub manage_topology: bool,
    /// How long the client tries to publish before it reports a failure.
    pub publish_timeout: Duration,
    /// How long a message waits for others of its ordering key before it is sent.
    pub publish_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            project: "melmastoon-dev".to_owned(),
            endpoint: None,
            manage_topology: false,
            publish_timeout: Duration::from_secs(10),
            publish_delay: Duration::from_millis(1),
        }
    }
}

/// Pub/Sub cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PubsubError {
    #[error("the Pub/Sub client cannot be built")]
    Client(#[source] google_cloud_gax::client_builder::Error),
    #[error("Pub/Sub does not let us make {resource}")]
    Topology {
        resource: String,
        #[source]
        source: google_cloud_pubsub::Error,
    },
    #[error("subscription {subscription} cannot be read")]
    Subscription {
        subscription: String,
        #[source]
        source: google_cloud_pubsub::Error,
    },
}

/// A connection to Pub/Sub. Cheap to clone; every clone shares it.
#[derive(Clone, Debug)]
pub struct Pubsub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    publisher: BasePublisher,
    subscriber: Subscriber,
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
}

/// Applies where and as whom to connect to a client's builder; the four builders share no trait.
macro_rules! aimed {
    ($builder:expr, $endpoint:expr) => {
        match $endpoint {
            Some(endpoint) => {
                $builder.with_endpoint(endpoint.clone()).with_credentials(anonymous_credentials())
            }
            None => $builder,
        }
    };
}

impl Pubsub {
    /// Builds the clients; connections are made at first use.
    ///
    /// # Errors
    /// [`PubsubError::Client`] when the endpoint is no URL or there are no credentials.
    pub async fn connect(settings: &Settings) -> Result<Self, PubsubError> {
        let endpoint = settings.endpoint.as_deref().map(with_scheme);
        let publisher = aimed!(BasePublisher::builder(), &endpoint)
            .with_retry_policy(RetryableErrors.with_time_limit(settings.publish_timeout))
            .build()
            .await
            .map_err(PubsubError::Client)?;
        let subscriber =
            aimed!(Subscriber::builder(), &endpoint).build().await.map_err(PubsubError::Client)?;
        let topics =
            aimed!(TopicAdmin::builder(), &endpoint).build().await.map_err(PubsubError::Client)?;
        let subscriptions = aimed!(SubscriptionAdmin::builder(), &endpoint)
            .build()
            .await
            .map_err(PubsubError::Client)?;
        let settings = settings.clone();
        Ok(Self(Arc::new(Inner { settings, publisher, subscriber, topics, subscriptions })))
    }

    /// A publisher of its own for a topic, given by its short name. It keeps one actor an ordering
    /// key until it is dropped.
    pub fn publisher(&self, topic: &str) -> Publisher {
        let Inner { settings, publisher, .. } = &*self.0;
        Publisher::new(
            publisher
                .publisher(self.topic_path(topic))
                .set_delay_threshold(settings.publish_delay)
                .build(),
        )
    }

    /// Starts to pull a subscription, given by its short name.
    pub fn subscribe(&self, subscription: &str) -> Subscription {
        Subscription::new(subscription, &self.0.subscriber, &self.subscription_path(subscription))
    }

    fn topic_path(&self, topic: &str) -> String {
        format!("projects/{}/topics/{topic}", self.0.settings.project)
    }

    fn subscription_path(&self, subscription: &str) -> String {
        format!("projects/{}/subscriptions/{subscription}", self.0.settings.project)
    }
}

fn anonymous_credentials() -> Credentials {
    anonymous::Builder::new().build()
}

/// `PUBSUB_EMULATOR_HOST` is by custom written without a scheme.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_may_be_named_with_and_without_a_scheme() {
        assert_eq!(with_scheme("127.0.0.1:8085"), "http://127.0.0.1:8085");
        assert_eq!(with_scheme("http://broker:1"), "http://broker:1");
    }
}
