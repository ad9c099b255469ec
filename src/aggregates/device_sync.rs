//! A cursor of a device moves only from where it stands; all else a device says of itself is noted.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::{DeviceId, ledger::device_sync::DeviceSyncEvent};
use serde::{Deserialize, Serialize};

/// How far a device is. Stream `dsy:<deviceId>`.
///
/// The ledger forgets the stream after 90 d, so commands take the cursors from
/// `device_sync_status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSync {
    /// Stream → opaque cursor.
    pub cursors: BTreeMap<String, String>,
}

/// A wish to move a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    pub device_id: DeviceId,
    pub stream: String,
    /// Where the device thinks it stands; `None`: nowhere yet.
    pub from: Option<String>,
    pub to: String,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub enum Command {
    Advance(Advance),
    /// What is a fact by being told: a heartbeat, a hint, a handshake.
    Note(DeviceSyncEvent),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the cursor stands elsewhere")]
    CursorMoved { standing: Option<String> },
    #[error("a cursor is moved by its own command")]
    NotANote,
}

impl Aggregate for DeviceSync {
    const TYPE: &'static str = "device-sync";
    type Command = Command;
    type Event = DeviceSyncEvent;
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

    fn apply(&mut self, event: DeviceSyncEvent) {
        if let DeviceSyncEvent::CursorAdvanced { stream, cursor, .. } = event {
            self.cursors.insert(stream, cursor);
        }
    }
}

impl DeviceSync {
    fn decide(&self, command: Command) -> Result<DeviceSyncEvent, Rejection> {
        match command {
            Command::Advance(Advance { device_id, stream, from, to, at }) => {
                let standing = self.cursors.get(&stream);
                if standing != from.as_ref() {
                    return Err(Rejection::CursorMoved { standing: standing.cloned() });
                }
                Ok(DeviceSyncEvent::CursorAdvanced { device_id, stream, from, cursor: to, at })
            }
            Command::Note(DeviceSyncEvent::CursorAdvanced { .. }) => Err(Rejection::NotANote),
            Command::Note(event) => Ok(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    type Rules = TestFramework<DeviceSync>;

    #[test]
    fn a_first_cursor_comes_from_nowhere_and_the_next_one_from_it() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Advance(advance(None, "c1")))
            .then_expect_events(vec![advanced(None, "c1")]);
        Rules::with(())
            .given(vec![advanced(None, "c1")])
            .when(Command::Advance(advance(Some("c1"), "c2")))
            .then_expect_events(vec![advanced(Some("c1"), "c2")]);
    }

    #[test]
    fn a_cursor_that_has_moved_is_not_moved_from_where_it_was() {
        Rules::with(())
            .given(vec![advanced(None, "c1"), advanced(Some("c1"), "c2")])
            .when(Command::Advance(advance(Some("c1"), "c3")))
            .then_expect_error(Rejection::CursorMoved { standing: Some("c2".to_owned()) });
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Advance(advance(Some("c1"), "c2")))
            .then_expect_error(Rejection::CursorMoved { standing: None });
    }

    #[test]
    fn what_a_device_says_is_noted_but_no_cursor_moves_by_a_note() {
        let hinted = DeviceSyncEvent::QueueHinted {
            device_id: "dev_1".parse().unwrap(),
            pending_actions: 3,
            at: DateTime::UNIX_EPOCH,
        };
        Rules::with(())
            .given(vec![advanced(None, "c1")])
            .when(Command::Note(hinted.clone()))
            .then_expect_events(vec![hinted]);
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Note(advanced(None, "c1")))
            .then_expect_error(Rejection::NotANote);
    }

    fn advance(from: Option<&str>, to: &str) -> Advance {
        Advance {
            device_id: "dev_1".parse().unwrap(),
            stream: "reservations".to_owned(),
            from: from.map(str::to_owned),
            to: to.to_owned(),
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn advanced(from: Option<&str>, to: &str) -> DeviceSyncEvent {
        let Advance { device_id, stream, from, to: cursor, at } = advance(from, to);
        DeviceSyncEvent::CursorAdvanced { device_id, stream, from, cursor, at }
    }
}
