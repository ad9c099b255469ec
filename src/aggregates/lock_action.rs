//! An action on a lock is requested before it is done, has one outcome, and is requested again only
//! when it is certain that nothing was sent.

mod writing;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    KeyCredentialId, LockActionId, LockId, PropertyId,
    ledger::lock_action::{
        LockActionEvent, LockActionKind, LockDemand, LockFailure, LockFinding, LockVendor,
    },
};
use serde::{Deserialize, Serialize};

use self::writing::{concluded, denied, requested, resolved};

/// What is known of one action. Stream `lap_…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockAction {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    New,
    /// Asked for, and nobody knows yet.
    Open(Wanted),
    /// Asked for, and the answer was lost.
    Unknown(Wanted),
    /// Certainly not asked for.
    NotSent(Wanted),
    Settled(Wanted, Outcome, DateTime<Utc>),
    /// Never allowed.
    Refused,
}

/// What is wanted, and all that is needed to ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub action_id: LockActionId,
    pub lock_id: LockId,
    pub property_id: PropertyId,
    pub vendor: LockVendor,
    pub demand: LockDemand,
    pub upstream_key: String,
    pub at: DateTime<Utc>,
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The key that was issued or revoked.
    Done(KeyCredentialId),
    Failed(Failure),
}

/// Why nothing happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: LockFailure,
    /// Of the upstream's refusal.
    pub status: Option<u16>,
    /// Empty when there was none.
    pub code: String,
}

