//! Events the simulator publishes: made, completed, and taken into the service they speak of.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::{
    clock,
    envelope::Event,
    identifier,
    identity::Session,
    people,
    producer::Producer,
    world::{
        World,
        inbox::{Acknowledgment, Alert, AlertState, Suggestion, SuggestionState},
        locks::KeyCredential,
    },
};

pub const ALERT_RAISED: &str = "melmastoon.notification.alert.raised.v1";
pub const ALERT_ACKNOWLEDGED: &str = "melmastoon.notification.alert.acknowledged.v1";
pub const ALERT_RESOLVED: &str = "melmastoon.notification.alert.resolved.v1";
pub const SUGGESTION_PROPOSED: &str = "melmastoon.ai_orchestrator.suggestion.proposed.v1";
pub const SUGGESTION_WITHDRAWN: &str = "melmastoon.ai_orchestrator.suggestion.withdrawn.v1";
pub const GATE_DECIDED: &str = "melmastoon.ai_orchestrator.hitl.gate_decided.v1";
pub const KEY_ISSUED: &str = "melmastoon.lock.credential.issued.v1";

/// An event of now.
pub fn event(producer: Producer, subject: &str, tenant_id: &str, payload: Value) -> Event {
    Event {
        producer,
        id: identifier::fresh("evt"),
        subject: subject.into(),
        tenant_id: Some(tenant_id.into()),
        aggregate_id: aggregate_id(&payload),
        occurred_at: clock::now(),
        payload,
    }
}

pub fn session_revoked(session: &Session, reason: &str) -> Event {
    let payload = json!({
        "sessionId": session.id,
        "userId": session.operator_id,
        "tenantId": session.tenant_id,
        "deviceId": session.device_id,
        "reason": reason,
        "revokedAt": clock::now(),
    });
    event(Producer::Iam, "melmastoon.iam.session.revoked.v1", &session.tenant_id, payload)
}

pub fn alert_raised(alert: &Alert) -> Event {
    let mut payload = json!({
        "alertId": alert.id,
        "propertyId": alert.property_id,
        "severity": alert.severity,
        "category": alert.category,
        "title": alert.title,
        "source": alert.source,
        "raisedAt": alert.raised_at,
    });
    if let Some(body) = &alert.body {
        payload["body"] = body.clone();
    }
    if let Some(expires_at) = alert.expires_at {
        payload["expiresAt"] = json!(expires_at);
    }
    event(Producer::Notification, ALERT_RAISED, &alert.tenant_id, payload)
}

/// `acknowledged` or `resolved`, `by` whom, at `at`.
pub fn alert_moved(alert: &Alert, subject: &str, by: Option<&str>, at: DateTime<Utc>) -> Event {
    let payload = json!({
        "alertId": alert.id,
        "propertyId": alert.property_id,
        "by": by,
        "at": at,
    });
    event(Producer::Notification, subject, &alert.tenant_id, payload)
}

/// The id of what a payload speaks of: the first member of its kind, else `none`.
pub fn aggregate_id(payload: &Value) -> String {
    const MEMBERS: [&str; 14] = [
        "alertId",
        "suggestionId",
        "sessionId",
        "reservationId",
        "taskId",
        "workOrderId",
        "folioId",
        "keyCredentialId",
        "lockId",
        "replayId",
        "deviceId",
        "userId",
        "operatorId",
        "propertyId",
    ];
    let id = MEMBERS.iter().find_map(|member| payload[*member].as_str());
    id.unwrap_or("none").to_owned()
}

/// Adds members the payload must have and lacks, for the subjects that feed the back office's
/// views, and names the aggregate after an id that was added.
pub fn fill(event: &mut Event) {
    let at = json!(event.occurred_at);
    let missing = match event.subject.as_str() {
        ALERT_RAISED => json!({
            "alertId": identifier::fresh("alr"),
            "severity": "medium",
            "category": "other",
            "title": "Something needs attention",
            "source": event.producer.service(),
            "raisedAt": at,
        }),
        ALERT_ACKNOWLEDGED | ALERT_RESOLVED | SUGGESTION_WITHDRAWN | GATE_DECIDED => {
            json!({ "at": at })
        }
        SUGGESTION_PROPOSED => json!({
            "suggestionId": identifier::fresh("sgn"),
            "category": "guest_handling",
            "title": "Something could be better",
            "summary": "",
            "confidence": 0.5,
            "proposal": {},
            "provenance": { "modelId": "melma-ops-2", "promptTemplateId": "prt_manual" },
            "complianceTags": [],
            "proposedAt": at,
            "expiresAt": event.occurred_at + chrono::Duration::hours(24),
        }),
        "melmastoon.iam.session.revoked.v1" => {
            json!({ "tenantId": event.tenant_id, "reason": "admin", "revokedAt": at })
        }
        subject
            if ["melmastoon.iam.user.", "melmastoon.iam.device.", "melmastoon.tenant."]
                .iter()
                .any(|beginning| subject.starts_with(beginning)) =>
        {
            json!({ "at": at })
        }
        _ => json!({}),
    };
    let members = event.payload.as_object_mut();
    let members = members.expect("events are made with an object as payload");
    for (name, value) in missing.as_object().into_iter().flatten() {
        members.entry(name).or_insert_with(|| value.clone());
    }
    event.aggregate_id = aggregate_id(&event.payload);
}

