//! The suggestions for a property, as ai-orchestrator-service lists them.

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, Utc};
use events::{
    PropertyId, TenantId,
    upstream::{
        UpstreamEvent,
        ai::{SuggestionEvent, SuggestionMoved, SuggestionProposed},
    },
};
use projections::{SuggestionInbox, suggestion_inbox::Suggestion};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Mirrored, Missing, named_as_in_events};
use crate::upstream::{
    CallContext, Upstream, UpstreamError, ai,
    page::{Page, PageQuery},
};

/// A suggestion as the orchestrator lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    #[serde(flatten)]
    proposed: SuggestionProposed,
    #[serde(default)]
    state: String,
    /// What was reported of the decision, where there was one.
    #[serde(default)]
    decision: Value,
    #[serde(default)]
    withdrawn_at: Option<DateTime<Utc>>,
}

impl Mirrored for SuggestionInbox {
    const PRODUCER: &'static str = "ai_orchestrator";
    /// As long as the orchestrator has to answer.
    const WAIT: Duration = Duration::from_millis(800);

    fn id(suggestion: &Suggestion) -> &str {
        suggestion.id.as_str()
    }

    fn is_offered(suggestion: &Suggestion) -> bool {
        suggestion.proposed.is_some()
    }

    async fn page(
        upstream: &Upstream,
        tenant_id: &TenantId,
        context: &CallContext,
        query: PageQuery<'_>,
    ) -> Result<Page, UpstreamError> {
        ai::suggestions(upstream, tenant_id, context, query).await
    }

    fn missing(
        listed: Value,
        property_id: &PropertyId,
        known: &HashMap<&str, &Suggestion>,
    ) -> Result<Vec<Missing>, serde_json::Error> {
        let listed: Listed = serde_json::from_value(named_as_in_events(listed, "suggestionId"))?;
        if listed.proposed.property_id != *property_id {
            return Ok(Vec::new());
        }
        let known = known.get(listed.proposed.suggestion_id.as_str()).copied();
        Ok(listed.missing(known))
    }
}

impl Listed {
    fn missing(self, known: Option<&Suggestion>) -> Vec<Missing> {
        let lacks = |is_lacking: fn(&Suggestion) -> bool| known.is_none_or(is_lacking);
        let item_id = self.proposed.suggestion_id.to_string();
        let mut missing = Vec::new();
        if self.state == "decided" && lacks(|it| it.decided().is_none()) {
            let word = self.decision["decision"].as_str().or_else(|| self.decision.as_str());
            let at = self.decision["decidedAt"].as_str().and_then(|at| at.parse().ok());
            let moved = self.moved(word.map(str::to_owned), at);
            missing.push(Missing {
                item_id: item_id.clone(),
                what: "decided",
                subject: "melmastoon.ai_orchestrator.hitl.gate_decided.v1",
                occurred_at: moved.at,
                payload: json!(moved),
                event: UpstreamEvent::Suggestion(SuggestionEvent::Decided(moved)),
            });
        }
        if self.state == "withdrawn" && lacks(|it| it.withdrawn_at.is_none()) {
            let moved = self.moved(None, self.withdrawn_at);
            missing.push(Missing {
                item_id: item_id.clone(),
                what: "withdrawn",
                subject: "melmastoon.ai_orchestrator.suggestion.withdrawn.v1",
                occurred_at: moved.at,
                payload: json!(moved),
                event: UpstreamEvent::Suggestion(SuggestionEvent::Withdrawn(moved)),
            });
        }
        if lacks(|it| it.proposed.is_none()) {
            // Before what happened to it.
            missing.insert(
                0,
                Missing {
                    item_id,
                    what: "proposed",
                    subject: "melmastoon.ai_orchestrator.suggestion.proposed.v1",
                    occurred_at: self.proposed.proposed_at,
                    payload: json!(self.proposed),
                    event: UpstreamEvent::Suggestion(SuggestionEvent::Proposed(self.proposed)),
                },
            );
        }
        missing
    }

    /// When it moved; when it was proposed, where the list does not say.
    fn moved(&self, decision: Option<String>, at: Option<DateTime<Utc>>) -> SuggestionMoved {
        SuggestionMoved {
            suggestion_id: self.proposed.suggestion_id.clone(),
            property_id: self.proposed.property_id.clone(),
            decision,
            at: at.unwrap_or(self.proposed.proposed_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{folded, kinds},
        *,
    };

    #[test]
    fn only_what_the_inbox_lacks_is_taken_in() {
        for (state, decision, expected) in [
            ("proposed", Value::Null, vec!["proposed"]),
            ("decided", json!({ "decision": "reject" }), vec!["proposed", "decided"]),
            ("withdrawn", Value::Null, vec!["proposed", "withdrawn"]),
        ] {
            let item = json!({
                "id": "sgn_1", "propertyId": "ppt_1", "category": "rate_change", "title": "Raise",
                "summary": "", "confidence": 0.5, "proposal": {}, "provenance": {},
                "complianceTags": [], "state": state, "decision": decision,
                "proposedAt": "2026-11-21T10:00:00Z", "expiresAt": "2026-11-22T10:00:00Z",
            });
            let property_id = "ppt_1".parse().unwrap();
            let missing = |known: &HashMap<&str, &Suggestion>| {
                SuggestionInbox::missing(item.clone(), &property_id, known).unwrap()
            };

            let all = missing(&HashMap::new());
            assert_eq!(kinds(&all), expected, "{state}");

            let known = folded::<SuggestionInbox>(&all);
            assert!(missing(&HashMap::from([("sgn_1", &known)])).is_empty(), "{state}");
        }
    }
}
