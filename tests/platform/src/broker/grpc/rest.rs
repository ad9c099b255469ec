//! The REST face of the broker: Google's Rust client makes topics and subscriptions by JSON over
//! HTTP/1.1 and sends everything else by gRPC.

use std::collections::HashMap;

use axum::{
    Json,
    body::{Bytes, to_bytes},
    http::{Method, StatusCode},
    response::IntoResponse,
};
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tonic::{Code, Status};

use super::{Request, Response, Server};

/// A topic or subscription is a few names and numbers.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A topic, with the members that mean something here. Another member is refused: it would be ignored.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Topic {
    name: String,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
}

/// A subscription; see [`Topic`].
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Subscription {
    name: String,
    topic: String,
    ack_deadline_seconds: i32,
    enable_message_ordering: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "HashMap::is_empty")]
    labels: HashMap<String, String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeadLetterPolicy {
    dead_letter_topic: String,
    max_delivery_attempts: i32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct RetryPolicy {
    /// Seconds as `0.1s`.
    minimum_backoff: Option<String>,
    maximum_backoff: Option<String>,
}

/// Serves one call under `/v1/`.
pub(super) async fn serve(server: &Server, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answer = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => answer(server, &parts.method, parts.uri.path(), &body),
        Err(_) => Err(Status::invalid_argument("the body is too long or broke off")),
    };
    answer.unwrap_or_else(|status| refusal(&status))
}

fn answer(server: &Server, method: &Method, path: &str, body: &Bytes) -> Result<Response, Status> {
    let name = path.trim_start_matches("/v1/").to_owned();
    let kind = name.split('/').nth(2).unwrap_or_default().to_owned();
    Ok(match (kind.as_str(), method.as_str()) {
        ("topics", "PUT") => {
            let topic = Topic { name, ..read(body)? };
            let topic =
                pubsub::Topic { name: topic.name, labels: topic.labels, ..Default::default() };
            Json(topic_of(server.create_topic(&topic)?)).into_response()
        }
        ("topics", "GET") => {
            let topic = server.get_topic(&pubsub::GetTopicRequest { topic: name })?;
            Json(topic_of(topic)).into_response()
        }
        ("topics", "DELETE") => {
            server.delete_topic(&pubsub::DeleteTopicRequest { topic: name })?;
            Json(json!({})).into_response()
        }
        ("subscriptions", "PUT") => {
            let wanted = Subscription { name, ..read(body)? };
            let made = server.create_subscription(&wanted.try_into()?)?;
            Json(Subscription::from(made)).into_response()
        }
        ("subscriptions", "GET") => {
            let request = pubsub::GetSubscriptionRequest { subscription: name };
            Json(Subscription::from(server.get_subscription(&request)?)).into_response()
        }
        ("subscriptions", "DELETE") => {
            let request = pubsub::DeleteSubscriptionRequest { subscription: name };
            server.delete_subscription(&request)?;
            Json(json!({})).into_response()
        }
        _ => {
            let reason = format!("the embedded broker does not serve {method} {path}");
            return Err(Status::unimplemented(reason));
        }
    })
}

fn read<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Status> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn topic_of(topic: pubsub::Topic) -> Topic {
    Topic { name: topic.name, labels: topic.labels }
}

impl TryFrom<Subscription> for pubsub::Subscription {
    type Error = Status;

    fn try_from(wanted: Subscription) -> Result<Self, Status> {
        let retry_policy = wanted.retry_policy.map(|policy| {
            Ok::<_, Status>(pubsub::RetryPolicy {
                minimum_backoff: policy.minimum_backoff.as_deref().map(duration).transpose()?,
                maximum_backoff: policy.maximum_backoff.as_deref().map(duration).transpose()?,
            })
        });
        Ok(Self {
            name: wanted.name,
            topic: wanted.topic,
            ack_deadline_seconds: wanted.ack_deadline_seconds,
            enable_message_ordering: wanted.enable_message_ordering,
            filter: wanted.filter,
            labels: wanted.labels,
            dead_letter_policy: wanted.dead_letter_policy.map(|policy| pubsub::DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: retry_policy.transpose()?,
            ..Self::default()
        })
    }
}

impl From<pubsub::Subscription> for Subscription {
    fn from(made: pubsub::Subscription) -> Self {
        Self {
            name: made.name,
            topic: made.topic,
            ack_deadline_seconds: made.ack_deadline_seconds,
            enable_message_ordering: made.enable_message_ordering,
            filter: made.filter,
            labels: made.labels,
            dead_letter_policy: made.dead_letter_policy.map(|policy| DeadLetterPolicy {
                dead_letter_topic: policy.dead_letter_topic,
                max_delivery_attempts: policy.max_delivery_attempts,
            }),
            retry_policy: made.retry_policy.map(|policy| RetryPolicy {
                minimum_backoff: policy.minimum_backoff.map(|wait| wait.to_string()),
                maximum_backoff: policy.maximum_backoff.map(|wait| wait.to_string()),
            }),
        }
    }
}

/// Protobuf's JSON for a duration: seconds with up to nine decimals and an `s`.
fn duration(text: &str) -> Result<prost_types::Duration, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("{text} is not a duration")))
}

/// Google's JSON for an error.
fn refusal(status: &Status) -> Response {
    let (http, name) = match status.code() {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
    };
    let error = json!({ "code": http.as_u16(), "message": status.message(), "status": name });
    (http, Json(json!({ "error": error }))).into_response()
}
