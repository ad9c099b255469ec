//! Where each producer puts the five things we need of an envelope.

use chrono::{DateTime, Utc};
use serde_json::Value;

/// Names of members of the envelope's top level, the producer's own first; later ones are
/// tolerated.
#[derive(Debug)]
pub(super) struct Shape {
    id: &'static [&'static str],
    subject: &'static [&'static str],
    tenant: &'static [&'static str],
    time: &'static [&'static str],
    payload: &'static [&'static str],
}

/// iam, inventory, housekeeping and analytics: `eventId`, `subject`, `payload`.
const EVENT_ID_AND_PAYLOAD: Shape = Shape {
    id: &["eventId", "id"],
    subject: &["subject", "type"],
    tenant: &["tenantId"],
    time: &["occurredAt", "time"],
    payload: &["payload"],
};

/// tenant, pricing, lock and ai-orchestrator: `id`, `type` (tenant's `subject` is an entity),
/// `data`.
const ID_AND_DATA: Shape = Shape {
    id: &["id", "eventId"],
    subject: &["type", "subject"],
    tenant: &["tenantId"],
    time: &["time", "occurredAt"],
    payload: &["data"],
};

/// reservation, notification, maintenance and sync: the platform's `EventEnvelope`.
const EVENT_ENVELOPE: Shape = Shape {
    id: &["eventId", "id"],
    subject: &["subject", "type", "eventType"],
    tenant: &["tenantId"],
    time: &["occurredAt", "time"],
    payload: &["payload", "data"],
};

/// billing: `CloudEvents` 1.0, structured, whose attribute names are lower case and whose `subject`
/// is a folio.
const CLOUD_EVENT: Shape = Shape {
    id: &["id"],
    subject: &["type"],
    tenant: &["tenantid", "tenantId"],
    time: &["time"],
    payload: &["data"],
};

/// property and theme: `eventId`, `eventType`.
const EVENT_TYPE: Shape = Shape {
    id: &["eventId"],
    subject: &["eventType"],
    tenant: &["tenantId"],
    time: &["occurredAt"],
    payload: &["data", "payload"],
};

impl Shape {
    /// The shape of a service's envelopes, by the service's name in topics.
    pub(super) fn of(producer: &str) -> Option<&'static Self> {
        Some(match producer {
            "iam" | "inventory" | "housekeeping" | "analytics" => &EVENT_ID_AND_PAYLOAD,
            "tenant" | "pricing" | "lock" | "ai_orchestrator" => &ID_AND_DATA,
            "reservation" | "notification" | "maintenance" | "sync" => &EVENT_ENVELOPE,
            "billing" => &CLOUD_EVENT,
            "property" | "theme" => &EVENT_TYPE,
            _ => return None,
        })
    }

    pub(super) fn id<'a>(&self, message: &'a Value) -> Option<&'a str> {
        text(message, self.id)
    }

    /// The first candidate that is a subject of the platform: `subject` is an entity's id in some
    /// envelopes.
    pub(super) fn subject<'a>(&self, message: &'a Value) -> Option<&'a str> {
        self.subject
            .iter()
            .filter_map(|name| message.get(name)?.as_str())
            .find(|text| text.starts_with("melmastoon."))
    }

    pub(super) fn tenant<'a>(&self, message: &'a Value) -> Option<&'a str> {
        text(message, self.tenant)
    }

    /// The time in microseconds, as Postgres keeps it.
    pub(super) fn occurred_at(&self, message: &Value) -> Option<DateTime<Utc>> {
        use chrono::SubsecRound;

        let time = DateTime::parse_from_rfc3339(text(message, self.time)?).ok()?;
        Some(time.to_utc().trunc_subsecs(6))
    }

    pub(super) fn payload<'a>(&self, message: &'a Value) -> Option<&'a Value> {
        self.payload.iter().find_map(|name| message.get(name)).filter(|payload| payload.is_object())
    }

    pub(super) fn take_payload(&self, message: &mut Value) -> Option<Value> {
        let name = self.payload.iter().find(|name| message.get(name).is_some())?;
        message.get_mut(name).map(Value::take).filter(Value::is_object)
    }
}

fn text<'a>(message: &'a Value, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| message.get(name)?.as_str())
}
