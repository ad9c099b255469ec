//! The same events by long poll, for networks that let no stream live. Between two polls nobody
//! listens, so the next one begins with what happened, and was hinted at, since the one before.

use std::time::Duration;

use redis::RedisError;

use super::{
    Cursor, Hub, LiveError, LiveItem, Polled, Subscriber,
    cursor::EntryId,
    follower::{Follower, Phase, Step},
    hints,
};

/// Items in the answer to one poll.
const ITEMS_MAX: usize = 256;

impl Hub {
    /// Answers at once when there are events after the cursor, else as soon as one happens, else
    /// after `wait` with none.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub async fn poll(&self, subscriber: Subscriber, wait: Duration) -> Result<Polled, LiveError> {
        let shared = self.shared();
        let mut follower = shared.follow(subscriber, None).await?;
        // What is there already is no matter of waiting.
        follower.catch_up().await;
        let has_caught_up = follower.catch_up_with_hints().await.is_ok();
        let mut items = Vec::new();
        let mut hints_at = None;
        let mut patience = wait;
        while items.len() < ITEMS_MAX {
            let handed_out = shared.registry.hints_at();
            match tokio::time::timeout(patience, follower.next()).await {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break,
                Err(_) if patience.is_zero() => {
                    // Nothing is left to say, of all that had been handed out before this look.
                    hints_at = Some(handed_out).filter(|_| has_caught_up);
                    break;
                }
                Err(_) => (),
            }
            patience = Duration::ZERO;
        }
        let next = follower.cursor_after(items.last(), hints_at);
        Ok(Polled { items, next })
    }
}

impl Follower {
    /// The cursor to poll with next when `last` was the last item that was passed on. Where nobody
    /// knows that every hint up to some entry was said, they are said again.
    fn cursor_after(&self, last: Option<&LiveItem>, hints_at: Option<EntryId>) -> String {
        let keys = &self.registration.shared().settings.cursor_keys;
        let cursor = match last {
            Some(LiveItem::Event(delivery)) if !self.pending.is_empty() => {
                let Ok(cursor) = keys.decode(&self.subscriber.tenant_id, &delivery.cursor) else {
                    return delivery.cursor.clone();
                };
                cursor
            }
            _ => self.cursor,
        };
        let since = self.subscriber.cursor.and_then(|cursor| cursor.hints);
        self.sealer.seal(&Cursor { hints: hints_at.max(since), ..cursor })
    }

    /// Reads the past until there is something to say, or nothing is left of it. What fails is left
    /// to [`Self::next`].
    async fn catch_up(&mut self) {
        while self.pending.is_empty() {
            let step = match self.phase {
                Phase::Reset => self.reset().await,
                Phase::Past(log) => self.read_past(log).await,
                Phase::Live | Phase::Ended => return,
            };
            match step {
                Ok(Step::Item(item)) => self.pending.push_back(item),
                Ok(Step::Nothing) => (),
                Err(_) => return,
            }
        }
    }

    /// Reads what was hinted between an earlier poll and this one.
    async fn catch_up_with_hints(&mut self) -> Result<(), RedisError> {
        let since = self.subscriber.cursor.and_then(|cursor| cursor.hints);
        let Some(since) = since.filter(|since| *since < self.hints_at) else { return Ok(()) };
        let mut connection = self.registration.shared().redis.shared();
        let (tenant_id, range) = (&self.subscriber.tenant_id, (since, self.hints_at));
        for hinted in hints::between(&mut connection, tenant_id, range).await? {
            if self.hears_hint(&hinted) {
                self.pending.push_back(LiveItem::Hint(hinted));
            }
        }
        Ok(())
    }
}
