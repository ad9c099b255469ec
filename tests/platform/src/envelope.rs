//! Wraps an event the way its producer does: every service of the platform has its own shape.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::producer::Producer;

/// Something that happened at an upstream.
#[derive(Clone, Debug)]
pub struct Event {
    pub producer: Producer,
    /// `evt_…`; what consumers drop repeats by.
    pub id: String,
    /// `melmastoon.<service>.<aggregate>.<past-tense>.v<n>`.
    pub subject: String,
    /// None only for iam's platform-wide events.
    pub tenant_id: Option<String>,
    /// The id of the aggregate it happened to; part of most ordering keys.
    pub aggregate_id: String,
    pub occurred_at: DateTime<Utc>,
    pub payload: Value,
}

/// A message as it is handed to Pub/Sub.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub body: Vec<u8>,
    pub attributes: Vec<(String, String)>,
    pub ordering_key: String,
}

/// Shapes the event into its producer's message.
pub fn message(event: &Event) -> Message {
    Message {
        body: body(event).to_string().into_bytes(),
        attributes: attributes(event),
        ordering_key: ordering_key(event),
    }
}

fn body(event: &Event) -> Value {
    match event.producer {
        Producer::Iam => iam(event),
        Producer::Tenant => tenant(event),
        Producer::Reservation | Producer::Notification | Producer::Sync => shared(event),
        Producer::Inventory => inventory(event),
        Producer::Pricing => pricing(event),
        Producer::Housekeeping | Producer::Maintenance => housekeeping(event),
        Producer::Billing => billing(event),
        Producer::Lock => lock(event),
        Producer::AiOrchestrator => ai_orchestrator(event),
        Producer::Analytics => analytics(event),
        Producer::Property => property(event),
        Producer::Theme => theme(event),
    }
}

fn iam(event: &Event) -> Value {
    let is_security =
        [".session.revoked.", ".locked."].iter().any(|part| event.subject.contains(part));
    json!({
        "eventId": event.id,
        "subject": event.subject,
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "payload": event.payload,
        "partitionKey": event.aggregate_id,
        "idempotencyKey": event.id,
        "class": if is_security { "security" } else { "operational" },
    })
}

fn tenant(event: &Event) -> Value {
    json!({
        "id": event.id,
        "type": event.subject,
        "subject": event.aggregate_id,
        "tenantId": event.tenant_id,
        "time": time(event),
        "data": event.payload,
        "orderingKey": event.tenant_id,
    })
}

/// The platform's common `EventEnvelope`.
fn shared(event: &Event) -> Value {
    json!({
        "eventId": event.id,
        "subject": event.subject,
        "version": version(event),
        "occurredAt": time(event),
        "tenantId": event.tenant_id,
        "causationId": null,
        "producedBy": { "service": event.producer.service(), "version": "1.0.0" },
        "metadata": { "orderingKey": ordering_key(event), "dataResidency": "AF" },
        "payload": event.payload,
    })
}

fn inventory(event: &Event) -> Value {
    json!({
        "eventId": event.id,
        "subject": event.subject,
        "aggregateKind": aggregate(event),
        "aggregateId": event.aggregate_id,
        "schemaVersion": version(event),
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "payload": event.payload,
    })
}

fn pricing(event: &Event) -> Value {
    json!({
        "id": event.id,
        "subject": event.subject,
        "specVersion": "1.0",
        "producer": format!("{}@1.0.0", event.producer.service()),
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "data": event.payload,
    })
}

fn housekeeping(event: &Event) -> Value {
    json!({
        "id": event.id,
        "subject": event.subject,
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "payload": event.payload,
        "actor": { "type": "system", "id": event.producer.service() },
    })
}

/// `CloudEvents` 1.0, structured mode.
fn billing(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("//{}", event.producer.service()),
        "type": event.subject,
        "subject": event.aggregate_id,
        "time": time(event),
        "tenantid": event.tenant_id,
        "datacontenttype": "application/json",
        "data": event.payload,
    })
}

fn lock(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("//{}", event.producer.service()),
        "subject": event.subject,
        "type": event.subject,
        "tenantId": event.tenant_id,
        "time": time(event),
        "data": event.payload,
    })
}

fn ai_orchestrator(event: &Event) -> Value {
    json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("//{}", event.producer.service()),
        "subject": event.subject,
        "type": event.subject,
        "tenantId": event.tenant_id,
        "time": time(event),
        "data": event.payload,
        "correlation": { "traceId": null, "requestId": null, "causationId": null },
        "retention": "operational",
    })
}

fn analytics(event: &Event) -> Value {
    json!({
        "id": event.id,
        "subject": event.subject,
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "payload": event.payload,
        "metadata": { "schemaVersion": version(event) },
    })
}

fn property(event: &Event) -> Value {
    json!({
        "eventId": event.id,
        "eventType": event.subject,
        "aggregate": { "type": aggregate(event), "id": event.aggregate_id },
        "version": version(event),
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "data": event.payload,
    })
}

