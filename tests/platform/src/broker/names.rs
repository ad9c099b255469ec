//! What Pub/Sub accepts: the form of names, and the limits of a publish request.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PublishRequest, PubsubMessage};
use prost::Message as _;
use tonic::Status;

const MESSAGES_MAX: usize = 1_000;
const REQUEST_BYTES_MAX: usize = 10_000_000;
const ATTRIBUTES_MAX: usize = 100;
const ATTRIBUTE_KEY_BYTES_MAX: usize = 256;
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 1_024;
const ORDERING_KEY_BYTES_MAX: usize = 1_024;

/// What a subscription's `topic` says once the topic is gone.
pub const DELETED_TOPIC: &str = "_deleted-topic_";

/// Checks `projects/{project}/{collection}/{id}`.
///
/// # Errors
/// `INVALID_ARGUMENT` when the name has another shape, or an id Pub/Sub would not take.
pub fn check(name: &str, collection: &str) -> Result<(), Status> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["projects", project, kind, id]
            if !project.is_empty() && *kind == collection && is_id(id) =>
        {
            Ok(())
        }
        _ => Err(Status::invalid_argument(format!(
            "'{name}' is not projects/{{project}}/{collection}/{{id}}"
        ))),
    }
}

/// The project of a checked name.
pub fn project(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

/// Checks a publish request against Pub/Sub's limits.
///
/// # Errors
/// `INVALID_ARGUMENT` naming the limit.
pub fn check_publish(request: &PublishRequest) -> Result<(), Status> {
    if !(1..=MESSAGES_MAX).contains(&request.messages.len()) {
        return Err(Status::invalid_argument("a request must hold 1 to 1000 messages"));
    }
    if request.encoded_len() > REQUEST_BYTES_MAX {
        return Err(Status::invalid_argument("a request must not exceed 10 MB"));
    }
    request.messages.iter().try_for_each(check_message)
}

fn check_message(message: &PubsubMessage) -> Result<(), Status> {
    let attributes = &message.attributes;
    let is_attribute_valid = |(key, value): (&String, &String)| {
        (1..=ATTRIBUTE_KEY_BYTES_MAX).contains(&key.len())
            && value.len() <= ATTRIBUTE_VALUE_BYTES_MAX
            && !key.starts_with("goog")
    };
    let violated = if message.data.is_empty() && attributes.is_empty() {
        "a message must have data or attributes"
    } else if attributes.len() > ATTRIBUTES_MAX {
        "a message must have at most 100 attributes"
    } else if !attributes.iter().all(is_attribute_valid) {
        "an attribute key must be 1 to 256 bytes and not begin with goog, its value at most 1024"
    } else if message.ordering_key.len() > ORDERING_KEY_BYTES_MAX {
        "an ordering key must be at most 1024 bytes"
    } else {
        return Ok(());
    };
    Err(Status::invalid_argument(violated))
}

fn is_id(id: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    (3..=255).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && !id.starts_with("goog")
        && id.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn message(data: &str) -> PubsubMessage {
        PubsubMessage { data: data.into(), ..PubsubMessage::default() }
    }

    fn request(messages: Vec<PubsubMessage>) -> PublishRequest {
        PublishRequest { topic: "projects/p/topics/orders".into(), messages }
    }

    #[test]
    fn a_name_has_its_collection_and_a_valid_id() {
        assert!(check("projects/p/topics/orders-1", "topics").is_ok());
        for name in [
            "orders",
            "projects/p/subscriptions/orders",
            "projects//topics/orders",
            "projects/p/topics/ab",
            "projects/p/topics/1st",
            "projects/p/topics/googlish",
            "projects/p/topics/a b c",
            "projects/p/topics/orders/more",
        ] {
            assert!(check(name, "topics").is_err(), "{name}");
        }
    }

    #[test]
    fn a_request_beyond_a_limit_is_refused() {
        let long_key = PubsubMessage { ordering_key: "k".repeat(1_025), ..message("x") };
        let attributes = HashMap::from([("googclient".to_owned(), String::new())]);
        let reserved = PubsubMessage { attributes, ..message("x") };
        for messages in [
            vec![],
            vec![message("x"); 1_001],
            vec![message(&"x".repeat(10_000_001))],
            vec![message("")],
            vec![long_key],
            vec![reserved],
        ] {
            assert!(check_publish(&request(messages)).is_err());
        }
    }

    #[test]
    fn attributes_alone_make_a_message() {
        let attributes = HashMap::from([("kind".to_owned(), "ping".to_owned())]);
        let ping = PubsubMessage { attributes, ..message("") };
        assert!(check_publish(&request(vec![ping])).is_ok());
    }
}
