//! Alerts and suggestions: what the upstreams put before an operator.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::item;

/// An alert as notification-service holds it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    /// `info low medium high critical`.
    pub severity: String,
    pub category: String,
    /// Text, or a map from locale to text.
    pub title: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The service that found it.
    pub source: String,
    pub state: AlertState,
    pub raised_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledgment: Option<Acknowledgment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
}
item!(Alert);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    Raised,
    Acknowledged,
    Resolved,
}

impl AlertState {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

/// Who took an alert on, and when.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgment {
    pub acknowledged_by: String,
    pub acknowledged_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A suggestion as ai-orchestrator holds it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub category: String,
    pub title: Value,
    pub summary: Value,
    /// 0–1.
    pub confidence: f64,
    pub proposal: Value,
    pub provenance: Value,
    /// `sharia_compliant` where it may be shown to a Sharia tenant.
    pub compliance_tags: Vec<String>,
    pub state: SuggestionState,
    pub proposed_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Value>,
}
item!(Suggestion);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionState {
    Proposed,
    Decided,
    Withdrawn,
}

impl SuggestionState {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Decided => "decided",
            Self::Withdrawn => "withdrawn",
        }
    }
}
