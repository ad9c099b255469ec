//! A session is opened once, by the first authenticated request of an operator on a device, and
//! ends once.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{
    DeviceId, OperatorId, PropertyId, SessionId, ledger::operator_session::OperatorSessionEvent,
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
    Open(SessionId),
    Closed,
}

#[derive(Clone, Debug)]
pub enum Command {
    Open(Opening),
    ForceLogOut { reason: String, at: DateTime<Utc> },
}

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    pub session_id: SessionId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    pub property_ids: Vec<PropertyId>,
    pub roles: Vec<String>,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the session was opened before")]
    AlreadyOpened,
    #[error("the session is not open")]
    NotOpen,
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
            OperatorSessionEvent::Opened { session_id, .. } => State::Open(session_id),
            OperatorSessionEvent::ForceLoggedOut { .. } => State::Closed,
        };
    }
}

impl OperatorSession {
    fn decide(&self, command: Command) -> Result<OperatorSessionEvent, Rejection> {
        match (command, &self.state) {
            (Command::Open(opening), State::New) => Ok(OperatorSessionEvent::Opened {
                session_id: opening.session_id,
                operator_id: opening.operator_id,
                device_id: opening.device_id,
                property_ids: opening.property_ids,
                roles: opening.roles,
                opened_at: opening.at,
            }),
            (Command::Open(_), State::Open(_) | State::Closed) => Err(Rejection::AlreadyOpened),
            (Command::ForceLogOut { reason, at }, State::Open(session_id)) => {
                let session_id = session_id.clone();
                Ok(OperatorSessionEvent::ForceLoggedOut { session_id, reason, at })
            }
            (Command::ForceLogOut { .. }, State::New | State::Closed) => Err(Rejection::NotOpen),
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

    fn opened() -> OperatorSessionEvent {
        let Opening { session_id, operator_id, device_id, property_ids, roles, at } = opening();
        OperatorSessionEvent::Opened {
            session_id,
            operator_id,
            device_id,
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
            property_ids: vec!["ppt_1".parse().unwrap()],
            roles: vec!["front_desk".to_owned()],
            at: at(1),
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
