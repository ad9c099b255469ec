//! The suggestions of a property: proposed, decided and withdrawn, from both logs.

use chrono::{DateTime, Utc};
use events::{
    PropertyId, SuggestionId,
    ledger::suggestion_decision::SuggestionDecisionEvent,
    upstream::{UpstreamEvent, ai::SuggestionEvent, notification::Localized},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Fact, FactEvent, Projection, Route};

/// The compliance tag of a suggestion that a tenant working by the Sharia may see.
pub const SHARIA_COMPLIANT: &str = "sharia_compliant";

/// Redis: hash `{tenant}:view:suggestion-inbox:<revision>:<propertyId>`, one field a suggestion.
/// Read by `GET /ai/suggestions`.
pub struct SuggestionInbox;

/// What is known of one suggestion. A decision may be known before the suggestion itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    pub id: SuggestionId,
    pub property_id: PropertyId,
    #[serde(default)]
    pub proposed: Option<Proposed>,
    /// By an operator of ours.
    #[serde(default)]
    pub decided_here: Option<Decided>,
    /// What the orchestrator says of a decision, ours or somebody else's.
    #[serde(default)]
    pub decided_there: Option<Decided>,
    /// The orchestrator had been told something else before our decision reached it.
    #[serde(default)]
    pub overruled: bool,
    #[serde(default)]
    pub withdrawn_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Proposed {
    pub category: String,
    pub title: Localized,
    #[serde(default)]
    pub summary: Option<Localized>,
    /// 0–1.
    pub confidence: f64,
    #[serde(default)]
    pub proposal: Value,
    #[serde(default)]
    pub provenance: Value,
    #[serde(default)]
    pub compliance_tags: Vec<String>,
    pub at: DateTime<Utc>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decided {
    /// First in the order, so that the earliest decision is the least.
    pub at: DateTime<Utc>,
    /// `accept`, `reject` or `modify`, where it is known.
    #[serde(default)]
    pub decision: Option<String>,
    /// The operator, where it was one of ours.
    #[serde(default)]
    pub by: Option<String>,
}

/// Where a suggestion is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuggestionState {
    Proposed,
    Decided,
    Withdrawn,
    Expired,
}

impl Suggestion {
    fn unknown(id: SuggestionId, property_id: PropertyId) -> Self {
        Self {
            id,
            property_id,
            proposed: None,
            decided_here: None,
            decided_there: None,
            overruled: false,
            withdrawn_at: None,
        }
    }

    /// The state at `now`: a suggestion nobody decides on expires.
    pub fn state(&self, now: DateTime<Utc>) -> SuggestionState {
        let expires_at = self.proposed.as_ref().and_then(|proposed| proposed.expires_at);
        if self.decided().is_some() {
            SuggestionState::Decided
        } else if self.withdrawn_at.is_some() {
            SuggestionState::Withdrawn
        } else if expires_at.is_some_and(|expires_at| expires_at <= now) {
            SuggestionState::Expired
        } else {
            SuggestionState::Proposed
        }
    }

    /// The decision that stands: ours, unless the orchestrator had another one before it.
    pub fn decided(&self) -> Option<&Decided> {
        let (here, there) = (self.decided_here.as_ref(), self.decided_there.as_ref());
        if self.overruled { there.or(here) } else { here.or(there) }
    }

    /// Whether a tenant that works by the Sharia may see it. What is not marked is not shown.
    pub fn is_sharia_compliant(&self) -> bool {
        self.proposed.as_ref().is_some_and(|proposed| {
            proposed.compliance_tags.iter().any(|tag| tag == SHARIA_COMPLIANT)
        })
    }

    fn apply_upstream(&mut self, event: &SuggestionEvent) {
        match event {
            SuggestionEvent::Proposed(proposed) => self.propose(Proposed {
                category: proposed.category.clone(),
                title: proposed.title.clone(),
                summary: proposed.summary.clone(),
                confidence: proposed.confidence,
                proposal: proposed.proposal.clone(),
                provenance: proposed.provenance.clone(),
                compliance_tags: proposed.compliance_tags.clone(),
                at: proposed.proposed_at,
                expires_at: proposed.expires_at,
            }),
            SuggestionEvent::Withdrawn(moved) => {
                let standing = self.withdrawn_at;
                self.withdrawn_at = Some(standing.map_or(moved.at, |at| at.min(moved.at)));
            }
            SuggestionEvent::Decided(moved) => {
                let new = Decided { at: moved.at, decision: moved.decision.clone(), by: None };
                self.decided_there = Some(match self.decided_there.take() {
                    Some(standing) => standing.min(new),
                    None => new,
                });
            }
        }
    }

