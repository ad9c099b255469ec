//! The envelopes of other services, one shape a producer, read into one type.

mod shape;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use events::{PropertyId, TenantId, upstream::UpstreamEvent};
use serde_json::Value;

use shape::Shape;

/// A message larger than this is nothing we asked for: the platform's events stay below 256 KiB.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const EVENT_ID_CHARS_MAX: usize = 200;
const SUBJECT_BYTES_MAX: usize = 120;

/// An event of another service, in our terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    pub tenant_id: TenantId,
    /// The service as topics name it, such as `iam`: taken from the topic, not from the message.
    pub producer: String,
    /// Unique within the producer, 1–200 characters.
    pub event_id: String,
    /// The kind, `melmastoon.<service>.<aggregate>.<past-tense>.v<n>`.
    pub subject: String,
    pub property_id: Option<PropertyId>,
    pub occurred_at: DateTime<Utc>,
    /// As it was sent.
    pub payload: Value,
    /// The payload, read.
    pub event: UpstreamEvent,
}

/// A message that is meant for us and cannot be used. The text is what an operator reads beside the
/// dead letter.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    #[error("no adapter for the envelopes of topic {0}")]
    UnknownProducer(String),
    #[error("the envelope has no usable {0}")]
    Missing(&'static str),
    #[error("the subject {0} does not belong to the topic's service")]
    ForeignSubject(String),
    #[error("the tenant of the attributes is not the tenant of the envelope")]
    TwoTenants,
    #[error("a text contains a NUL character, which the store cannot hold")]
    NulCharacter,
    #[error("the payload lacks what the subject promises")]
    Payload(#[source] serde_json::Error),
}

impl Unreadable {
    /// With its cause: what the JSON reader says of place and type, which never quotes a text of
    /// the message.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::NotJson(source) | Self::Payload(source) => {
                format!("{self}: {:?} error at line {}", source.classify(), source.line())
            }
            _ => self.to_string(),
        }
    }
}

/// Reads a message of `topic`; `None` for a subject that nothing here is made from.
///
/// # Errors
/// [`Unreadable`]: the message is to be dead-lettered, since another delivery would read the same.
pub(super) fn read(
    topic: &str,
    attributes: &HashMap<String, String>,
    data: &[u8],
) -> Result<Option<Incoming>, Unreadable> {
    let producer =
        producer_of(topic).ok_or_else(|| Unreadable::UnknownProducer(topic.to_owned()))?;
    let shape = Shape::of(producer).ok_or_else(|| Unreadable::UnknownProducer(topic.to_owned()))?;
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let mut message: Value = serde_json::from_slice(data).map_err(Unreadable::NotJson)?;
    let subject = shape.subject(&message).ok_or(Unreadable::Missing("subject"))?.to_owned();
    if !is_read(&subject) {
        return Ok(None);
    }
    if subject.split('.').nth(1) != Some(producer) {
        return Err(Unreadable::ForeignSubject(subject));
    }
    let event_id = shape
        .id(&message)
        .filter(|id| (1..=EVENT_ID_CHARS_MAX).contains(&id.chars().count()))
        .ok_or(Unreadable::Missing("event id"))?
        .to_owned();
    let occurred_at = shape.occurred_at(&message).ok_or(Unreadable::Missing("time"))?;
    let tenant_id = tenant_of(shape, attributes, &message)?;
    let payload = shape.take_payload(&mut message).ok_or(Unreadable::Missing("payload"))?;
    if has_nul(&payload) || event_id.contains('\0') {
        return Err(Unreadable::NulCharacter);
    }
    let property_id =
        payload.get("propertyId").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let event = UpstreamEvent::read(&subject, payload.clone())
        .map_err(Unreadable::Payload)?
        .ok_or(Unreadable::Missing("subject"))?;
    let producer = producer.to_owned();
    let incoming = Incoming {
        tenant_id,
        producer,
        event_id,
        subject,
        property_id,
        occurred_at,
        payload,
        event,
    };
    Ok(Some(incoming))
}

/// What a message says has changed, whether or not anything here is made from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Heard {
    pub tenant_id: TenantId,
    /// `None`: it may be any of the tenant's.
    pub property_id: Option<PropertyId>,
    /// As in [`Incoming::subject`].
    pub subject: String,
}

impl Heard {
    pub(super) fn of(incoming: &Incoming) -> Self {
        Self {
            tenant_id: incoming.tenant_id.clone(),
            property_id: incoming.property_id.clone(),
            subject: incoming.subject.clone(),
        }
    }
}

/// What a message of `topic` says has changed, and where; `None` when it cannot be told.
pub(super) fn heard(
    topic: &str,
    attributes: &HashMap<String, String>,
    data: &[u8],
) -> Option<Heard> {
    let producer = producer_of(topic)?;
    let shape = Shape::of(producer)?;
    let message: Value = serde_json::from_slice(data).ok()?;
    let subject = shape.subject(&message)?;
    if subject.split('.').nth(1) != Some(producer) {
        return None;
    }
    let property_id = match shape.payload(&message).and_then(|it| it.get("propertyId")) {
        None | Some(Value::Null) => None,
        Some(named) => Some(named.as_str()?.parse().ok()?),
    };
    let tenant_id = tenant_of(shape, attributes, &message).ok()?;
    Some(Heard { tenant_id, property_id, subject: subject.to_owned() })
}

/// The subject a message claims, readable or not; `None` for what does not look like one.
pub(super) fn claimed_subject(topic: &str, data: &[u8]) -> Option<String> {
    let message: Value = serde_json::from_slice(data).ok()?;
    let subject = Shape::of(producer_of(topic)?)?.subject(&message)?;
    let is_word = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || "._".contains(it);
    let is_one = subject.len() <= SUBJECT_BYTES_MAX && subject.chars().all(is_word);
    is_one.then(|| subject.to_owned())
}

/// The tenant a message claims, readable or not: whose dead letter it is.
pub(super) fn claimed_tenant(
    topic: &str,
    attributes: &HashMap<String, String>,
    data: &[u8],
) -> Option<TenantId> {
    let shape = Shape::of(producer_of(topic)?)?;
    let message = serde_json::from_slice(data).ok()?;
    tenant_of(shape, attributes, &message).ok()
}

/// `iam` for `melmastoon.iam.events` and for a topic named like a subject,
/// `melmastoon.iam.session.revoked.v1`.
fn producer_of(topic: &str) -> Option<&str> {
    topic.strip_prefix("melmastoon.")?.split('.').next()
}

fn is_read(subject: &str) -> bool {
    !matches!(UpstreamEvent::read(subject, Value::Null), Ok(None))
}

/// The envelope's tenant; the payload's where the envelope's may be null; never one that the
/// attributes contradict.
fn tenant_of(
    shape: &Shape,
    attributes: &HashMap<String, String>,
    message: &Value,
) -> Result<TenantId, Unreadable> {
    let attribute = ["tenantId", "tenantid"]
        .into_iter()
        .find_map(|name| attributes.get(name))
        .map(String::as_str);
    let enveloped = shape.tenant(message);
    if let (Some(attribute), Some(enveloped)) = (attribute, enveloped)
        && attribute != enveloped
    {
        return Err(Unreadable::TwoTenants);
    }
    enveloped
        .or(attribute)
        .or_else(|| shape.payload(message)?.get("tenantId")?.as_str())
        .and_then(|tenant| tenant.parse().ok())
        .ok_or(Unreadable::Missing("tenant id"))
}

/// Postgres holds no NUL in `text` and `jsonb`. The nesting is bounded by the JSON reader.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
