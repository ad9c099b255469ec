use serde_json::json;

use super::*;

const TENANT: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY";
const OTHER: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XZ";
const AT: &str = "2026-11-21T10:00:00.1234567+01:00";

fn alert() -> Value {
    json!({"alertId": "a1", "propertyId": "p1", "by": "usr_1", "at": "2026-11-21T09:00:00Z"})
}

fn revoked() -> Value {
    json!({"sessionId": "ses_1", "userId": "usr_1", "tenantId": TENANT, "revokedAt": AT})
}

fn lock_alert() -> Value {
    json!({"lockId": "l1", "propertyId": "p1", "roomId": "r1", "kind": "battery",
        "severity": "high", "at": AT})
}

fn suggestion() -> Value {
    json!({"suggestionId": "s1", "propertyId": "p1", "decision": "accept", "at": AT})
}

fn read_json(topic: &str, message: &Value) -> Result<Option<Incoming>, Unreadable> {
    read(topic, &HashMap::new(), message.to_string().as_bytes())
}

/// One sample a shape, with the members that §5.4 of the platform's facts lists beside ours.
fn samples() -> Vec<(&'static str, Value)> {
    vec![
        (
            "melmastoon.iam.events",
            json!({"eventId": "e1", "subject": "melmastoon.iam.session.revoked.v1",
                "tenantId": TENANT, "occurredAt": AT, "payload": revoked(),
                "partitionKey": "ses_1", "class": "security"}),
        ),
        (
            "melmastoon.lock.events",
            json!({"id": "e1", "type": "melmastoon.lock.device.health_alert.v1", "subject": "l1",
                "tenantId": TENANT, "time": AT, "data": lock_alert(), "specVersion": "1.0"}),
        ),
        (
            "melmastoon.lock.device.health_alert.v1",
            json!({"id": "e1", "subject": "melmastoon.lock.device.health_alert.v1",
                "tenantId": TENANT, "time": AT, "data": lock_alert()}),
        ),
        (
            "melmastoon.ai_orchestrator.events",
            json!({"id": "e1", "type": "melmastoon.ai_orchestrator.hitl.gate_decided.v1",
                "tenantId": TENANT, "time": AT, "data": suggestion(), "specVersion": "1.0"}),
        ),
        (
            "melmastoon.notification.events",
            json!({"eventId": "e1", "subject": "melmastoon.notification.alert.resolved.v1",
                "tenantId": TENANT, "occurredAt": AT, "payload": alert(), "causationId": null,
                "producedBy": {"service": "notification-service"},
                "metadata": {"orderingKey": format!("{TENANT}:a1"), "dataResidency": "asia"}}),
        ),
        (
            "melmastoon.notification.events",
            json!({"id": "e1", "type": "melmastoon.notification.alert.acknowledged.v1",
                "subject": "a1", "tenantId": TENANT, "occurredAt": AT, "payload": alert()}),
        ),
    ]
}

#[test]
fn every_shape_reads_into_the_same_incoming_event() {
    for (topic, message) in samples() {
        let incoming = read_json(topic, &message).unwrap().unwrap();
        assert_eq!(incoming.tenant_id.as_str(), TENANT, "{topic}");
        assert_eq!(incoming.event_id, "e1", "{topic}");
        assert_eq!(Some(incoming.producer.as_str()), topic.split('.').nth(1), "{topic}");
        assert_eq!(incoming.occurred_at.to_rfc3339(), "2026-11-21T09:00:00.123456+00:00");
        assert_eq!(incoming.property_id.is_some(), incoming.payload.get("propertyId").is_some());
    }
}

#[test]
fn every_producer_of_the_platform_has_a_shape() {
    let ignored = |topic: &str, subject_member: &str| {
        let message = json!({subject_member: "melmastoon.any.thing.happened.v1"});
        assert!(matches!(read_json(topic, &message), Ok(None)), "{topic}");
    };
    for service in ["iam", "inventory", "housekeeping", "analytics", "reservation", "notification"]
    {
        ignored(&format!("melmastoon.{service}.events"), "subject");
    }
    for service in ["tenant", "pricing", "lock", "ai_orchestrator", "billing"] {
        ignored(&format!("melmastoon.{service}.events"), "type");
    }
    for service in ["property", "theme"] {
        ignored(&format!("melmastoon.{service}.events"), "eventType");
    }
}

#[test]
fn a_null_tenant_is_taken_from_the_attributes_or_the_payload() {
    let message = json!({"eventId": "e1", "subject": "melmastoon.iam.session.revoked.v1",
        "tenantId": null, "occurredAt": AT, "payload": revoked()});
    assert_eq!(read_json(IAM, &message).unwrap().unwrap().tenant_id.as_str(), TENANT);

    let attributes = HashMap::from([("tenantId".to_owned(), OTHER.to_owned())]);
    let read = read(IAM, &attributes, message.to_string().as_bytes()).unwrap().unwrap();
    assert_eq!(read.tenant_id.as_str(), OTHER);
}

#[test]
fn a_message_that_names_two_tenants_is_refused() {
    let (topic, message) = samples().remove(0);
    let attributes = HashMap::from([("tenantId".to_owned(), OTHER.to_owned())]);
    let read = read(topic, &attributes, message.to_string().as_bytes());
    assert!(matches!(read, Err(Unreadable::TwoTenants)));
}

#[test]
fn a_service_cannot_speak_for_another() {
    let message = json!({"eventId": "e1", "subject": "melmastoon.iam.session.revoked.v1",
        "tenantId": TENANT, "occurredAt": AT, "payload": revoked()});
    let read = read_json("melmastoon.notification.events", &message);
    assert!(matches!(read, Err(Unreadable::ForeignSubject(_))));
}

#[test]
fn what_cannot_be_used_is_refused_with_its_reason() {
    let sample = |change: &dyn Fn(&mut Value)| {
        let mut message = samples().remove(0).1;
        change(&mut message);
        read_json(IAM, &message).unwrap_err().to_string()
    };
    assert_eq!(sample(&|m| m["eventId"] = json!("")), "the envelope has no usable event id");
    assert_eq!(sample(&|m| m["occurredAt"] = json!("soon")), "the envelope has no usable time");
    assert_eq!(sample(&|m| m["payload"] = json!(3)), "the envelope has no usable payload");
    assert_eq!(sample(&|m| m["subject"] = json!("session")), "the envelope has no usable subject");
    assert_eq!(sample(&|m| m["tenantId"] = json!("acme")), "the envelope has no usable tenant id");
    assert!(sample(&|m| m["payload"]["reason"] = json!("a\0b")).contains("NUL"));
    assert!(sample(&|m| m["payload"] = json!({"tenantId": TENANT})).starts_with("the payload"));
    assert!(matches!(read(IAM, &HashMap::new(), b"\xff{"), Err(Unreadable::NotJson(_))));
    let huge = vec![b' '; MESSAGE_BYTES_MAX + 1];
    assert!(matches!(read(IAM, &HashMap::new(), &huge), Err(Unreadable::TooLarge)));
    assert!(matches!(read("other", &HashMap::new(), b"{}"), Err(Unreadable::UnknownProducer(_))));
}

#[test]
fn a_dead_letter_belongs_to_the_tenant_it_claims() {
    let message = json!({"tenantId": TENANT}).to_string();
    let claimed = |data: &[u8]| claimed_tenant(IAM, &HashMap::new(), data);
    assert_eq!(claimed(message.as_bytes()).unwrap().as_str(), TENANT);
    assert_eq!(claimed(b"garbage"), None);
}

const IAM: &str = crate::pubsub::IAM_EVENTS;
