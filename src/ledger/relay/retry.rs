//! One more try of a parked key: its waiting events in order, up to the first that fails.

use events::EventId;
use futures::future::join_all;
use sqlx::PgPool;

use super::{
    RelayError,
    failure::Failure,
    message,
    pending::{self, Key, Pending, Place},
};
use crate::{clock::SharedClock, pubsub::Publisher};

/// Events of a parked key that one retry reads.
const PAGE_MAX: u32 = 100;

/// What to try.
pub(super) struct Attempt {
    pub pool: PgPool,
    pub publisher: Publisher,
    pub clock: SharedClock,
    pub key: Key,
    pub from: Place,
    pub to_position: i64,
    /// One event at a time, the next after the answer.
    pub is_single: bool,
}

/// What it achieved.
#[derive(Debug, PartialEq)]
pub(super) struct Retry {
    /// The first event that is not published.
    pub from: Place,
    /// How far this retry was told to read.
    pub read_to: i64,
    /// Everything up to `read_to` is published.
    pub is_complete: bool,
    /// The event at `from`, where its id parses, and why it failed.
    pub failed: Option<(Option<EventId>, Failure)>,
}

impl Attempt {
    /// Publishes what waits, at most a page.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(super) async fn run(self) -> Result<Retry, RelayError> {
        let waiting =
            pending::of_key(&self.pool, &self.key, &self.from, self.to_position, PAGE_MAX).await?;
        self.publisher.resume(&self.key.ordering_key());
        let answers = if self.is_single {
            self.one_by_one(&waiting).await
        } else {
            self.all_at_once(&waiting).await
        };
        let delivered = answers.iter().take_while(|answer| answer.is_ok()).count();
        let failed = answers.into_iter().find_map(Result::err);
        let from = match (waiting.get(delivered), delivered.checked_sub(1)) {
            (Some(next), _) => next.place.clone(),
            (None, Some(last)) => waiting[last].place.next(),
            (None, None) => self.from,
        };
        let is_complete = failed.is_none() && waiting.len() < PAGE_MAX as usize;
        let failed = failed.map(|failure| {
            let event_id = waiting.get(delivered).and_then(|event| event.event_id.parse().ok());
            (event_id, failure)
        });
        Ok(Retry { from, read_to: self.to_position, is_complete, failed })
    }

    /// Stops at the first failure.
    async fn one_by_one(&self, waiting: &[Pending]) -> Vec<Result<(), Failure>> {
        let mut answers = Vec::with_capacity(waiting.len());
        for event in waiting {
            let answer = match self.publish(event) {
                Ok(answer) => answer.await,
                Err(malformed) => Err(malformed),
            };
            let failed = answer.is_err();
            answers.push(answer);
            if failed {
                break;
            }
        }
        answers
    }

    /// Waits for the answers together. What follows an event of which no message can be made is
    /// not queued: it would overtake that event.
    async fn all_at_once(&self, waiting: &[Pending]) -> Vec<Result<(), Failure>> {
        let mut queued = Vec::with_capacity(waiting.len());
        let mut malformed = None;
        for event in waiting {
            match self.publish(event) {
                Ok(answer) => queued.push(answer),
                Err(failure) => {
                    malformed = Some(Err(failure));
                    break;
                }
            }
        }
        let mut answers = join_all(queued).await;
        answers.extend(malformed);
        answers
    }

    /// Queues at once, in the order of the calls; the answer comes later.
    fn publish(
        &self,
        event: &Pending,
    ) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
        let message = message::outbound(event, self.clock.now())?;
        let published = self.publisher.publish(message);
        Ok(async move { published.await.map_err(Failure::from) })
    }
}
