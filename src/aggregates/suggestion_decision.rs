//! A suggestion is decided on once; the first operator's word stands, and ai-orchestrator-service
//! is told until it answers.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    OperatorId, PropertyId, SuggestionId,
    ledger::suggestion_decision::{Decision, SuggestionDecisionEvent},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of the decision on one suggestion. Stream `sdl:<suggestionId>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionDecision {
    pub standing: Option<Standing>,
    pub reporting: Reporting,
}

/// The decision that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub suggestion_id: SuggestionId,
    pub property_id: PropertyId,
    pub category: String,
    pub decision: Decision,
    pub modification: Option<Map<String, Value>>,
    pub reason_code: Option<String>,
    pub by: OperatorId,
    pub at: DateTime<Utc>,
}

/// How far the orchestrator knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reporting {
    #[default]
    Pending,
    Done,
    /// Refused for good.
    Failed,
}

/// What the orchestrator last said of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It waits for a decision; for ever when no time is given.
    Open {
        until: Option<DateTime<Utc>>,
    },
    /// Somebody decided elsewhere.
    Decided,
    Withdrawn,
}

#[derive(Clone, Debug)]
pub enum Command {
    Decide { standing: Box<Standing>, comment: Option<String>, offer: Offer },
    RecordReported { at: DateTime<Utc>, already_decided: bool },
    RecordReportFailed { at: DateTime<Utc>, status: u16, code: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the suggestion is decided already")]
    AlreadyDecided(Box<Standing>),
    #[error("the suggestion was decided elsewhere")]
    DecidedElsewhere,
    #[error("the suggestion has expired or was withdrawn")]
    Expired,
    #[error("a modification comes with the decision to modify, and with no other")]
    Modification,
    #[error("nobody decided on the suggestion")]
    NotDecided,
    #[error("ai-orchestrator-service has answered already")]
    AlreadyReported,
}

impl Offer {
    /// Whether it can be taken up at `now`.
    pub fn is_open(self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Open { until } if until.is_none_or(|until| now < until))
    }
}

impl Aggregate for SuggestionDecision {
    const TYPE: &'static str = "suggestion-decision";
    type Command = Command;
    type Event = SuggestionDecisionEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        let event = match command {
            Command::Decide { standing, comment, offer } => {
                self.decide(*standing, comment, offer)?
            }
            Command::RecordReported { at, already_decided } => {
                let Standing { suggestion_id, property_id, .. } = self.awaiting_report()?.clone();
                SuggestionDecisionEvent::Reported {
                    suggestion_id,
                    property_id,
                    reported_at: at,
                    already_decided,
                }
            }
            Command::RecordReportFailed { at, status, code } => {
                let Standing { suggestion_id, property_id, .. } = self.awaiting_report()?.clone();
                SuggestionDecisionEvent::ReportFailed {
                    suggestion_id,
                    property_id,
                    failed_at: at,
                    status,
                    code,
                }
            }
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: SuggestionDecisionEvent) {
        match event {
            SuggestionDecisionEvent::Decided {
                suggestion_id,
                property_id,
                category,
                decision,
                modification,
                reason_code,
                decided_by: by,
                decided_at: at,
                comment: _,
            } => {
                self.standing = Some(Standing {
                    suggestion_id,
                    property_id,
                    category,
                    decision,
                    modification,
                    reason_code,
                    by,
                    at,
                });
            }
            SuggestionDecisionEvent::Reported { .. } => self.reporting = Reporting::Done,
            SuggestionDecisionEvent::ReportFailed { .. } => self.reporting = Reporting::Failed,
        }
    }
}

impl SuggestionDecision {
    /// A decision of ours stands whatever became of the suggestion since.
    fn decide(
        &self,
        new: Standing,
        comment: Option<String>,
        offer: Offer,
    ) -> Result<SuggestionDecisionEvent, Rejection> {
        if let Some(standing) = &self.standing {
            return Err(Rejection::AlreadyDecided(Box::new(standing.clone())));
        }
        if offer == Offer::Decided {
            return Err(Rejection::DecidedElsewhere);
        }
        if !offer.is_open(new.at) {
            return Err(Rejection::Expired);
        }
        if (new.decision == Decision::Modify) != new.modification.is_some() {
            return Err(Rejection::Modification);
        }
        let Standing {
            suggestion_id,
            property_id,
            category,
            decision,
            modification,
            reason_code,
            by: decided_by,
            at: decided_at,
        } = new;
        Ok(SuggestionDecisionEvent::Decided {
            suggestion_id,
            property_id,
            category,
            decision,
            modification,
            reason_code,
            decided_by,
            decided_at,
            comment,
        })
    }

    fn awaiting_report(&self) -> Result<&Standing, Rejection> {
        let standing = self.standing.as_ref().ok_or(Rejection::NotDecided)?;
        if self.reporting != Reporting::Pending {
            return Err(Rejection::AlreadyReported);
        }
        Ok(standing)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use serde_json::json;

    use super::*;

    type Rules = TestFramework<SuggestionDecision>;

    #[test]
    fn an_open_suggestion_is_decided_on() {
        for offer in [Offer::Open { until: None }, Offer::Open { until: Some(at(6)) }] {
            Rules::with(())
                .given_no_previous_events()
                .when(decide(standing(), offer))
                .then_expect_events(vec![decided(standing())]);
        }
    }

    #[test]
    fn the_first_decision_stands_even_when_the_suggestion_is_closed_since() {
        let later = || Standing { decision: Decision::Reject, at: at(9), ..standing() };
        for offer in [OPEN, Offer::Open { until: Some(at(6)) }, Offer::Decided, Offer::Withdrawn] {
            Rules::with(())
                .given(vec![decided(standing()), reported(true)])
                .when(decide(later(), offer))
                .then_expect_error(Rejection::AlreadyDecided(Box::new(standing())));
        }
    }

    #[test]
    fn what_is_closed_is_not_decided_on() {
        for (offer, rejection) in [
            (Offer::Open { until: Some(at(5)) }, Rejection::Expired),
            (Offer::Withdrawn, Rejection::Expired),
            (Offer::Decided, Rejection::DecidedElsewhere),
        ] {
            Rules::with(())
                .given_no_previous_events()
                .when(decide(standing(), offer))
                .then_expect_error(rejection);
        }
    }

    #[test]
    fn a_modification_comes_with_the_decision_to_modify_and_with_no_other() {
        let change = json!({ "rate": 1 }).as_object().cloned();
        let modified =
            Standing { decision: Decision::Modify, modification: change.clone(), ..standing() };
        Rules::with(())
            .given_no_previous_events()
            .when(decide(modified.clone(), OPEN))
            .then_expect_events(vec![decided(modified.clone())]);
        for wrong in [
            Standing { modification: None, ..modified },
            Standing { modification: change, ..standing() },
        ] {
            Rules::with(())
                .given_no_previous_events()
                .when(decide(wrong, OPEN))
                .then_expect_error(Rejection::Modification);
        }
    }

    #[test]
    fn the_orchestrator_is_told_once() {
        let tell = || Command::RecordReported { at: at(9), already_decided: false };
        Rules::with(())
            .given(vec![decided(standing())])
            .when(tell())
            .then_expect_events(vec![reported(false)]);
        Rules::with(())
            .given(vec![decided(standing()), reported(false)])
            .when(tell())
            .then_expect_error(Rejection::AlreadyReported);
    }

    #[test]
    fn a_refusal_for_good_ends_the_telling() {
        let failed = || Command::RecordReportFailed { at: at(9), status: 404, code: String::new() };
        let event = SuggestionDecisionEvent::ReportFailed {
            suggestion_id: standing().suggestion_id,
            property_id: standing().property_id,
            failed_at: at(9),
            status: 404,
            code: String::new(),
        };
        Rules::with(())
            .given(vec![decided(standing())])
            .when(failed())
            .then_expect_events(vec![event.clone()]);
        Rules::with(())
            .given(vec![decided(standing()), event])
            .when(failed())
            .then_expect_error(Rejection::AlreadyReported);
        Rules::with(())
            .given_no_previous_events()
            .when(failed())
            .then_expect_error(Rejection::NotDecided);
    }

    const OPEN: Offer = Offer::Open { until: None };

    fn decide(standing: Standing, offer: Offer) -> Command {
        Command::Decide { standing: Box::new(standing), comment: Some("why".to_owned()), offer }
    }

    fn decided(standing: Standing) -> SuggestionDecisionEvent {
        SuggestionDecisionEvent::Decided {
            suggestion_id: standing.suggestion_id,
            property_id: standing.property_id,
            category: standing.category,
            decision: standing.decision,
            modification: standing.modification,
            reason_code: standing.reason_code,
            decided_by: standing.by,
            decided_at: standing.at,
            comment: Some("why".to_owned()),
        }
    }

    fn reported(already_decided: bool) -> SuggestionDecisionEvent {
        SuggestionDecisionEvent::Reported {
            suggestion_id: standing().suggestion_id,
            property_id: standing().property_id,
            reported_at: at(9),
            already_decided,
        }
    }

    fn standing() -> Standing {
        Standing {
            suggestion_id: "sgn_1".parse().unwrap(),
            property_id: "ppt_1".parse().unwrap(),
            category: "rate_change".to_owned(),
            decision: Decision::Accept,
            modification: None,
            reason_code: Some("BUSY".to_owned()),
            by: "usr_1".parse().unwrap(),
            at: at(5),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
