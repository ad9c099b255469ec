//! Who has which session on which device, and which of iam's sessions it belongs to.

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, SessionId, ledger::operator_session::OperatorSessionEvent};

use crate::{Fact, FactEvent, TableProjection};

/// Postgres: table `session_map`, one row a session. Read by whoever ends sessions, for those that
/// the session tier has lost.
///
/// An index over the ledger and not the session: whether one lives is the session tier's to say.
pub struct SessionMap;

/// What the ledger knows of one session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedSession {
    pub id: SessionId,
    pub opened: Option<Opened>,
    /// The last time that the ledger has heard of it.
    pub heard_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub at: DateTime<Utc>,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// The token's `sid`; `None` for sessions from before it was recorded.
    pub iam_session_id: Option<String>,
}

impl TableProjection for SessionMap {
    const NAME: &'static str = "session-map";
    type Row = MappedSession;

    fn row_id(fact: &Fact) -> Option<String> {
        session_event(fact).map(|event| event.session_id().to_string())
    }

    fn evolve(row: Option<MappedSession>, fact: &Fact) -> MappedSession {
        let Some(event) = session_event(fact) else {
            return row.expect("only facts with a row are folded");
        };
        let (opened, at, ended_at) = told(event);
        let Some(standing) = row else {
            return MappedSession {
                id: event.session_id().clone(),
                opened,
                heard_at: at,
                ended_at,
            };
        };
        MappedSession {
            opened: standing.opened.or(opened),
            heard_at: standing.heard_at.max(at),
            // It ends once; should two have ended it, at the first time.
            ended_at: [standing.ended_at, ended_at].into_iter().flatten().min(),
            id: standing.id,
        }
    }

    fn is_over(row: &MappedSession) -> bool {
        row.ended_at.is_some()
    }
}

fn session_event(fact: &Fact) -> Option<&OperatorSessionEvent> {
    match &fact.event {
        FactEvent::OperatorSession(event) => Some(event),
        FactEvent::AlertAcknowledgment(_)
        | FactEvent::DeviceSync { .. }
        | FactEvent::SuggestionDecision(_)
        | FactEvent::System(_)
        | FactEvent::Upstream(_) => None,
    }
}

/// How it was opened, when this was heard, and when it ended, as far as the event says.
fn told(event: &OperatorSessionEvent) -> (Option<Opened>, DateTime<Utc>, Option<DateTime<Utc>>) {
    match event {
        OperatorSessionEvent::Opened {
            session_id: _,
            operator_id,
            device_id,
            iam_session_id,
            property_ids: _,
            roles: _,
            opened_at,
        } => {
            let opened = Opened {
                at: *opened_at,
                operator_id: operator_id.clone(),
                device_id: device_id.clone(),
                iam_session_id: iam_session_id.clone(),
            };
            (Some(opened), *opened_at, None)
        }
        OperatorSessionEvent::Refreshed { at, .. } | OperatorSessionEvent::Idled { at, .. } => {
            (None, *at, None)
        }
        OperatorSessionEvent::Closed { at, .. }
        | OperatorSessionEvent::ForceLoggedOut { at, .. } => (None, *at, Some(*at)),
    }
}

#[cfg(test)]
mod tests {
    use events::{TenantId, ledger::operator_session::ClosingReason};
    use proptest::prelude::*;

    use super::*;
    use crate::Log;

    #[test]
    fn a_session_is_open_until_it_has_ended() {
        let facts = facts();
        let open = fold(&facts[..3]);
        assert_eq!((open.heard_at, open.ended_at), (at(3), None));
        assert!(!SessionMap::is_over(&open));
        assert_eq!(open.opened.as_ref().unwrap().iam_session_id.as_deref(), Some("ses_1"));

        let ended = fold(&facts);
        assert_eq!(ended.ended_at, Some(at(4)));
        assert!(SessionMap::is_over(&ended));
    }

    proptest! {
        #[test]
        fn facts_may_arrive_in_any_order_and_more_than_once(
            order in Just((0..4_usize).collect::<Vec<_>>()).prop_shuffle(),
            again in prop::collection::vec(0..4_usize, 0..4),
        ) {
            let facts = facts();
            let in_order = fold(&facts);
            let shuffled = order.iter().chain(&again).map(|index| &facts[*index]);
            prop_assert_eq!(fold(shuffled), in_order);
        }
    }

    fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> MappedSession {
        facts.into_iter().fold(None, |row, fact| Some(SessionMap::evolve(row, fact))).unwrap()
    }

    fn facts() -> [Fact; 4] {
        let session_id: SessionId = "bos_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap();
        [
            OperatorSessionEvent::Opened {
                session_id: session_id.clone(),
                operator_id: "usr_1".parse().unwrap(),
                device_id: "dev_1".parse().unwrap(),
                iam_session_id: Some("ses_1".to_owned()),
                property_ids: Vec::new(),
                roles: Vec::new(),
                opened_at: at(1),
            },
            OperatorSessionEvent::Refreshed {
                session_id: session_id.clone(),
                token_expires_at: at(900),
                at: at(2),
            },
            OperatorSessionEvent::Idled { session_id: session_id.clone(), at: at(3) },
            OperatorSessionEvent::Closed { session_id, reason: ClosingReason::Expired, at: at(4) },
        ]
        .map(|event| Fact {
            tenant_id: TenantId::system(),
            log: Log::Ledger,
            position: 1,
            occurred_at: at(0),
            event: FactEvent::OperatorSession(event),
        })
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