/// Lets the event happen at its own service too, so that a raised alert can be acknowledged there.
pub fn take_in(world: &mut World, event: &Event) {
    let Some(tenant_id) = event.tenant_id.as_deref() else {
        return;
    };
    match event.subject.as_str() {
        ALERT_RAISED => world.alerts.insert(alert(tenant_id, event)),
        ALERT_ACKNOWLEDGED => move_alert(world, event, AlertState::Acknowledged),
        ALERT_RESOLVED => move_alert(world, event, AlertState::Resolved),
        SUGGESTION_PROPOSED => world.suggestions.insert(suggestion(tenant_id, event)),
        GATE_DECIDED => {
            if let Some(suggestion) = world.suggestions.get_mut(tenant_id, &event.aggregate_id) {
                suggestion.state = SuggestionState::Decided;
                suggestion.decision = Some(event.payload.clone());
            }
        }
        SUGGESTION_WITHDRAWN => {
            if let Some(suggestion) = world.suggestions.get_mut(tenant_id, &event.aggregate_id) {
                suggestion.state = SuggestionState::Withdrawn;
            }
        }
        KEY_ISSUED => world.credentials.insert(key(tenant_id, event)),
        _ => people::take_in(world, event),
    }
}

fn move_alert(world: &mut World, event: &Event, state: AlertState) {
    let tenant_id = event.tenant_id.as_deref().unwrap_or_default();
    let Some(alert) = world.alerts.get_mut(tenant_id, &event.aggregate_id) else {
        return;
    };
    alert.state = state;
    match state {
        AlertState::Acknowledged => {
            alert.acknowledgment = Some(Acknowledgment {
                acknowledged_by: text(event, "by"),
                acknowledged_at: time(event, "at"),
                comment: None,
            });
        }
        AlertState::Resolved => alert.resolved_at = Some(time(event, "at")),
        AlertState::Raised => {}
    }
}

fn alert(tenant_id: &str, event: &Event) -> Alert {
    Alert {
        id: event.aggregate_id.clone(),
        tenant_id: tenant_id.into(),
        property_id: text(event, "propertyId"),
        severity: text(event, "severity"),
        category: text(event, "category"),
        title: event.payload["title"].clone(),
        body: event.payload.get("body").cloned(),
        source: text(event, "source"),
        state: AlertState::Raised,
        raised_at: time(event, "raisedAt"),
        expires_at: event.payload.get("expiresAt").map(|_| time(event, "expiresAt")),
        acknowledgment: None,
        resolved_at: None,
    }
}

fn suggestion(tenant_id: &str, event: &Event) -> Suggestion {
    let tags = event.payload["complianceTags"].as_array();
    Suggestion {
        id: event.aggregate_id.clone(),
        tenant_id: tenant_id.into(),
        property_id: text(event, "propertyId"),
        category: text(event, "category"),
        title: event.payload["title"].clone(),
        summary: event.payload["summary"].clone(),
        confidence: event.payload["confidence"].as_f64().unwrap_or_default(),
        proposal: event.payload["proposal"].clone(),
        provenance: event.payload["provenance"].clone(),
        compliance_tags: tags
            .into_iter()
            .flatten()
            .filter_map(|tag| tag.as_str().map(str::to_owned))
            .collect(),
        state: SuggestionState::Proposed,
        proposed_at: time(event, "proposedAt"),
        expires_at: time(event, "expiresAt"),
        decision: None,
    }
}

/// A key that was issued without being asked for here.
fn key(tenant_id: &str, event: &Event) -> KeyCredential {
    let member = |name: &str| event.payload[name].clone();
    KeyCredential {
        id: text(event, "keyCredentialId"),
        tenant_id: tenant_id.into(),
        property_id: text(event, "propertyId"),
        reservation_id: text(event, "reservationId"),
        kind: text(event, "kind"),
        rooms: member("rooms"),
        valid_from: member("validFrom"),
        valid_until: member("validUntil"),
        state: "active",
        vendor: "generic-wiegand",
        idempotency_key: member("idempotencyKey").as_str().map(str::to_owned),
    }
}

/// A text member; empty where the tester left it out or wrote something else on purpose.
fn text(event: &Event, member: &str) -> String {
    event.payload[member].as_str().unwrap_or_default().to_owned()
}

/// A time member; that of the event where the tester wrote no time on purpose.
fn time(event: &Event, member: &str) -> DateTime<Utc> {
    let text = event.payload[member].as_str().unwrap_or_default();
    DateTime::parse_from_rfc3339(text).map_or(event.occurred_at, |time| time.to_utc())
}
