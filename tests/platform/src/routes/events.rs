//! `POST /sim/events`: publishes an event as one of the upstreams would, and lets it happen there.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use crate::{
    clock,
    envelope::{Event, Message},
    feed, identifier,
    platform::Platform,
    problem::Problem,
    producer::Producer,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// `notification`, `notification-service`, …
    producer: String,
    subject: String,
    /// Only iam has events without one.
    tenant_id: Option<String>,
    #[serde(default)]
    payload: Value,
    /// Given twice, a repeat is published.
    event_id: Option<String>,
    occurred_at: Option<DateTime<Utc>>,
    /// Published as it is (text byte for byte, else as JSON) instead of the producer's shape.
    raw: Option<Value>,
}

pub async fn handle(
    State(platform): State<Arc<Platform>>,
    Body(request): Body<Request>,
) -> Result<Json<Value>, Problem> {
    let pubsub = platform.publisher()?;
    let producer = Producer::parse(&request.producer).ok_or_else(|| unknown(&request.producer))?;
    if request.tenant_id.is_none() && producer != Producer::Iam {
        return Err(Problem::invalid("tenantId is missing; only iam has events without one"));
    }
    let raw = request.raw.clone();
    let mut event = event(producer, request)?;
    let published = if let Some(raw) = raw {
        pubsub.publish_message(producer, raw_message(&raw, &event)).await
    } else {
        feed::fill(&mut event);
        feed::take_in(&mut platform.world(), &event);
        pubsub.publish(&event).await
    };
    let published = published.map_err(|error| refused(&error))?;
    Ok(Json(json!({
        "eventId": event.id,
        "topic": published.topic,
        "messageId": published.message_id,
        "payload": event.payload,
    })))
}

fn event(producer: Producer, request: Request) -> Result<Event, Problem> {
    let payload = match request.payload {
        Value::Null => json!({}),
        Value::Object(members) => Value::Object(members),
        _ => return Err(Problem::invalid("payload must be an object")),
    };
    Ok(Event {
        producer,
        id: request.event_id.unwrap_or_else(|| identifier::fresh("evt")),
        subject: request.subject,
        tenant_id: request.tenant_id,
        aggregate_id: feed::aggregate_id(&payload),
        occurred_at: request.occurred_at.unwrap_or_else(clock::now),
        payload,
    })
}

fn raw_message(raw: &Value, event: &Event) -> Message {
    let body = raw.as_str().map_or_else(|| raw.to_string(), str::to_owned);
    let attributes = event
        .tenant_id
        .iter()
        .map(|tenant_id| ("tenantId".to_owned(), tenant_id.clone()))
        .collect();
    let ordering_key = event.tenant_id.clone().unwrap_or_else(|| "platform".to_owned());
    Message { body: body.into_bytes(), attributes, ordering_key }
}

fn unknown(producer: &str) -> Problem {
    let names: Vec<&str> = Producer::ALL.iter().map(|producer| producer.segment()).collect();
    Problem::invalid(format!("there is no producer {producer}; there are {}", names.join(", ")))
}

/// 502: the broker is at fault, not the caller.
pub fn refused(error: &anyhow::Error) -> Problem {
    Problem::new(
        StatusCode::BAD_GATEWAY,
        "MELMASTOON.SIM.PUBLISH_FAILED",
        format!("the event was not published: {error:#}"),
    )
}