fn theme(event: &Event) -> Value {
    json!({
        "eventId": event.id,
        "eventType": event.subject,
        "schema": format!("{}@{}", event.subject, version(event)),
        "tenantId": event.tenant_id,
        "occurredAt": time(event),
        "actor": { "type": "system", "id": event.producer.service() },
        "payload": event.payload,
        "partitionKey": ordering_key(event),
    })
}

/// Tenant, `tenant:aggregate` or, at iam, the aggregate alone; never empty.
fn ordering_key(event: &Event) -> String {
    let tenant_id = event.tenant_id.as_deref().unwrap_or("platform");
    match event.producer {
        Producer::Iam => event.aggregate_id.clone(),
        Producer::Tenant | Producer::Analytics => tenant_id.into(),
        Producer::Theme => format!("tenant:{tenant_id}"),
        Producer::Property => format!("{tenant_id}|{}", event.aggregate_id),
        _ => format!("{tenant_id}:{}", event.aggregate_id),
    }
}

fn attributes(event: &Event) -> Vec<(String, String)> {
    let tenant_id = event.tenant_id.clone().unwrap_or_default();
    let pairs: Vec<(&str, String)> = match event.producer {
        Producer::Billing => vec![
            ("tenantid", tenant_id),
            ("content-type", "application/cloudevents+json; charset=utf-8".into()),
        ],
        Producer::Property => vec![
            ("eventType", event.subject.clone()),
            ("tenantId", tenant_id),
            ("schemaVersion", version(event).to_string()),
            ("idempotencyKey", event.id.clone()),
        ],
        _ => vec![("subject", event.subject.clone()), ("tenantId", tenant_id)],
    };
    pairs
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn time(event: &Event) -> String {
    event.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The number after `.v` at the end of the subject; 1 where there is none.
fn version(event: &Event) -> u32 {
    event.subject.rsplit_once(".v").and_then(|(_, number)| number.parse().ok()).unwrap_or(1)
}

/// The third segment of the subject, as in `melmastoon.inventory.allocation.confirmed.v1`.
fn aggregate(event: &Event) -> &str {
    event.subject.split('.').nth(2).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_producer_writes_id_subject_tenant_and_payload_where_the_platform_has_them() {
        // (producer, id, subject, time, payload), as the platform's documents have them.
        let members = [
            (Producer::Iam, "eventId", "subject", "occurredAt", "payload"),
            (Producer::Tenant, "id", "type", "time", "data"),
            (Producer::Reservation, "eventId", "subject", "occurredAt", "payload"),
            (Producer::Inventory, "eventId", "subject", "occurredAt", "payload"),
            (Producer::Pricing, "id", "subject", "occurredAt", "data"),
            (Producer::Housekeeping, "id", "subject", "occurredAt", "payload"),
            (Producer::Maintenance, "id", "subject", "occurredAt", "payload"),
            (Producer::Billing, "id", "type", "time", "data"),
            (Producer::Lock, "id", "type", "time", "data"),
            (Producer::AiOrchestrator, "id", "type", "time", "data"),
            (Producer::Notification, "eventId", "subject", "occurredAt", "payload"),
            (Producer::Sync, "eventId", "subject", "occurredAt", "payload"),
            (Producer::Analytics, "id", "subject", "occurredAt", "payload"),
            (Producer::Property, "eventId", "eventType", "occurredAt", "data"),
            (Producer::Theme, "eventId", "eventType", "occurredAt", "payload"),
        ];
        assert_eq!(members.map(|row| row.0), Producer::ALL);
        for (producer, id, subject, time, payload) in members {
            let body = body(&happened(producer));
            assert_eq!(body[id], "evt_A", "{producer}");
            assert_eq!(body[subject], "melmastoon.x.thing.happened.v2", "{producer}");
            assert_eq!(body[time], "2026-11-21T10:00:00.000Z", "{producer}");
            assert_eq!(body[payload], json!({ "alertId": "alr_A" }), "{producer}");
            let tenant_id = if producer == Producer::Billing { "tenantid" } else { "tenantId" };
            assert_eq!(body[tenant_id], "tnt_A", "{producer}");
        }
    }

    #[test]
    fn ordering_keys_follow_the_producer() {
        let keys = [
            (Producer::Iam, "alr_A"),
            (Producer::Tenant, "tnt_A"),
            (Producer::Notification, "tnt_A:alr_A"),
            (Producer::Property, "tnt_A|alr_A"),
            (Producer::Theme, "tenant:tnt_A"),
        ];
        for (producer, key) in keys {
            assert_eq!(message(&happened(producer)).ordering_key, key);
        }
    }

    fn happened(producer: Producer) -> Event {
        Event {
            producer,
            id: "evt_A".into(),
            subject: "melmastoon.x.thing.happened.v2".into(),
            tenant_id: Some("tnt_A".into()),
            aggregate_id: "alr_A".into(),
            occurred_at: "2026-11-21T10:00:00Z".parse().unwrap(),
            payload: json!({ "alertId": "alr_A" }),
        }
    }
}
