//! A session is opened once, by the first authenticated request of an operator on a device, goes
//! idle when its token runs out, comes back when one is given, and ends once.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    DeviceId, OperatorId, PropertyId, SessionId,
    ledger::operator_session::{ClosingReason, OperatorSessionEvent},
};
use serde::{Deserialize, Serialize};

/// What is known of one session. Stream `bos_…`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSession {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    New,
    Open {
        session_id: SessionId,
        /// Of the last refresh; `None` before the first.
        token_expires_at: Option<DateTime<Utc>>,
    },
    Idle(SessionId),
    Closed,
}

#[derive(Clone, Debug)]
pub enum Command {
    Open(Opening),
    Refresh { token_expires_at: DateTime<Utc>, at: DateTime<Utc> },
    Idle { at: DateTime<Utc> },
    Close { reason: ClosingReason, at: DateTime<Utc> },
    ForceLogOut { reason: String, at: DateTime<Utc> },
}

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    pub session_id: SessionId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// iam's session, the token's `sid`.
    pub iam_session_id: String,
    pub property_ids: Vec<PropertyId>,
    pub roles: Vec<String>,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the session was opened before")]
    AlreadyOpened,
    /// It was never opened, or it has ended.
    #[error("the session is not open")]
    NotOpen,
    /// It is idle already, or it has a token that still counts.
    #[error("the session does not go idle")]
    NotIdle,
}

impl Aggregate for OperatorSession {
    const TYPE: &'static str = "operator-session";
    type Command = Command;
    type Event = OperatorSessionEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        let event = self.decide(command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: OperatorSessionEvent) {
        self.state = match event {
            OperatorSessionEvent::Opened { session_id, .. } => {
                State::Open { session_id, token_expires_at: None }
            }
            OperatorSessionEvent::Refreshed { session_id, token_expires_at, .. } => {
                State::Open { session_id, token_expires_at: Some(token_expires_at) }
            }
            OperatorSessionEvent::Idled { session_id, .. } => State::Idle(session_id),
            OperatorSessionEvent::Closed { .. } | OperatorSessionEvent::ForceLoggedOut { .. } => {
                State::Closed
            }
        };
    }
}

impl OperatorSession {
    fn decide(&self, command: Command) -> Result<OperatorSessionEvent, Rejection> {
        match command {
            Command::Open(opening) => self.open(opening),
            Command::Refresh { token_expires_at, at } => {
                let session_id = self.standing()?;
                Ok(OperatorSessionEvent::Refreshed { session_id, token_expires_at, at })
            }
            Command::Idle { at } => self.idle(at),
            Command::Close { reason, at } => {
                let session_id = self.standing()?;
                Ok(OperatorSessionEvent::Closed { session_id, reason, at })
            }
            Command::ForceLogOut { reason, at } => {
                let session_id = self.standing()?;
                Ok(OperatorSessionEvent::ForceLoggedOut { session_id, reason, at })
            }
        }
    }

    fn open(&self, opening: Opening) -> Result<OperatorSessionEvent, Rejection> {
        if self.state != State::New {
            return Err(Rejection::AlreadyOpened);
        }
        Ok(OperatorSessionEvent::Opened {
            session_id: opening.session_id,
            operator_id: opening.operator_id,
            device_id: opening.device_id,
            iam_session_id: Some(opening.iam_session_id),
            property_ids: opening.property_ids,
            roles: opening.roles,
            opened_at: opening.at,
        })
    }

    /// A token that was given meanwhile keeps the session awake.
    fn idle(&self, at: DateTime<Utc>) -> Result<OperatorSessionEvent, Rejection> {
        match &self.state {
            State::Open { session_id, token_expires_at }
                if token_expires_at.is_none_or(|expires_at| expires_at <= at) =>
            {
                Ok(OperatorSessionEvent::Idled { session_id: session_id.clone(), at })
            }
            State::Open { .. } | State::Idle(_) => Err(Rejection::NotIdle),
            State::New | State::Closed => Err(Rejection::NotOpen),
        }
    }

    fn standing(&self) -> Result<SessionId, Rejection> {
        match &self.state {
            State::Open { session_id, .. } | State::Idle(session_id) => Ok(session_id.clone()),
            State::New | State::Closed => Err(Rejection::NotOpen),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    type Rules = TestFramework<OperatorSession>;

    #[test]
    fn a_session_opens_once() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Open(opening()))
            .then_expect_events(vec![opened()]);
        Rules::with(())
            .given(vec![opened()])
            .when(Command::Open(opening()))
            .then_expect_error(Rejection::AlreadyOpened);
    }

