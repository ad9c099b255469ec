//! A mutation is asked for before the upstream hears of it, and ends once; as long as it has not
//! ended, its own key may go on with it.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::ledger::operator_action::{
    Action, ActionOutcome, OperatorActionEvent, RefusalReason, StepUpUsed,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of one mutation. Stream `act_…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorAction {
    pub stage: Stage,
    /// The step-up that went with the last request.
    pub step_up: Option<StepUpUsed>,
    action: Option<Action>,
    /// Code of the last word, where that was about a step-up.
    step_up_refused: Option<String>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Nothing was sent: it may be asked for, for the first time or again.
    #[default]
    Open,
    /// The upstream is being asked, or whoever asked it is gone.
    Requested,
    /// It was sent and may have happened.
    Unknown,
    /// Its outcome is known and stands.
    Ended,
}

/// How the call of the upstream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    Completed {
        status: u16,
    },
    /// For good.
    Refused {
        status: u16,
        code: String,
    },
    /// The upstream was not asked, or turned the request away unread.
    NotSent {
        status: Option<u16>,
        code: String,
    },
    Unknown {
        status: Option<u16>,
    },
}

#[derive(Clone, Debug)]
pub enum Command {
    Request {
        action: Action,
        details: Map<String, Value>,
        step_up: Option<StepUpUsed>,
        /// Whether `details` is all of the request.
        repeatable: bool,
        at: DateTime<Utc>,
    },
    /// The step-up that the action needs was missing or not good enough; `code` says which. Writes
    /// nothing when that is the last word already.
    RefuseStepUp { action: Action, code: String, at: DateTime<Utc> },
    /// Writes nothing when it adds nothing to what is known.
    Conclude { conclusion: Conclusion, at: DateTime<Utc> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the action has been asked for already")]
    AlreadyRequested,
    #[error("nobody asked for the action")]
    NotRequested,
    #[error("the action has ended")]
    Ended,
}

impl Aggregate for OperatorAction {
    const TYPE: &'static str = "operator-action";
    type Command = Command;
    type Event = OperatorActionEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: OperatorActionEvent) {
        self.step_up_refused = match &event {
            OperatorActionEvent::Refused { reason: RefusalReason::StepUp, code, .. } => {
                Some(code.clone())
            }
            _ => None,
        };
        self.stage = match event {
            OperatorActionEvent::Requested { action, step_up, .. } => {
                self.action = Some(action);
                self.step_up = step_up;
                Stage::Requested
            }
            OperatorActionEvent::Refused {
                reason: RefusalReason::NotSent | RefusalReason::StepUp,
                ..
            } => Stage::Open,
            OperatorActionEvent::OutcomeUnknown { .. } => Stage::Unknown,
            OperatorActionEvent::Completed { .. }
            | OperatorActionEvent::Refused { reason: RefusalReason::Upstream, .. }
            | OperatorActionEvent::Resolved { .. } => Stage::Ended,
        };
    }
}

impl OperatorAction {
    fn decide(&self, command: Command) -> Result<Option<OperatorActionEvent>, Rejection> {
        match command {
            Command::Request { action, details, step_up, repeatable, at } => {
                self.may_ask()?;
                let requested_at = at;
                Ok(Some(OperatorActionEvent::Requested {
                    action,
                    details,
                    step_up,
                    repeatable,
                    requested_at,
                }))
            }
            Command::RefuseStepUp { action, code, at } => {
                self.may_ask()?;
                if self.step_up_refused.as_ref() == Some(&code) {
                    return Ok(None);
                }
                Ok(Some(OperatorActionEvent::Refused {
                    action,
                    reason: RefusalReason::StepUp,
                    status: None,
                    code,
                    refused_at: at,
                }))
            }
            Command::Conclude { conclusion, at } => self.conclude(conclusion, at),
        }
    }

    fn may_ask(&self) -> Result<(), Rejection> {
        match self.stage {
            Stage::Open => Ok(()),
            Stage::Requested | Stage::Unknown => Err(Rejection::AlreadyRequested),
            Stage::Ended => Err(Rejection::Ended),
        }
    }

    fn conclude(
        &self,
        conclusion: Conclusion,
        at: DateTime<Utc>,
    ) -> Result<Option<OperatorActionEvent>, Rejection> {
        let action = self.action.clone().ok_or(Rejection::NotRequested)?;
        match self.stage {
            Stage::Open => Err(Rejection::NotRequested),
            Stage::Requested => Ok(Some(concluded(action, conclusion, at))),
            Stage::Unknown => Ok(resolved(action, conclusion, at)),
            Stage::Ended => Err(Rejection::Ended),
        }
    }
}

/// The first word on an action.
fn concluded(action: Action, conclusion: Conclusion, at: DateTime<Utc>) -> OperatorActionEvent {
    match conclusion {
        Conclusion::Completed { status } => {
            OperatorActionEvent::Completed { action, status, completed_at: at }
        }
        Conclusion::Refused { status, code } => OperatorActionEvent::Refused {
            action,
            reason: RefusalReason::Upstream,
            status: Some(status),
            code,
            refused_at: at,
        },
        Conclusion::NotSent { status, code } => OperatorActionEvent::Refused {
            action,
            reason: RefusalReason::NotSent,
            status,
            code,
            refused_at: at,
        },
        Conclusion::Unknown { status } => {
            OperatorActionEvent::OutcomeUnknown { action, status, unknown_since: at }
        }
    }
}

/// What became of an action whose outcome was unknown; `None` while it still is. That the upstream
/// could not be asked again says nothing of what it did before.
fn resolved(
    action: Action,
    conclusion: Conclusion,
    at: DateTime<Utc>,
) -> Option<OperatorActionEvent> {
    let (outcome, status, code) = match conclusion {
        Conclusion::Completed { status } => (ActionOutcome::Completed, status, String::new()),
        Conclusion::Refused { status, code } => (ActionOutcome::Refused, status, code),
        Conclusion::NotSent { .. } | Conclusion::Unknown { .. } => return None,
    };
    Some(OperatorActionEvent::Resolved { action, outcome, status, code, resolved_at: at })
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use events::ledger::mfa_attestation::StepUpScope;

    use super::*;

    type Rules = TestFramework<OperatorAction>;

    #[test]
    fn an_action_is_asked_for_once() {
        Rules::with(())
            .given_no_previous_events()
            .when(request())
            .then_expect_events(vec![requested()]);
        for (history, rejection) in [
            (vec![requested()], Rejection::AlreadyRequested),
            (vec![requested(), unknown()], Rejection::AlreadyRequested),
            (vec![requested(), completed()], Rejection::Ended),
            (vec![requested(), refused(RefusalReason::Upstream)], Rejection::Ended),
        ] {
            Rules::with(()).given(history).when(request()).then_expect_error(rejection);
        }
    }

    #[test]
    fn what_was_not_sent_may_be_asked_for_again() {
        Rules::with(())
            .given(vec![requested(), refused(RefusalReason::NotSent)])
            .when(request())
            .then_expect_events(vec![requested()]);
    }

    #[test]
    fn a_step_up_that_is_missing_is_recorded_and_may_be_brought_later() {
        let refuse =
            || Command::RefuseStepUp { action: action(), code: "AUTH.MFA".to_owned(), at: at(7) };
        Rules::with(())
            .given_no_previous_events()
            .when(refuse())
            .then_expect_events(vec![refused(RefusalReason::StepUp)]);
        Rules::with(())
            .given(vec![refused(RefusalReason::StepUp)])
            .when(refuse())
            .then_expect_events(vec![]);
        Rules::with(())
            .given(vec![refused(RefusalReason::StepUp)])
            .when(request())
            .then_expect_events(vec![requested()]);
        Rules::with(())
            .given(vec![requested()])
            .when(refuse())
            .then_expect_error(Rejection::AlreadyRequested);
    }

    #[test]
    fn the_first_word_of_the_upstream_ends_it() {
        for (conclusion, event) in [
            (Conclusion::Completed { status: 201 }, completed()),
            (verdict(), refused(RefusalReason::Upstream)),
            (
                Conclusion::NotSent { status: None, code: "AUTH.MFA".to_owned() },
                refused(RefusalReason::NotSent),
            ),
            (Conclusion::Unknown { status: None }, unknown()),
        ] {
            Rules::with(())
                .given(vec![requested()])
                .when(Command::Conclude { conclusion, at: at(7) })
                .then_expect_events(vec![event]);
        }
    }

    #[test]
    fn an_unknown_outcome_is_resolved_by_an_answer_only() {
        let conclude = |conclusion| Command::Conclude { conclusion, at: at(7) };
        for silent in [
            Conclusion::Unknown { status: Some(503) },
            Conclusion::NotSent { status: None, code: String::new() },
        ] {
            Rules::with(())
                .given(vec![requested(), unknown()])
                .when(conclude(silent))
                .then_expect_events(vec![]);
        }
        Rules::with(())
            .given(vec![requested(), unknown()])
            .when(conclude(Conclusion::Completed { status: 201 }))
            .then_expect_events(vec![OperatorActionEvent::Resolved {
                action: action(),
                outcome: ActionOutcome::Completed,
                status: 201,
                code: String::new(),
                resolved_at: at(7),
            }]);
    }

    #[test]
    fn nothing_is_concluded_that_was_not_asked_for_or_has_ended() {
        for (history, rejection) in [
            (vec![], Rejection::NotRequested),
            (vec![requested(), refused(RefusalReason::NotSent)], Rejection::NotRequested),
            (vec![requested(), completed()], Rejection::Ended),
        ] {
            Rules::with(())
                .given(history)
                .when(Command::Conclude { conclusion: verdict(), at: at(9) })
                .then_expect_error(rejection);
        }
    }

    fn request() -> Command {
        Command::Request {
            action: action(),
            details: Map::new(),
            step_up: Some(step_up()),
            repeatable: true,
            at: at(5),
        }
    }

    fn requested() -> OperatorActionEvent {
        OperatorActionEvent::Requested {
            action: action(),
            details: Map::new(),
            step_up: Some(step_up()),
            repeatable: true,
            requested_at: at(5),
        }
    }

    fn completed() -> OperatorActionEvent {
        OperatorActionEvent::Completed { action: action(), status: 201, completed_at: at(7) }
    }

    fn refused(reason: RefusalReason) -> OperatorActionEvent {
        OperatorActionEvent::Refused {
            action: action(),
            reason,
            status: (reason == RefusalReason::Upstream).then_some(409),
            code: "AUTH.MFA".to_owned(),
            refused_at: at(7),
        }
    }

    fn unknown() -> OperatorActionEvent {
        OperatorActionEvent::OutcomeUnknown { action: action(), status: None, unknown_since: at(7) }
    }

    fn verdict() -> Conclusion {
        Conclusion::Refused { status: 409, code: "AUTH.MFA".to_owned() }
    }

    fn step_up() -> StepUpUsed {
        StepUpUsed {
            attestation_id: "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            scope: StepUpScope::FolioRefund,
        }
    }

    fn action() -> Action {
        Action {
            verb: "folio.refund".to_owned(),
            route: "POST /folios/{id}/refunds".to_owned(),
            upstream: "billing-service".to_owned(),
            target_id: Some("fol_1".to_owned()),
            property_id: "ppt_1".parse().unwrap(),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
