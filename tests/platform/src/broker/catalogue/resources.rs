//! Creating, reading, changing, listing and deleting topics and subscriptions.

use std::collections::BTreeSet;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use tokio::time::Instant;
use tonic::Status;

use super::{Attached, Catalogue, Topic, already_exists, micros, names, not_found};
use crate::broker::subscription::{Subscription, settings::Settings};

const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
const RETENTION_DEFAULT_SECONDS: i64 = 7 * 24 * 3_600;
const EXPIRATION_DEFAULT_SECONDS: i64 = 31 * 24 * 3_600;

/// One page of a list, and the token of the next (empty on the last).
pub type Page<T> = (Vec<T>, String);

impl Catalogue {
    /// Creates a topic.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `ALREADY_EXISTS`, `UNIMPLEMENTED` for schemas, ingestion and transforms.
    pub fn create_topic(&mut self, mut resource: pubsub::Topic) -> Result<pubsub::Topic, Status> {
        names::check(&resource.name, "topics")?;
        if resource.schema_settings.is_some()
            || resource.ingestion_data_source_settings.is_some()
            || !resource.message_transforms.is_empty()
        {
            return Err(Status::unimplemented(
                "the embedded broker has no schemas, ingestion or transforms",
            ));
        }
        if self.topics.contains_key(&resource.name) {
            return Err(already_exists(&resource.name));
        }
        resource.state = pubsub::topic::State::Active.into();
        let name = resource.name.clone();
        let topic = Topic { resource: resource.clone(), subscriptions: BTreeSet::new() };
        self.topics.insert(name.clone(), topic);
        self.reconfigure_dead_letters_to(&name);
        Ok(resource)
    }

    /// # Errors
    /// `NOT_FOUND`.
    pub fn topic(&self, name: &str) -> Result<pubsub::Topic, Status> {
        self.topics.get(name).map(|topic| topic.resource.clone()).ok_or_else(|| not_found(name))
    }

    /// Changes the masked fields of a topic: labels and retention, which are only kept.
    ///
    /// # Errors
    /// `NOT_FOUND`, or `INVALID_ARGUMENT` for any other field.
    pub fn update_topic(
        &mut self,
        request: pubsub::UpdateTopicRequest,
    ) -> Result<pubsub::Topic, Status> {
        let wanted = request.topic.unwrap_or_default();
        let topic = self.topics.get_mut(&wanted.name).ok_or_else(|| not_found(&wanted.name))?;
        let mut resource = topic.resource.clone();
        for path in masked_paths(request.update_mask)? {
            match path.as_str() {
                "labels" => resource.labels.clone_from(&wanted.labels),
                "message_retention_duration" => {
                    resource.message_retention_duration = wanted.message_retention_duration;
                }
                _ => return Err(immutable(&path)),
            }
        }
        topic.resource = resource.clone();
        Ok(resource)
    }

    /// The topics of a project, by name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative page size.
    pub fn list_topics(
        &self,
        request: &pubsub::ListTopicsRequest,
    ) -> Result<Page<pubsub::Topic>, Status> {
        let names = self.topics.keys().filter(|name| is_in(name, &request.project));
        let (names, next) = page(names, request.page_size, &request.page_token)?;
        let listed = names.iter().filter_map(|name| self.topics.get(name));
        Ok((listed.map(|topic| topic.resource.clone()).collect(), next))
    }

    /// The names of a topic's subscriptions.
    ///
    /// # Errors
    /// `NOT_FOUND`, `INVALID_ARGUMENT` for a negative page size.
    pub fn list_topic_subscriptions(
        &self,
        request: &pubsub::ListTopicSubscriptionsRequest,
    ) -> Result<Page<String>, Status> {
        let topic = self.topics.get(&request.topic).ok_or_else(|| not_found(&request.topic))?;
        page(topic.subscriptions.iter(), request.page_size, &request.page_token)
    }

