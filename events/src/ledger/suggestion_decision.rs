//! Ledger `ai-decision`, stream `sdl:<suggestionId>`: an operator decided on a suggestion, and
//! ai-orchestrator-service was told.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ledger, LedgerEvent, domain_event};
use crate::{OperatorId, PropertyId, SuggestionId};

/// What an operator makes of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Accept,
    Reject,
    /// Accepted with changes; the modification says which.
    Modify,
}

/// What happened to the decision on one suggestion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum SuggestionDecisionEvent {
    /// An operator decided. It stands, whether or not the orchestrator can be reached; it changes
    /// nothing by itself.
    ///
    /// Source: `POST /ai/suggestions/{id}/decide`.
    #[serde(rename = "melmastoon.bff.backoffice.suggestion.decided.v1", rename_all = "camelCase")]
    Decided {
        suggestion_id: SuggestionId,
        property_id: PropertyId,
        /// As the orchestrator names it.
        category: String,
        decision: Decision,
        /// With `modify` only: what shall be done instead.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        modification: Option<Map<String, Value>>,
        /// A word of the desktop's list.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason_code: Option<String>,
        decided_by: OperatorId,
        decided_at: DateTime<Utc>,
        /// What the operator wrote, at most 1,000 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(extend("x-personal" = true))]
        comment: Option<String>,
    },

    /// The orchestrator has the decision, or had another one already.
    #[serde(rename = "melmastoon.bff.backoffice.decision.reported.v1", rename_all = "camelCase")]
    Reported {
        suggestion_id: SuggestionId,
        property_id: PropertyId,
        reported_at: DateTime<Utc>,
        /// The suggestion was closed there before ours arrived; what it was closed with stands
        /// there.
        already_decided: bool,
    },

    /// The orchestrator refused the decision for good.
    #[serde(
        rename = "melmastoon.bff.backoffice.decision.report_failed.v1",
        rename_all = "camelCase"
    )]
    ReportFailed {
        suggestion_id: SuggestionId,
        property_id: PropertyId,
        failed_at: DateTime<Utc>,
        /// The upstream's HTTP status.
        status: u16,
        /// The upstream's problem code, empty when it gave none.
        code: String,
    },
}

impl SuggestionDecisionEvent {
    /// The suggestion it is about, and the property of that.
    pub fn subject(&self) -> (&SuggestionId, &PropertyId) {
        match self {
            Self::Decided { suggestion_id, property_id, .. }
            | Self::Reported { suggestion_id, property_id, .. }
            | Self::ReportFailed { suggestion_id, property_id, .. } => (suggestion_id, property_id),
        }
    }
}

impl LedgerEvent for SuggestionDecisionEvent {
    const LEDGER: Ledger = Ledger::AiDecision;

    fn kind(&self) -> &'static str {
        match self {
            Self::Decided { .. } => "melmastoon.bff.backoffice.suggestion.decided.v1",
            Self::Reported { .. } => "melmastoon.bff.backoffice.decision.reported.v1",
            Self::ReportFailed { .. } => "melmastoon.bff.backoffice.decision.report_failed.v1",
        }
    }

    fn personal_fields(&self) -> &'static [&'static str] {
        match self {
            Self::Decided { .. } => &["comment"],
            Self::Reported { .. } | Self::ReportFailed { .. } => &[],
        }
    }
}

domain_event!(SuggestionDecisionEvent);