/// An action that was not even tried.
#[derive(Clone, Debug)]
pub struct Denial {
    pub action_id: LockActionId,
    pub action: LockActionKind,
    pub lock_id: LockId,
    pub failure: Failure,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub enum Command {
    Request(Box<Wanted>),
    /// Of what never becomes a request.
    Deny(Denial),
    /// What lock-integration-service said, or what was found out.
    Settle {
        outcome: Outcome,
        found_by: LockFinding,
        at: DateTime<Utc>,
    },
    /// It was asked and did not answer. Writes nothing when that is known already.
    LoseSight {
        at: DateTime<Utc>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the action was requested already")]
    AlreadyRequested,
    #[error("nobody requested the action")]
    NotRequested,
    #[error("the outcome of the action is known already")]
    AlreadySettled,
    #[error("the action may have been sent before")]
    NotCertain,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// It may be requested.
    Ready,
    /// Its outcome is to be found out.
    Open(&'a Wanted),
    /// See [`LockAction::settlement`].
    Settled,
    Refused,
}

impl Aggregate for LockAction {
    const TYPE: &'static str = "lock-action";
    type Command = Command;
    type Event = LockActionEvent;
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

    fn apply(&mut self, event: LockActionEvent) {
        self.state = match event {
            LockActionEvent::Requested {
                action_id,
                lock_id,
                property_id,
                vendor,
                demand,
                upstream_key,
                requested_at: at,
            } => State::Open(Wanted {
                action_id,
                lock_id,
                property_id,
                vendor,
                demand,
                upstream_key,
                at,
            }),
            LockActionEvent::Completed { key_credential_id, completed_at, .. } => {
                self.settled(Outcome::Done(key_credential_id), completed_at)
            }
            LockActionEvent::Failed { reason, status, code, failed_at, .. } => {
                self.failed(Failure { reason, status, code }, failed_at)
            }
            LockActionEvent::OutcomeUnknown { .. } => {
                self.wanted().cloned().map_or(State::New, State::Unknown)
            }
            LockActionEvent::Resolved {
                key_credential_id,
                reason,
                status,
                code,
                resolved_at,
                ..
            } => match (key_credential_id, reason) {
                (Some(key_credential_id), _) => {
                    self.settled(Outcome::Done(key_credential_id), resolved_at)
                }
                (None, reason) => {
                    let reason = reason.unwrap_or(LockFailure::NotApplied);
                    self.failed(Failure { reason, status, code }, resolved_at)
                }
            },
        };
    }
}

impl LockAction {
    /// How far it is.
    pub const fn progress(&self) -> Progress<'_> {
        match &self.state {
            State::New | State::NotSent(_) => Progress::Ready,
            State::Open(wanted) | State::Unknown(wanted) => Progress::Open(wanted),
            State::Settled(..) => Progress::Settled,
            State::Refused => Progress::Refused,
        }
    }

    /// It was asked for and the answer was lost, which is recorded.
    pub const fn is_lost(&self) -> bool {
        matches!(self.state, State::Unknown(_))
    }

    /// What was wanted, how it ended and when; `None` while it has not.
    pub const fn settlement(&self) -> Option<(&Wanted, &Outcome, DateTime<Utc>)> {
        match &self.state {
            State::Settled(wanted, outcome, at) => Some((wanted, outcome, *at)),
            _ => None,
        }
    }

    /// What was requested, last.
    pub const fn wanted(&self) -> Option<&Wanted> {
        match &self.state {
            State::Open(wanted)
            | State::Unknown(wanted)
            | State::NotSent(wanted)
            | State::Settled(wanted, ..) => Some(wanted),
            State::New | State::Refused => None,
        }
    }

    /// What a command leads to; `None` when nothing is new.
    fn decide(&self, command: Command) -> Result<Option<LockActionEvent>, Rejection> {
        match command {
            Command::Request(wanted) => match self.progress() {
                Progress::Ready => Ok(Some(requested(*wanted))),
                _ => Err(Rejection::AlreadyRequested),
            },
            Command::Deny(denial) => match self.state {
                State::New => Ok(Some(denied(denial))),
                _ => Err(Rejection::AlreadyRequested),
            },
            Command::Settle { outcome, found_by, at } => match &self.state {
                // What is not sent now may have been sent before.
                State::Unknown(_) if outcome.is_not_sent() => Err(Rejection::NotCertain),
                State::Open(wanted) if found_by == LockFinding::Repeated => {
                    Ok(Some(concluded(wanted, outcome, at)))
                }
                State::Open(wanted) | State::Unknown(wanted) => {
                    Ok(Some(resolved(wanted, outcome, found_by, at)))
                }
                _ => Err(self.rejection()),
            },
            Command::LoseSight { at: unknown_at } => match &self.state {
                State::Open(Wanted { action_id, lock_id, .. }) => {
                    Ok(Some(LockActionEvent::OutcomeUnknown {
                        action_id: action_id.clone(),
                        lock_id: lock_id.clone(),
                        unknown_at,
                    }))
                }
                State::Unknown(_) => Ok(None),
                _ => Err(self.rejection()),
            },
        }
    }

    const fn rejection(&self) -> Rejection {
        match self.state {
            State::Settled(..) => Rejection::AlreadySettled,
            _ => Rejection::NotRequested,
        }
    }

    fn settled(&self, outcome: Outcome, at: DateTime<Utc>) -> State {
        match self.wanted().cloned() {
            Some(wanted) => State::Settled(wanted, outcome, at),
            None => State::Refused,
        }
    }

    fn failed(&self, failure: Failure, at: DateTime<Utc>) -> State {
        match (self.wanted().cloned(), failure.reason) {
            (Some(wanted), LockFailure::NotSent) => State::NotSent(wanted),
            _ => self.settled(Outcome::Failed(failure), at),
        }
    }
}

impl Outcome {
    fn is_not_sent(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.reason == LockFailure::NotSent)
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use events::ledger::lock_action::{KeyKind, RevokeReason};

    use super::*;

    type Rules = TestFramework<LockAction>;

    #[test]
    fn an_action_is_requested_once() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Request(Box::new(wanted())))
            .then_expect_events(vec![requested(wanted())]);
        Rules::with(())
            .given(vec![requested(wanted())])
            .when(Command::Request(Box::new(wanted())))
            .then_expect_error(Rejection::AlreadyRequested);
    }

    #[test]
    fn what_was_certainly_not_sent_may_be_requested_again() {
        Rules::with(())
            .given(vec![requested(wanted()), failed(LockFailure::NotSent)])
            .when(Command::Request(Box::new(Wanted { at: at(9), ..wanted() })))
            .then_expect_events(vec![requested(Wanted { at: at(9), ..wanted() })]);
        Rules::with(())
            .given(vec![requested(wanted()), failed(LockFailure::Refused)])
            .when(Command::Request(Box::new(wanted())))
            .then_expect_error(Rejection::AlreadyRequested);
    }

