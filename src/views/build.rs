//! Building a view beside the standing one, and putting it in its place when it has caught up.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use projections::Projection;
use redis::{RedisError, Script, aio::ConnectionLike};
use ulid::Ulid;

use super::{TenantKey, View, ViewError, millis, view::Checkpoints};

static LOCK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lock.lua")));
static FILL: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fill.lua")));
static SWAP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("swap.lua")));

/// How long a builder that fell silent keeps others away.
const LOCK_LIFETIME: Duration = Duration::from_secs(10);
/// How long an abandoned temporary key stays.
const TEMPORARY_LIFETIME: Duration = Duration::from_mins(5);
/// Items written in one script call, which no other command can interrupt.
const CHUNK_MAX: usize = 500;

/// The right to build one view. Dropped without [`Self::swap`] or [`Self::abandon`], it lapses
/// after ten seconds.
pub struct Building<P> {
    view: View<P>,
    token: String,
    temporary: TenantKey,
    is_started: bool,
}

/// What became of the attempt to put a build in the view's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapOutcome {
    /// Readers see it.
    Swapped,
    /// The live lane is further: fold what came since, fill it in, try again.
    Behind,
    /// The right or the temporary key is gone: start over.
    Lost,
}

impl<P: Projection> Building<P> {
    /// Takes the right to build `view`; `None` while another builder has it.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn try_start<C: ConnectionLike>(
        connection: &mut C,
        view: View<P>,
    ) -> Result<Option<Self>, RedisError> {
        let token = Ulid::generate().to_string();
        let is_ours = lock(connection, &view.lock, &token, "take").await?;
        let temporary = view.lock.clone().then(&token);
        Ok(is_ours.then_some(Self { view, token, temporary, is_started: false }))
    }

    /// Keeps the right for another while; `false` when it is lost.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn keep<C: ConnectionLike>(&self, connection: &mut C) -> Result<bool, RedisError> {
        lock(connection, &self.view.lock, &self.token, "keep").await
    }

    /// Writes `items` beside the view; `false` when what was written before is gone.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn fill<C: ConnectionLike>(
        &mut self,
        connection: &mut C,
        items: &BTreeMap<String, P::Item>,
    ) -> Result<bool, ViewError> {
        let mut items = items.iter();
        loop {
            let chunk: Vec<_> = items.by_ref().take(CHUNK_MAX).collect();
            if chunk.is_empty() && self.is_started {
                return Ok(true);
            }
            let mut call = FILL.key(&self.temporary);
            call.arg(if self.is_started { "next" } else { "first" })
                .arg(millis(TEMPORARY_LIFETIME))
                .arg("@ledger")
                .arg(0);
            for (item_id, item) in chunk {
                call.arg(item_id).arg(serde_json::to_vec(item)?);
            }
            let is_there: bool = call.invoke_async(connection).await?;
            if !is_there {
                return Ok(false);
            }
            self.is_started = true;
        }
    }

    /// Puts what was filled in into the view's place, folded as far as `checkpoints` say.
    ///
    /// # Errors
    /// When Redis fails; the view is then the old one or the whole new one.
    pub async fn swap<C: ConnectionLike>(
        &self,
        connection: &mut C,
        checkpoints: Checkpoints,
    ) -> Result<SwapOutcome, RedisError> {
        let outcome: String = SWAP
            .key(&self.view.key)
            .key(&self.view.lock)
            .key(&self.temporary)
            .arg(self.view.recovery_epoch)
            .arg(&self.token)
            .arg(checkpoints.ledger)
            .arg(checkpoints.inbox)
            .invoke_async(connection)
            .await?;
        Ok(match outcome.as_str() {
            "swapped" => SwapOutcome::Swapped,
            "behind" => SwapOutcome::Behind,
            _ => SwapOutcome::Lost,
        })
    }

    /// Gives the right back and drops what was written.
    ///
    /// # Errors
    /// When Redis fails; both then lapse by themselves.
    pub async fn abandon<C: ConnectionLike>(self, connection: &mut C) -> Result<(), RedisError> {
        if self.keep(connection).await? {
            redis::cmd("UNLINK")
                .arg(&self.view.lock)
                .arg(&self.temporary)
                .exec_async(connection)
                .await?;
        }
        Ok(())
    }
}

async fn lock<C: ConnectionLike>(
    connection: &mut C,
    key: &TenantKey,
    token: &str,
    mode: &str,
) -> Result<bool, RedisError> {
    LOCK.key(key).arg(token).arg(millis(LOCK_LIFETIME)).arg(mode).invoke_async(connection).await
}
