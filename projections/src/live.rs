//! What a connected desktop hears of a fact.

use chrono::{DateTime, Utc};
use events::{
    PropertyId,
    ledger::{
        alert_acknowledgment::AlertAcknowledgmentEvent,
        suggestion_decision::SuggestionDecisionEvent,
    },
    upstream::{UpstreamEvent, ai::SuggestionEvent},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Fact, FactEvent, suggestion_inbox::SHARIA_COMPLIANT};

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
    /// A tenant that works by the Sharia does not hear it.
    #[serde(default)]
    pub hidden_from_sharia: bool,
    /// The SSE `data`: `{"kind", "id", "at", …}`.
    pub data: Value,
}

/// The live events of a fact; empty for most.
pub fn live_events(fact: &Fact) -> Vec<LiveEvent> {
    alert_event(&fact.event).or_else(|| suggestion_event(&fact.event)).into_iter().collect()
}

/// Of a suggestion that a tenant must not see, only that one it never heard of was closed is told.
fn suggestion_event(event: &FactEvent) -> Option<LiveEvent> {
    let mut hidden_from_sharia = false;
    let (property_id, data) = match event {
        FactEvent::Upstream(UpstreamEvent::Suggestion(event)) => {
            let (suggestion_id, property_id) = event.subject();
            let data = match event {
                SuggestionEvent::Proposed(proposed) => {
                    let tags = &proposed.compliance_tags;
                    hidden_from_sharia = !tags.iter().any(|tag| tag == SHARIA_COMPLIANT);
                    json!({
                        "kind": "suggestion.added", "id": suggestion_id,
                        "at": proposed.proposed_at, "propertyId": property_id,
                        "category": proposed.category, "title": proposed.title,
                        "confidence": proposed.confidence, "expiresAt": proposed.expires_at,
                    })
                }
                SuggestionEvent::Withdrawn(moved) => {
                    changed("suggestion.withdrawn", suggestion_id, moved.at)
                }
                SuggestionEvent::Decided(moved) => {
                    changed("suggestion.decided", suggestion_id, moved.at)
                }
            };
            (property_id, data)
        }
        FactEvent::SuggestionDecision(SuggestionDecisionEvent::Decided {
            suggestion_id,
            property_id,
            decided_at,
            ..
        }) => (property_id, changed("suggestion.decided", suggestion_id, *decided_at)),
        FactEvent::SuggestionDecision(_)
        | FactEvent::AlertAcknowledgment(_)
        | FactEvent::DeviceSync { .. }
        | FactEvent::OperatorSession(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(_) => return None,
    };
    let (channel, property_id) = (Channel::Ai, property_id.clone());
    Some(LiveEvent { channel, property_id, hidden_from_sharia, data })
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
        | FactEvent::DeviceSync { .. }
        | FactEvent::OperatorSession(_)
        | FactEvent::SuggestionDecision(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(
            UpstreamEvent::LockCredential(_)
            | UpstreamEvent::SessionRevoked(_)
            | UpstreamEvent::UserLocked(_)
            | UpstreamEvent::DeviceRevoked(_)
            | UpstreamEvent::Tenant(_)
            | UpstreamEvent::Suggestion(_)
            | UpstreamEvent::ActivityReplayed(_)
            | UpstreamEvent::CursorAdvanced(_),
        ) => return None,
    };
    let (channel, property_id) = (Channel::Alerts, property_id.clone());
    Some(LiveEvent { channel, property_id, hidden_from_sharia: false, data })
}

fn changed(kind: &str, id: &impl Serialize, at: DateTime<Utc>) -> Value {
    json!({ "kind": kind, "id": id, "at": at })
}