    /// Deletes a topic; its subscriptions keep their messages and get no more.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), Status> {
        let topic = self.topics.remove(name).ok_or_else(|| not_found(name))?;
        for subscription in topic.subscriptions {
            if let Some(attached) = self.subscriptions.get_mut(&subscription) {
                names::DELETED_TOPIC.clone_into(&mut attached.resource.topic);
            }
        }
        self.reconfigure_dead_letters_to(name);
        Ok(())
    }

    /// Creates a subscription, which gets what is published from now on.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `ALREADY_EXISTS`, `NOT_FOUND` without its topics, `UNIMPLEMENTED` for
    /// push, export, filter, exactly-once and transforms.
    pub fn create_subscription(
        &mut self,
        mut resource: pubsub::Subscription,
        now: Instant,
    ) -> Result<pubsub::Subscription, Status> {
        names::check(&resource.name, "subscriptions")?;
        if self.subscriptions.contains_key(&resource.name) {
            return Err(already_exists(&resource.name));
        }
        let settings = self.read_new_settings(&resource)?;
        let lease_base = micros(self.wall_time(now));
        let topic = self.topics.get_mut(&resource.topic);
        let topic = topic.ok_or_else(|| not_found(&resource.topic))?;
        topic.subscriptions.insert(resource.name.clone());
        fill_defaults(&mut resource, &settings);
        let messages = Subscription::new(settings, lease_base);
        let attached = Attached { resource: resource.clone(), messages };
        self.subscriptions.insert(resource.name.clone(), attached);
        Ok(resource)
    }

    /// # Errors
    /// `NOT_FOUND`.
    pub fn subscription(&self, name: &str) -> Result<pubsub::Subscription, Status> {
        let attached = self.subscriptions.get(name).ok_or_else(|| not_found(name))?;
        Ok(attached.resource.clone())
    }

    /// Changes the masked fields of a subscription.
    ///
    /// # Errors
    /// As for creation, and `INVALID_ARGUMENT` for a field that cannot change.
    pub fn update_subscription(
        &mut self,
        request: pubsub::UpdateSubscriptionRequest,
        now: Instant,
    ) -> Result<pubsub::Subscription, Status> {
        let wanted = request.subscription.unwrap_or_default();
        let mut resource = self.subscription(&wanted.name)?;
        for path in masked_paths(request.update_mask)? {
            replace_field(&mut resource, &wanted, &path)?;
        }
        let settings = self.read_new_settings(&resource)?;
        fill_defaults(&mut resource, &settings);
        self.change(&wanted.name, now, |messages| messages.configure(settings))?;
        if let Some(attached) = self.subscriptions.get_mut(&wanted.name) {
            attached.resource = resource.clone();
        }
        Ok(resource)
    }

    /// The subscriptions of a project, by name.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a negative page size.
    pub fn list_subscriptions(
        &self,
        request: &pubsub::ListSubscriptionsRequest,
    ) -> Result<Page<pubsub::Subscription>, Status> {
        let names = self.subscriptions.keys().filter(|name| is_in(name, &request.project));
        let (names, next) = page(names, request.page_size, &request.page_token)?;
        let listed = names.iter().filter_map(|name| self.subscriptions.get(name));
        Ok((listed.map(|attached| attached.resource.clone()).collect(), next))
    }

    /// Deletes a subscription with its messages; its streams end.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub fn delete_subscription(&mut self, name: &str) -> Result<(), Status> {
        let attached = self.subscriptions.remove(name).ok_or_else(|| not_found(name))?;
        if let Some(topic) = self.topics.get_mut(&attached.resource.topic) {
            topic.subscriptions.remove(name);
        }
        attached.messages.wake_all();
        Ok(())
    }

    /// Reads the settings of a new or changed subscription, whose dead-letter topic must exist.
    fn read_new_settings(&self, resource: &pubsub::Subscription) -> Result<Settings, Status> {
        let settings = Settings::read(resource)?;
        match &settings.dead_letter {
            Some(rule) if !self.topics.contains_key(&rule.topic) => Err(not_found(&rule.topic)),
            _ => Ok(settings),
        }
    }

    /// Takes the dead-letter rule from subscriptions whose dead-letter topic went, and gives it
    /// back when the topic returns: without one, messages stay and are delivered again.
    fn reconfigure_dead_letters_to(&mut self, topic: &str) {
        let exists = self.topics.contains_key(topic);
        for attached in self.subscriptions.values_mut() {
            let policy = attached.resource.dead_letter_policy.as_ref();
            if policy.is_some_and(|policy| policy.dead_letter_topic == topic)
                && let Ok(settings) = Settings::read(&attached.resource)
            {
                let dead_letter = settings.dead_letter.clone().filter(|_| exists);
                attached.messages.configure(Settings { dead_letter, ..settings });
            }
        }
    }
}

fn fill_defaults(resource: &mut pubsub::Subscription, settings: &Settings) {
    let seconds = settings.ack_deadline.as_secs();
    resource.ack_deadline_seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
    resource.state = pubsub::subscription::State::Active.into();
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    if resource.message_retention_duration.is_none() {
        resource.message_retention_duration = seconds(RETENTION_DEFAULT_SECONDS);
    }
    if resource.expiration_policy.is_none() {
        let ttl = seconds(EXPIRATION_DEFAULT_SECONDS);
        resource.expiration_policy = Some(pubsub::ExpirationPolicy { ttl });
    }
    if let (Some(policy), Some(rule)) = (&mut resource.dead_letter_policy, &settings.dead_letter) {
        policy.max_delivery_attempts = rule.attempts_max;
    }
}

fn replace_field(
    resource: &mut pubsub::Subscription,
    wanted: &pubsub::Subscription,
    path: &str,
) -> Result<(), Status> {
    match path {
        "ack_deadline_seconds" => resource.ack_deadline_seconds = wanted.ack_deadline_seconds,
        "retain_acked_messages" => resource.retain_acked_messages = wanted.retain_acked_messages,
        "message_retention_duration" => {
            resource.message_retention_duration = wanted.message_retention_duration;
        }
        "labels" => resource.labels.clone_from(&wanted.labels),
        "expiration_policy" => resource.expiration_policy = wanted.expiration_policy,
        "push_config" => resource.push_config.clone_from(&wanted.push_config),
        "dead_letter_policy" => {
            resource.dead_letter_policy.clone_from(&wanted.dead_letter_policy);
        }
        "retry_policy" => resource.retry_policy = wanted.retry_policy,
        _ => return Err(immutable(path)),
    }
    Ok(())
}

fn masked_paths(mask: Option<prost_types::FieldMask>) -> Result<Vec<String>, Status> {
    let paths = mask.unwrap_or_default().paths;
    if paths.is_empty() {
        return Err(Status::invalid_argument("the update mask must name a field"));
    }
    Ok(paths)
}

fn immutable(path: &str) -> Status {
    Status::invalid_argument(format!("the field '{path}' cannot be changed"))
}

fn is_in(name: &str, project: &str) -> bool {
    project.strip_prefix("projects/") == Some(names::project(name))
}

/// Cuts a page out of sorted names; the token is the last name of the page before.
fn page<'a>(
    names: impl Iterator<Item = &'a String>,
    size: i32,
    token: &str,
) -> Result<Page<String>, Status> {
    let size = match usize::try_from(size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => return Err(Status::invalid_argument("the page size must not be negative")),
    };
    let mut rest = names.filter(|name| name.as_str() > token).cloned().peekable();
    let listed: Vec<String> = rest.by_ref().take(size).collect();
    let next = rest.peek().and(listed.last()).cloned().unwrap_or_default();
    Ok((listed, next))
}