    #[test]
    fn an_answer_completes_and_a_refusal_fails() {
        Rules::with(())
            .given(vec![requested(wanted())])
            .when(settle(done(), LockFinding::Repeated))
            .then_expect_events(vec![concluded(&wanted(), done(), at(7))]);
        Rules::with(())
            .given(vec![requested(wanted())])
            .when(settle(Outcome::Failed(refusal(LockFailure::Refused)), LockFinding::Repeated))
            .then_expect_events(vec![failed(LockFailure::Refused)]);
    }

    #[test]
    fn what_was_lost_sight_of_is_resolved_once() {
        let unknown = LockActionEvent::OutcomeUnknown {
            action_id: wanted().action_id,
            lock_id: wanted().lock_id,
            unknown_at: at(6),
        };
        Rules::with(())
            .given(vec![requested(wanted())])
            .when(Command::LoseSight { at: at(6) })
            .then_expect_events(vec![unknown.clone()]);
        Rules::with(())
            .given(vec![requested(wanted()), unknown.clone()])
            .when(Command::LoseSight { at: at(6) })
            .then_expect_events(vec![]);
        Rules::with(())
            .given(vec![requested(wanted()), unknown.clone()])
            .when(settle(Outcome::Failed(refusal(LockFailure::NotSent)), LockFinding::Repeated))
            .then_expect_error(Rejection::NotCertain);
        let found = resolved(&wanted(), done(), LockFinding::Event, at(7));
        Rules::with(())
            .given(vec![requested(wanted()), unknown.clone()])
            .when(settle(done(), LockFinding::Event))
            .then_expect_events(vec![found.clone()]);
        Rules::with(())
            .given(vec![requested(wanted()), unknown, found])
            .when(settle(done(), LockFinding::Repeated))
            .then_expect_error(Rejection::AlreadySettled);
    }

    #[test]
    fn what_nobody_requested_has_no_outcome() {
        Rules::with(())
            .given_no_previous_events()
            .when(settle(done(), LockFinding::Repeated))
            .then_expect_error(Rejection::NotRequested);
    }

    #[test]
    fn what_was_denied_is_never_requested() {
        let Wanted { action_id, lock_id, .. } = wanted();
        let denial = Denial {
            action_id,
            action: LockActionKind::Issue,
            lock_id,
            failure: refusal(LockFailure::MfaRefused),
            at: at(7),
        };
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Deny(denial.clone()))
            .then_expect_events(vec![denied(denial.clone())]);
        Rules::with(())
            .given(vec![denied(denial)])
            .when(Command::Request(Box::new(wanted())))
            .then_expect_error(Rejection::AlreadyRequested);
    }

    #[test]
    fn a_revocation_says_what_it_was() {
        let mut action = LockAction::default();
        let demand = LockDemand::Revoke {
            key_credential_id: key(),
            reason: RevokeReason::Lost,
            attestation_id: "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            iam_attestation_id: None,
        };
        let wanted = Wanted { demand, ..wanted() };
        action.apply(requested(wanted.clone()));
        assert_eq!(action.progress(), Progress::Open(&wanted));
        assert_eq!(wanted.demand.kind(), LockActionKind::Revoke);
    }

    fn settle(outcome: Outcome, found_by: LockFinding) -> Command {
        Command::Settle { outcome, found_by, at: at(7) }
    }

    fn done() -> Outcome {
        Outcome::Done(key())
    }

    fn refusal(reason: LockFailure) -> Failure {
        Failure { reason, status: Some(409), code: "MELMASTOON.LOCK.X".to_owned() }
    }

    fn failed(reason: LockFailure) -> LockActionEvent {
        concluded(&wanted(), Outcome::Failed(refusal(reason)), at(7))
    }

    fn wanted() -> Wanted {
        Wanted {
            action_id: "lap_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            lock_id: "lck_7".parse().unwrap(),
            property_id: "ppt_1".parse().unwrap(),
            vendor: LockVendor::Salto,
            demand: LockDemand::Issue {
                reservation_id: "rsv_1".parse().unwrap(),
                rooms: vec!["rom_1".parse().unwrap()],
                valid_from: at(5),
                valid_until: at(500),
                preferred_kinds: vec![KeyKind::RfidCard],
            },
            upstream_key: "01HZX3V7Q8M4N5P6R7S8T9W0XZ".to_owned(),
            at: at(5),
        }
    }

    fn key() -> KeyCredentialId {
        "key_3".parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
