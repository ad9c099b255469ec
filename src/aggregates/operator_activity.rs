//! What one request tells of an operator is told once: its stream takes one batch.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use events::ledger::operator_activity::{Activity, Level, OperatorActivityEvent};
use serde::{Deserialize, Serialize};

/// Items of one batch.
pub const BATCH_MAX: usize = 100;

/// Whether the request has told. Stream `act_…`, derived from the request or the replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorActivity {
    is_told: bool,
}

#[derive(Clone, Debug)]
pub enum Command {
    /// 1 to [`BATCH_MAX`] items, in the order in which they were done.
    Record(Vec<Activity>),
    NotePreferences {
        members: Vec<String>,
        at: DateTime<Utc>,
    },
    NoteShortcuts {
        level: Level,
        members: Vec<String>,
        at: DateTime<Utc>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("the request has told what it had to")]
    AlreadyTold,
    #[error("a batch has 1 to {BATCH_MAX} items")]
    BatchSize,
}

impl Aggregate for OperatorActivity {
    const TYPE: &'static str = "operator-activity";
    type Command = Command;
    type Event = OperatorActivityEvent;
    type Error = Rejection;
    type Services = ();

    async fn handle(
        &mut self,
        command: Command,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Rejection> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, _event: OperatorActivityEvent) {
        self.is_told = true;
    }
}

impl OperatorActivity {
    fn decide(self, command: Command) -> Result<Vec<OperatorActivityEvent>, Rejection> {
        if self.is_told {
            return Err(Rejection::AlreadyTold);
        }
        match command {
            Command::Record(items) if items.is_empty() || BATCH_MAX < items.len() => {
                Err(Rejection::BatchSize)
            }
            Command::Record(items) => {
                Ok(items.into_iter().map(OperatorActivityEvent::Recorded).collect())
            }
            Command::NotePreferences { members, at } => {
                Ok(vec![OperatorActivityEvent::PreferencesChanged { members, at }])
            }
            Command::NoteShortcuts { level, members, at } => {
                Ok(vec![OperatorActivityEvent::ShortcutsChanged { level, members, at }])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cqrs_es::test::TestFramework;
    use events::ledger::operator_activity::Origin;

    use super::*;

    type Rules = TestFramework<OperatorActivity>;

    #[test]
    fn a_batch_is_one_event_an_item_in_its_order() {
        Rules::with(())
            .given_no_previous_events()
            .when(Command::Record(vec![activity("board.opened"), activity("search.run")]))
            .then_expect_events(vec![recorded("board.opened"), recorded("search.run")]);
    }

    #[test]
    fn a_stream_takes_one_batch() {
        Rules::with(())
            .given(vec![recorded("board.opened")])
            .when(Command::Record(vec![activity("search.run")]))
            .then_expect_error(Rejection::AlreadyTold);
    }

    #[test]
    fn an_empty_batch_and_one_that_is_too_long_are_refused() {
        for length in [0, BATCH_MAX + 1] {
            Rules::with(())
                .given_no_previous_events()
                .when(Command::Record(vec![activity("search.run"); length]))
                .then_expect_error(Rejection::BatchSize);
        }
    }

    fn activity(verb: &str) -> Activity {
        Activity {
            verb: verb.to_owned(),
            at: DateTime::UNIX_EPOCH,
            target: None,
            properties: BTreeMap::new(),
            origin: Origin::Online,
            replay_id: None,
        }
    }

    fn recorded(verb: &str) -> OperatorActivityEvent {
        OperatorActivityEvent::Recorded(activity(verb))
    }
}
