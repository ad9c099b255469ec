//! What a connected desktop hears of a fact.

use chrono::{DateTime, Utc};
use events::{
    PropertyId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent, upstream::UpstreamEvent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Fact, FactEvent};

/// The SSE event name, and what a client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    Ai,
    Alerts,
    DashboardRefreshHints,
    Session,
}

impl Channel {
    pub const ALL: [Self; 4] = [Self::Ai, Self::Alerts, Self::DashboardRefreshHints, Self::Session];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ai => "ai",
            Self::Alerts => "alerts",
            Self::DashboardRefreshHints => "dashboard-refresh-hints",
            Self::Session => "session",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.name() == name)
    }
}

/// One event of a live stream, before it is filtered by property and scope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveEvent {
    pub channel: Channel,
    /// Only operators of this property hear it.
    pub property_id: PropertyId,
    /// The SSE `data`: `{"kind", "id", "at", …}`.
    pub data: Value,
}

/// The live events of a fact; empty for most.
pub fn live_events(fact: &Fact) -> Vec<LiveEvent> {
    alert_event(&fact.event).into_iter().collect()
}

fn alert_event(event: &FactEvent) -> Option<LiveEvent> {
    let (property_id, data) = match event {
        FactEvent::Upstream(UpstreamEvent::AlertRaised(raised)) => (
            &raised.property_id,
            json!({
                "kind": "alert.raised", "id": raised.alert_id, "at": raised.raised_at,
                "propertyId": raised.property_id, "severity": raised.severity,
                "category": raised.category, "title": raised.title,
            }),
        ),
        FactEvent::Upstream(UpstreamEvent::LockHealthAlert(alert)) => (
            &alert.property_id,
            json!({
                "kind": "alert.raised", "id": alert.lock_id, "at": alert.at,
                "propertyId": alert.property_id, "severity": alert.severity,
                "category": "lock-health", "title": alert.kind,
            }),
        ),
        FactEvent::Upstream(UpstreamEvent::AlertAcknowledged(ack)) => {
            (&ack.property_id, changed("alert.acknowledged", &ack.alert_id, ack.at))
        }
        FactEvent::Upstream(UpstreamEvent::AlertResolved(resolved)) => {
            (&resolved.property_id, changed("alert.resolved", &resolved.alert_id, resolved.at))
        }
        FactEvent::AlertAcknowledgment(AlertAcknowledgmentEvent::Acknowledged {
            alert_id,
            property_id,
            acknowledged_at,
            ..
        }) => (property_id, changed("alert.acknowledged", alert_id, *acknowledged_at)),
        FactEvent::AlertAcknowledgment(_)
        | FactEvent::OperatorSession(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(
            UpstreamEvent::SessionRevoked(_)
            | UpstreamEvent::UserLocked(_)
            | UpstreamEvent::DeviceRevoked(_)
            | UpstreamEvent::Tenant(_)
            | UpstreamEvent::ActivityReplayed(_)
            | UpstreamEvent::CursorAdvanced(_),
        ) => return None,
    };
    Some(LiveEvent { channel: Channel::Alerts, property_id: property_id.clone(), data })
}

fn changed(kind: &str, id: &events::AlertId, at: DateTime<Utc>) -> Value {
    json!({ "kind": kind, "id": id, "at": at })
}
