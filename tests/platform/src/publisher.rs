//! Publishes upstream events into Pub/Sub with Google's own client.

use std::{collections::HashMap, time::Duration};

use anyhow::Context;
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::{BasePublisher, Publisher as TopicPublisher, TopicAdmin},
    model,
};
use tokio_util::task::TaskTracker;

use crate::{
    envelope::{Event, Message, message},
    producer::Producer,
};

/// How long setting up the topics, or one publication, may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Publications in the background at one time; further ones are refused.
const BACKGROUND_MAX: usize = 20_000;

/// One client per topic, all on one connection.
pub struct Publisher {
    topics: HashMap<Producer, TopicPublisher>,
    background: TaskTracker,
}

/// What Pub/Sub answered.
pub struct Published {
    pub topic: String,
    pub message_id: String,
}

impl Publisher {
    /// Connects to an emulator or broker without credentials and creates the topics it lacks.
    ///
    /// # Errors
    /// When the endpoint does not answer within 10 s or refuses a topic.
    pub async fn connect(endpoint: &str, project: &str) -> anyhow::Result<Self> {
        let url = format!("http://{}", endpoint.trim_start_matches("http://"));
        let set_up = async {
            create_topics(&url, project).await?;
            let base = BasePublisher::builder()
                .with_endpoint(&url)
                .with_credentials(anonymous::Builder::new().build())
                .build()
                .await
                .context("cannot make a Pub/Sub client")?;
            let topics = Producer::ALL.into_iter().map(|producer| {
                let publisher = base
                    .publisher(topic_name(project, producer))
                    .set_delay_threshold(Duration::from_millis(1))
                    .build();
                (producer, publisher)
            });
            Ok(Self { topics: topics.collect(), background: TaskTracker::new() })
        };
        tokio::time::timeout(DEADLINE, set_up)
            .await
            .with_context(|| format!("Pub/Sub at {url} did not answer within {DEADLINE:?}"))?
    }

    /// Publishes the event in its producer's shape and waits for the broker.
    ///
    /// # Errors
    /// When the broker refuses it or does not answer within 10 s; later events of the same
    /// ordering key are not held back by it.
    pub async fn publish(&self, event: &Event) -> anyhow::Result<Published> {
        self.publish_message(event.producer, message(event)).await
    }

    /// As [`Self::publish`], with a message that need not follow the producer's shape.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub async fn publish_message(
        &self,
        producer: Producer,
        message: Message,
    ) -> anyhow::Result<Published> {
        let topic = &self.topics[&producer];
        let ordering_key = message.ordering_key.clone();
        let outcome = tokio::time::timeout(DEADLINE, topic.publish(model_of(message))).await;
        let outcome = match outcome {
            Ok(answered) => answered.map_err(anyhow::Error::new),
            Err(_) => Err(anyhow::anyhow!("no answer within {DEADLINE:?}")),
        };
        if outcome.is_err() {
            // The client pauses a key after a failure; a simulator goes on.
            topic.resume_publish(ordering_key);
        }
        let message_id =
            outcome.with_context(|| format!("Pub/Sub did not take a message for {producer}"))?;
        Ok(Published { topic: producer.topic(), message_id })
    }

    /// Hands the events to the client in their order and returns at once; a failure is logged.
    pub fn publish_in_background(&self, events: &[Event]) {
        for event in events {
            if self.background.len() >= BACKGROUND_MAX {
                tracing::error!(subject = event.subject, "too many publications wait; dropped one");
                continue;
            }
            let topic = self.topics[&event.producer].clone();
            let message = message(event);
            let ordering_key = message.ordering_key.clone();
            // Called here and not in the task, so that the order of the calls is kept.
            let sent = topic.publish(model_of(message));
            let subject = event.subject.clone();
            self.background.spawn(async move {
                match tokio::time::timeout(DEADLINE, sent).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => {
                        topic.resume_publish(ordering_key);
                        tracing::error!(subject, error = %error, "an event was not published");
                    }
                    Err(_) => {
                        topic.resume_publish(ordering_key);
                        tracing::error!(subject, "an event was not published within the deadline");
                    }
                }
            });
        }
    }

    /// Waits for what is in the background; each of it has its deadline.
    pub async fn drain(&self) {
        self.background.close();
        self.background.wait().await;
    }
}

async fn create_topics(url: &str, project: &str) -> anyhow::Result<()> {
    let admin = TopicAdmin::builder()
        .with_endpoint(url)
        .with_credentials(anonymous::Builder::new().build())
        .build()
        .await
        .context("cannot make a Pub/Sub admin client")?;
    let creations = Producer::ALL.into_iter().map(|producer| {
        let admin = &admin;
        async move {
            let name = topic_name(project, producer);
            match admin.create_topic().set_name(&name).send().await {
                Ok(_) => Ok(()),
                Err(error) if already_exists(&error) => Ok(()),
                Err(error) => Err(anyhow::Error::new(error).context(format!("no topic {name}"))),
            }
        }
    });
    futures::future::try_join_all(creations).await?;
    Ok(())
}

fn already_exists(error: &google_cloud_pubsub::Error) -> bool {
    error.status().is_some_and(|status| status.code.name() == "ALREADY_EXISTS")
}

fn topic_name(project: &str, producer: Producer) -> String {
    format!("projects/{project}/topics/{}", producer.topic())
}

fn model_of(message: Message) -> model::Message {
    model::Message::new()
        .set_data(message.body)
        .set_attributes(message.attributes)
        .set_ordering_key(message.ordering_key)
}
