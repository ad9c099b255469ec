//! By order of an operator: parked keys are tried now, and dead letters are published after all.

use super::{
    Relay, RelayError, message,
    parked::{self, Unfinished},
    pending,
};

const PAGE_MAX: i64 = 100;

/// What a redrive did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Parked keys the running relay will try within a second or two.
    pub requested_keys: u64,
    /// Dead letters published now, later than their successors: consumers order by `ledgerIndex`.
    pub published: u64,
    pub still_refused: u64,
}

impl Relay {
    /// Publishes dead letters and asks the running relay to try its parked keys. Safe beside a
    /// running relay.
    ///
    /// # Errors
    /// When the database fails; what was published before is noted.
    pub async fn redrive(&self) -> Result<Redriven, RelayError> {
        let mut redriven = Redriven {
            requested_keys: parked::request_retry(&self.pool).await?,
            ..Redriven::default()
        };
        let mut after = 0;
        loop {
            let page =
                parked::dead_letters(&self.pool, Unfinished::Unpublished, after, PAGE_MAX).await?;
            let Some(last) = page.last() else { return Ok(redriven) };
            after = last.place.position;
            for dead_letter in page {
                if self.publish_again(&dead_letter).await? {
                    redriven.published += 1;
                } else {
                    redriven.still_refused += 1;
                }
            }
        }
    }

    async fn publish_again(&self, dead_letter: &parked::GivenUp) -> Result<bool, RelayError> {
        let parked::GivenUp { key, place, event_id, .. } = dead_letter;
        let found = pending::of_key(&self.pool, key, place, place.position, 1).await?;
        let Some(event) = found.first() else { return Ok(false) };
        let now = self.clock.now();
        let Ok(message) = message::outbound(event, now) else { return Ok(false) };
        // A publisher of its own: a refusal must not pause the key of another message.
        let publisher = self.pubsub.publisher(&key.ledger.topic());
        if publisher.publish(message).await.is_err() {
            return Ok(false);
        }
        let id = (&key.tenant_id, event_id);
        parked::finish(&self.pool, Unfinished::Unpublished, id, now).await?;
        Ok(true)
    }
}