    fn apply_own(&mut self, event: &SuggestionDecisionEvent) {
        match event {
            SuggestionDecisionEvent::Decided { decision, decided_by, decided_at, .. } => {
                let decision = serde_json::to_value(decision).ok();
                self.decided_here = Some(Decided {
                    at: *decided_at,
                    decision: decision.and_then(|word| word.as_str().map(str::to_owned)),
                    by: Some(decided_by.to_string()),
                });
            }
            SuggestionDecisionEvent::Reported { already_decided, .. } => {
                self.overruled = *already_decided;
            }
            SuggestionDecisionEvent::ReportFailed { .. } => (),
        }
    }

    fn propose(&mut self, new: Proposed) {
        if self.proposed.as_ref().is_none_or(|standing| standing.at <= new.at) {
            self.proposed = Some(new);
        }
    }
}

impl Projection for SuggestionInbox {
    const NAME: &'static str = "suggestion-inbox";
    const REVISION: u32 = 1;
    type Item = Suggestion;

    fn route(fact: &Fact) -> Option<Route> {
        let (suggestion_id, property_id) = subject(&fact.event)?;
        Some(Route { property_id: property_id.clone(), item_id: suggestion_id.to_string() })
    }

    fn evolve(item: Option<Suggestion>, fact: &Fact) -> Suggestion {
        let Some((suggestion_id, property_id)) = subject(&fact.event) else {
            return item.expect("only facts with a route are folded");
        };
        let unknown = || Suggestion::unknown(suggestion_id.clone(), property_id.clone());
        let mut suggestion = item.unwrap_or_else(unknown);
        match &fact.event {
            FactEvent::Upstream(UpstreamEvent::Suggestion(event)) => {
                suggestion.apply_upstream(event);
            }
            FactEvent::SuggestionDecision(event) => suggestion.apply_own(event),
            FactEvent::Upstream(_)
            | FactEvent::AlertAcknowledgment(_)
            | FactEvent::DeviceSync { .. }
            | FactEvent::OperatorSession(_)
            | FactEvent::System(_) => (),
        }
        suggestion
    }
}