    #[test]
    fn a_session_ends_once() {
        let log_out = || Command::ForceLogOut { reason: "admin".to_owned(), at: at(9) };
        let ended = OperatorSessionEvent::ForceLoggedOut {
            session_id: opening().session_id,
            reason: "admin".to_owned(),
            at: at(9),
        };
        Rules::with(())
            .given(vec![opened()])
            .when(log_out())
            .then_expect_events(vec![ended.clone()]);
        Rules::with(())
            .given(vec![opened(), ended])
            .when(log_out())
            .then_expect_error(Rejection::NotOpen);
    }

    #[test]
    fn a_session_goes_idle_once_and_is_woken_by_a_refresh() {
        let idle = |seconds| Command::Idle { at: at(seconds) };
        let idled = |seconds| OperatorSessionEvent::Idled { session_id: id(), at: at(seconds) };
        let refresh = || Command::Refresh { token_expires_at: at(50), at: at(20) };
        Rules::with(()).given(vec![opened()]).when(idle(9)).then_expect_events(vec![idled(9)]);
        Rules::with(())
            .given(vec![opened(), idled(9)])
            .when(idle(10))
            .then_expect_error(Rejection::NotIdle);
        Rules::with(())
            .given(vec![opened(), idled(9)])
            .when(refresh())
            .then_expect_events(vec![refreshed()]);
        Rules::with(())
            .given(vec![opened(), idled(9), refreshed()])
            .when(idle(51))
            .then_expect_events(vec![idled(51)]);
    }

    #[test]
    fn a_session_whose_token_was_refreshed_meanwhile_stays_awake() {
        Rules::with(())
            .given(vec![opened(), refreshed()])
            .when(Command::Idle { at: at(49) })
            .then_expect_error(Rejection::NotIdle);
    }

    #[test]
    fn an_open_and_an_idle_session_are_closed_with_their_reason() {
        let close = || Command::Close { reason: ClosingReason::SignedOut, at: at(9) };
        let closed = OperatorSessionEvent::Closed {
            session_id: id(),
            reason: ClosingReason::SignedOut,
            at: at(9),
        };
        let idled = OperatorSessionEvent::Idled { session_id: id(), at: at(8) };
        for before in [vec![opened()], vec![opened(), idled]] {
            Rules::with(()).given(before).when(close()).then_expect_events(vec![closed.clone()]);
        }
    }

    #[test]
    fn nothing_happens_in_a_session_that_was_never_opened_or_has_ended() {
        let closed = || OperatorSessionEvent::Closed {
            session_id: id(),
            reason: ClosingReason::Expired,
            at: at(9),
        };
        let commands = || {
            [
                Command::Refresh { token_expires_at: at(50), at: at(20) },
                Command::Idle { at: at(20) },
                Command::Close { reason: ClosingReason::Replaced, at: at(20) },
                Command::ForceLogOut { reason: "admin".to_owned(), at: at(20) },
            ]
        };
        for command in commands() {
            Rules::with(())
                .given_no_previous_events()
                .when(command)
                .then_expect_error(Rejection::NotOpen);
        }
        for command in commands() {
            Rules::with(())
                .given(vec![opened(), closed()])
                .when(command)
                .then_expect_error(Rejection::NotOpen);
        }
    }

    fn refreshed() -> OperatorSessionEvent {
        OperatorSessionEvent::Refreshed { session_id: id(), token_expires_at: at(50), at: at(20) }
    }

    fn id() -> SessionId {
        opening().session_id
    }

    fn opened() -> OperatorSessionEvent {
        let Opening { session_id, operator_id, device_id, iam_session_id, property_ids, roles, at } =
            opening();
        OperatorSessionEvent::Opened {
            session_id,
            operator_id,
            device_id,
            iam_session_id: Some(iam_session_id),
            property_ids,
            roles,
            opened_at: at,
        }
    }

    fn opening() -> Opening {
        Opening {
            session_id: "bos_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            operator_id: "usr_1".parse().unwrap(),
            device_id: "dev_1".parse().unwrap(),
            iam_session_id: "ses_1".to_owned(),
            property_ids: vec!["ppt_1".parse().unwrap()],
            roles: vec!["front_desk".to_owned()],
            at: at(1),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
