//! The topics and subscriptions there are, and their creation where no Terraform does it.

use std::time::Duration;

use events::Ledger;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::model::{DeadLetterPolicy, RetryPolicy, Subscription};

use super::{Pubsub, PubsubError};

/// Signed tree heads, published by the sealer.
pub const CHECKPOINT_TOPIC: &str = "melmastoon.bff.backoffice.checkpoint";
/// iam-service's events, which two subscriptions of ours read: intake and revocations.
pub const IAM_EVENTS: &str = "melmastoon.iam.events";
/// tenant-service's events, read by the same two.
pub const TENANT_EVENTS: &str = "melmastoon.tenant.events";
/// Topics of other services whose events the inbox takes in.
pub const INTAKE_TOPICS: [&str; 14] = [
    "melmastoon.notification.events",
    IAM_EVENTS,
    TENANT_EVENTS,
    "melmastoon.lock.events",
    "melmastoon.ai_orchestrator.events",
    "melmastoon.sync.events",
    "melmastoon.reservation.events",
    "melmastoon.inventory.events",
    "melmastoon.pricing.events",
    "melmastoon.housekeeping.events",
    "melmastoon.maintenance.events",
    "melmastoon.billing.events",
    "melmastoon.analytics.events",
    "melmastoon.property.events",
];
/// Topics that also have a subscription for revocations alone.
pub const REVOCATION_TOPICS: [&str; 2] = [IAM_EVENTS, TENANT_EVENTS];

const ACK_DEADLINE_SECONDS: i32 = 30;
/// A message that failed this often is broken, not unlucky: what we cannot read is acknowledged and
/// kept by ourselves.
const DELIVERY_ATTEMPTS_MAX: i32 = 20;
const REDELIVERY_MIN: Duration = Duration::from_millis(100);
const REDELIVERY_MAX: Duration = Duration::from_secs(30);

/// Our intake subscription of a topic: `bff-backoffice.<topic>`.
pub fn subscription_of(topic: &str) -> String {
    format!("bff-backoffice.{topic}")
}

/// The subscription that is read for a topic's revocations alone, so that no backlog of other work
/// delays one.
pub fn revocation_subscription(topic: &str) -> String {
    format!("{}.revocations", subscription_of(topic))
}

/// Where a topic's undeliverable messages go: `<topic>.dlq`.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

impl Pubsub {
    /// Creates every topic, dead-letter topic and subscription that is missing; nothing unless
    /// `manage_topology` is set.
    ///
    /// # Errors
    /// [`PubsubError::Topology`] with the first that could not be made.
    pub async fn ensure_topology(&self) -> Result<(), PubsubError> {
        if !self.0.settings.manage_topology {
            return Ok(());
        }
        let own = Ledger::ALL.into_iter().map(Ledger::topic);
        let topics =
            own.chain([CHECKPOINT_TOPIC.to_owned()]).chain(INTAKE_TOPICS.map(str::to_owned));
        for topic in topics {
            self.ensure_topic(&topic).await?;
            self.ensure_topic(&dead_letter_topic(&topic)).await?;
        }
        for topic in INTAKE_TOPICS {
            let dead_letters = DeadLetterPolicy::new()
                .set_dead_letter_topic(self.topic_path(&dead_letter_topic(topic)))
                .set_max_delivery_attempts(DELIVERY_ATTEMPTS_MAX);
            self.ensure_subscription(topic, &subscription_of(topic), Some(dead_letters)).await?;
        }
        // A revocation is tried until it is written: only our own stores can make it fail.
        for topic in REVOCATION_TOPICS {
            self.ensure_subscription(topic, &revocation_subscription(topic), None).await?;
        }
        Ok(())
    }

    /// Asks Pub/Sub for a subscription, given by its short name: it is there and can be reached.
    ///
    /// # Errors
    /// [`PubsubError::Topology`] when Pub/Sub does not answer, or not with a subscription.
    pub async fn reach_subscription(&self, subscription: &str) -> Result<(), PubsubError> {
        let path = self.subscription_path(subscription);
        let found = self.0.subscriptions.get_subscription().set_subscription(path).send().await;
        found
            .map(drop)
            .map_err(|source| PubsubError::Topology { resource: subscription.to_owned(), source })
    }

    /// Creates a topic, given by its short name, unless it exists.
    ///
    /// # Errors
    /// [`PubsubError::Topology`].
    pub async fn ensure_topic(&self, topic: &str) -> Result<(), PubsubError> {
        let created =
            self.0.topics.create_topic().set_name(self.topic_path(topic)).send().await.map(drop);
        created_or_there(topic, created)
    }

    /// Creates a subscription that keeps the order of keys, unless it exists.
    ///
    /// # Errors
    /// [`PubsubError::Topology`].
    pub async fn ensure_subscription(
        &self,
        topic: &str,
        subscription: &str,
        dead_letters: Option<DeadLetterPolicy>,
    ) -> Result<(), PubsubError> {
        let mut wanted = Subscription::new()
            .set_name(self.subscription_path(subscription))
            .set_topic(self.topic_path(topic))
            .set_ack_deadline_seconds(ACK_DEADLINE_SECONDS)
            .set_enable_message_ordering(true)
            .set_retry_policy(redelivery());
        wanted.dead_letter_policy = dead_letters;
        let created =
            self.0.subscriptions.create_subscription().with_request(wanted).send().await.map(drop);
        created_or_there(subscription, created)
    }
}

fn redelivery() -> RetryPolicy {
    let wait = |wait: Duration| {
        google_cloud_wkt::Duration::try_from(wait).expect("the constants are in range")
    };
    RetryPolicy::new()
        .set_minimum_backoff(wait(REDELIVERY_MIN))
        .set_maximum_backoff(wait(REDELIVERY_MAX))
}

fn created_or_there(
    resource: &str,
    created: google_cloud_pubsub::Result<()>,
) -> Result<(), PubsubError> {
    match created {
        Err(source) if source.status().is_none_or(|status| status.code != Code::AlreadyExists) => {
            Err(PubsubError::Topology { resource: resource.to_owned(), source })
        }
        _ => Ok(()),
    }
}
