//! What ai-orchestrator-service says of its suggestions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::notification::Localized;
use crate::{PropertyId, SuggestionId};

/// Every subject of the service begins so.
pub(super) const SUBJECTS: &str = "melmastoon.ai_orchestrator.";

/// An event that moves a suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SuggestionEvent {
    /// Subject `melmastoon.ai_orchestrator.suggestion.proposed.v1`.
    Proposed(SuggestionProposed),
    /// Subject `melmastoon.ai_orchestrator.suggestion.withdrawn.v1`.
    Withdrawn(SuggestionMoved),
    /// Subject `melmastoon.ai_orchestrator.hitl.gate_decided.v1`: somebody decided, here or
    /// elsewhere.
    Decided(SuggestionMoved),
}

/// A suggestion waits for an operator's decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuggestionProposed {
    pub suggestion_id: SuggestionId,
    pub property_id: PropertyId,
    /// `overbooking_warning`, `rate_change` …; the list is the orchestrator's and grows.
    pub category: String,
    pub title: Localized,
    #[serde(default)]
    pub summary: Option<Localized>,
    /// 0–1.
    pub confidence: f64,
    /// What is suggested, in the orchestrator's terms.
    #[serde(default)]
    pub proposal: Value,
    /// Which model and prompt it comes from.
    #[serde(default)]
    pub provenance: Value,
    #[serde(default)]
    pub compliance_tags: Vec<String>,
    pub proposed_at: DateTime<Utc>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A suggestion needs no decision any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SuggestionMoved {
    pub suggestion_id: SuggestionId,
    pub property_id: PropertyId,
    /// `accept`, `reject` or `modify`, where it was decided and the service says how.
    #[serde(default)]
    pub decision: Option<String>,
    pub at: DateTime<Utc>,
}

impl SuggestionEvent {
    /// Reads a payload by its subject; `None` for a subject of other things.
    ///
    /// # Errors
    /// When the payload lacks what the subject promises.
    pub fn read(subject: &str, payload: Value) -> Result<Option<Self>, serde_json::Error> {
        let read = match subject.strip_prefix(SUBJECTS) {
            Some("suggestion.proposed.v1") => Self::Proposed(serde_json::from_value(payload)?),
            Some("suggestion.withdrawn.v1") => Self::Withdrawn(serde_json::from_value(payload)?),
            Some("hitl.gate_decided.v1") => Self::Decided(serde_json::from_value(payload)?),
            _ => return Ok(None),
        };
        Ok(Some(read))
    }

    /// The suggestion it is about, and the property of that.
    pub fn subject(&self) -> (&SuggestionId, &PropertyId) {
        match self {
            Self::Proposed(proposed) => (&proposed.suggestion_id, &proposed.property_id),
            Self::Withdrawn(moved) | Self::Decided(moved) => {
                (&moved.suggestion_id, &moved.property_id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_proposal_is_read_with_what_it_has_and_without_what_it_may_lack() {
        let payload = json!({
            "suggestionId": "sgn_1", "propertyId": "ppt_1", "category": "rate_change",
            "title": { "en": "Raise the rate" }, "confidence": 0.75, "somethingNew": [1],
            "proposedAt": "2026-11-21T10:00:00Z",
        });

        let read =
            SuggestionEvent::read("melmastoon.ai_orchestrator.suggestion.proposed.v1", payload);

        let Ok(Some(SuggestionEvent::Proposed(proposed))) = read else { panic!("{read:?}") };
        assert_eq!(proposed.confidence.to_string(), "0.75");
        assert_eq!(proposed.compliance_tags, Vec::<String>::new());
        assert_eq!(proposed.expires_at, None);
    }

    #[test]
    fn a_withdrawn_and_a_decided_suggestion_are_told_apart() {
        let read = |verb: &str| {
            let payload = json!({ "suggestionId": "sgn_1", "propertyId": "ppt_1",
                "decision": "accept", "at": "2026-11-21T10:00:00Z" });
            SuggestionEvent::read(&format!("melmastoon.ai_orchestrator.{verb}"), payload).unwrap()
        };
        assert!(matches!(read("suggestion.withdrawn.v1"), Some(SuggestionEvent::Withdrawn(_))));
        let Some(SuggestionEvent::Decided(decided)) = read("hitl.gate_decided.v1") else {
            panic!("no decision was read");
        };
        assert_eq!(decided.decision.as_deref(), Some("accept"));
        assert_eq!(read("inference.completed.v1"), None);
    }

    #[test]
    fn a_proposal_of_nothing_for_nobody_is_refused() {
        for subject in ["suggestion.proposed.v1", "suggestion.withdrawn.v1", "hitl.gate_decided.v1"]
        {
            let subject = format!("melmastoon.ai_orchestrator.{subject}");
            assert!(SuggestionEvent::read(&subject, json!({})).is_err(), "{subject}");
        }
    }
}