/// The suggestion a fact is about.
fn subject(event: &FactEvent) -> Option<(&SuggestionId, &PropertyId)> {
    match event {
        FactEvent::Upstream(UpstreamEvent::Suggestion(event)) => Some(event.subject()),
        FactEvent::SuggestionDecision(event) => Some(event.subject()),
        FactEvent::Upstream(_)
        | FactEvent::AlertAcknowledgment(_)
        | FactEvent::DeviceSync { .. }
        | FactEvent::OperatorSession(_)
        | FactEvent::System(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use events::{
        ledger::suggestion_decision::Decision,
        upstream::ai::{SuggestionMoved, SuggestionProposed},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{Log, live::live_events};

    proptest! {
        #[test]
        fn the_two_logs_may_arrive_interleaved_in_any_way(
            times in prop::collection::vec(0_i64..1_000, 5),
            is_overruled in any::<bool>(),
            picks in prop::collection::vec(any::<bool>(), 6),
        ) {
            let inbox = [
                upstream(1, proposed(times[0])),
                upstream(2, decided_there(times[1])),
                upstream(3, withdrawn(times[2])),
            ];
            let ledger =
                [own(1, decided(times[3])), own(2, reported(times[4], is_overruled))];
            let one_after_the_other = fold(inbox.iter().chain(&ledger));

            let mixed = interleave(&inbox, &ledger, &picks);

            prop_assert_eq!(fold(mixed.into_iter()), one_after_the_other);
        }
    }

    #[test]
    fn a_repeated_fact_changes_nothing() {
        let facts = [upstream(1, proposed(1)), own(1, decided(5)), upstream(2, decided_there(6))];
        assert_eq!(fold(facts.iter().chain(&facts)), fold(facts.iter()));
    }

    #[test]
    fn our_decision_stands_unless_the_orchestrator_had_another_one_before_it() {
        let mut facts = vec![own(1, decided(7)), upstream(1, decided_there(3))];
        let by = |facts: &[Fact]| fold(facts.iter()).decided().unwrap().by.clone();
        assert_eq!(by(&facts), Some("usr_own".to_owned()));
        facts.push(own(2, reported(8, false)));
        assert_eq!(by(&facts), Some("usr_own".to_owned()));
        facts.push(own(3, reported(9, true)));
        assert_eq!(by(&facts), None);
    }

    #[test]
    fn a_suggestion_is_proposed_until_it_is_closed_one_way_or_another() {
        let proposal = || upstream(1, proposed(0));
        let open = fold([proposal()].iter());
        assert_eq!(open.state(at(9)), SuggestionState::Proposed);
        assert_eq!(open.state(at(100)), SuggestionState::Expired);
        let retracted = fold([proposal(), upstream(2, withdrawn(5))].iter());
        assert_eq!(retracted.state(at(100)), SuggestionState::Withdrawn);
        let closed = fold([proposal(), upstream(2, withdrawn(5)), own(1, decided(4))].iter());
        assert_eq!(closed.state(at(100)), SuggestionState::Decided);
    }

    #[test]
    fn what_is_not_marked_compliant_is_hidden_from_a_tenant_that_needs_it_marked() {
        let UpstreamEvent::Suggestion(SuggestionEvent::Proposed(mut marked)) = proposed(0) else {
            panic!("a proposal");
        };
        marked.compliance_tags = vec!["other".to_owned(), SHARIA_COMPLIANT.to_owned()];
        let marked = UpstreamEvent::Suggestion(SuggestionEvent::Proposed(marked));
        for (event, is_compliant) in [(proposed(0), false), (marked, true)] {
            let fact = upstream(1, event);
            assert_eq!(fold([fact.clone()].iter()).is_sharia_compliant(), is_compliant);
            assert_eq!(live_events(&fact)[0].hidden_from_sharia, !is_compliant);
        }
        assert!(!fold([own(1, decided(1))].iter()).is_sharia_compliant());
    }

    fn fold<'a>(facts: impl Iterator<Item = &'a Fact>) -> Suggestion {
        facts.fold(None, |item, fact| Some(SuggestionInbox::evolve(item, fact))).unwrap()
    }

    fn interleave<'a>(inbox: &'a [Fact], ledger: &'a [Fact], picks: &[bool]) -> Vec<&'a Fact> {
        let (mut inbox, mut ledger) = (inbox.iter().peekable(), ledger.iter().peekable());
        let mut mixed = Vec::new();
        for pick in picks {
            mixed.extend(if *pick { inbox.next() } else { ledger.next() });
        }
        mixed.extend(inbox);
        mixed.extend(ledger);
        mixed
    }

    fn upstream(position: i64, event: UpstreamEvent) -> Fact {
        fact(Log::Inbox, position, FactEvent::Upstream(event))
    }

    fn own(position: i64, event: SuggestionDecisionEvent) -> Fact {
        fact(Log::Ledger, position, FactEvent::SuggestionDecision(event))
    }

    fn fact(log: Log, position: i64, event: FactEvent) -> Fact {
        let tenant_id = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap();
        Fact { tenant_id, log, position, occurred_at: at(position), event }
    }

    fn proposed(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::Suggestion(SuggestionEvent::Proposed(SuggestionProposed {
            suggestion_id: suggestion_id(),
            property_id: property_id(),
            category: "rate_change".to_owned(),
            title: Localized::One("Raise the rate".to_owned()),
            summary: None,
            confidence: 0.75,
            proposal: Value::Null,
            provenance: Value::Null,
            compliance_tags: Vec::new(),
            proposed_at: at(seconds),
            expires_at: Some(at(seconds + 100)),
        }))
    }

    fn withdrawn(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::Suggestion(SuggestionEvent::Withdrawn(moved(seconds, None)))
    }

    fn decided_there(seconds: i64) -> UpstreamEvent {
        UpstreamEvent::Suggestion(SuggestionEvent::Decided(moved(seconds, Some("reject"))))
    }

    fn moved(seconds: i64, decision: Option<&str>) -> SuggestionMoved {
        SuggestionMoved {
            suggestion_id: suggestion_id(),
            property_id: property_id(),
            decision: decision.map(str::to_owned),
            at: at(seconds),
        }
    }

    fn decided(seconds: i64) -> SuggestionDecisionEvent {
        SuggestionDecisionEvent::Decided {
            suggestion_id: suggestion_id(),
            property_id: property_id(),
            category: "rate_change".to_owned(),
            decision: Decision::Accept,
            modification: None,
            reason_code: None,
            decided_by: "usr_own".parse().unwrap(),
            decided_at: at(seconds),
            comment: None,
        }
    }

    fn reported(seconds: i64, already_decided: bool) -> SuggestionDecisionEvent {
        SuggestionDecisionEvent::Reported {
            suggestion_id: suggestion_id(),
            property_id: property_id(),
            reported_at: at(seconds),
            already_decided,
        }
    }

    fn suggestion_id() -> SuggestionId {
        "sgn_1".parse().unwrap()
    }

    fn property_id() -> PropertyId {
        "ppt_1".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
