//! Worker: the ledger to Pub/Sub, in the order of positions, at least once. The ledger is the
//! outbox; a fenced cursor walks it.
//!
//! A crash repeats what was published after the last stored position; consumers drop what they have
//! seen by `eventId` or `ledgerIndex`.

mod cursor;
mod declare;
mod failure;
mod lane;
mod message;
mod observe;
mod parked;
mod pending;
mod redrive;
mod retry;
mod turn;
mod window;

use std::time::Duration;

use sqlx::PgPool;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Ledger, pools::Pools};
use crate::{clock::SharedClock, pubsub::Pubsub};

pub use redrive::Redriven;

/// How the relay works; every wait, queue and retry of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who we are, for people who look into `relay_cursor`.
    pub instance: String,
    /// How long the cursor is ours without renewal. A crashed relay is replaced after this long.
    pub lease: Duration,
    /// How often a relay that waits looks whether the cursor is free.
    pub acquire_interval: Duration,
    /// How often the ledger is read when nobody wakes us.
    pub poll_interval: Duration,
    /// How often the position is stored, at most: what a crash repeats.
    pub save_interval: Duration,
    /// Between two looks at the ledger, unless there was more than a page: what is committed
    /// meanwhile is read together.
    pub rest: Duration,
    /// Events read at once.
    pub page_max: u32,
    /// Events published and not yet acknowledged, at most.
    pub window_max: usize,
    /// Their bytes, at most.
    pub window_bytes_max: usize,
    /// Refusals of one event before it is given up (`activity`) or needs a person (every other
    /// ledger).
    pub attempts_max: i32,
    /// Wait before the first retry of a parked key; it doubles with every refusal.
    pub retry_min: Duration,
    pub retry_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: String::new(),
            lease: Duration::from_secs(5),
            acquire_interval: Duration::from_secs(1),
            poll_interval: Duration::from_millis(100),
            save_interval: Duration::from_millis(200),
            rest: Duration::from_millis(20),
            page_max: 1_000,
            window_max: 2_000,
            window_bytes_max: 16 * 1024 * 1024,
            attempts_max: 10,
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_mins(1),
        }
    }
}

/// Why the relay stopped. Nothing is lost: it goes on from the stored position.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Another relay has the cursor. Not a failure: it does the work.
    #[error("another relay has taken the cursor")]
    Fenced,
    #[error("the relay's tables cannot be read or written")]
    Database(#[from] sqlx::Error),
    #[error("the database did not answer within the lease")]
    Timeout,
    #[error("Pub/Sub does not answer: {0}")]
    Unavailable(String),
    /// The invariant that positions are gapless is broken: an alarm, nothing to wait for.
    #[error("the ledger has a gap: position {found} follows {after}")]
    Gap { after: i64, found: i64 },
    #[error("position {position} of the ledger does not parse")]
    Corrupt { position: i64 },
}

/// The worker of one instance; of all instances one works at a time.
#[derive(Clone)]
pub struct Relay {
    pool: PgPool,
    pubsub: Pubsub,
    settings: Settings,
    clock: SharedClock,
    ledger: Ledger,
    head: watch::Receiver<i64>,
}

impl Relay {
    /// `ledger` takes the events that declare dead letters, and wakes the relay when this process
    /// has committed; others' commits are
    /// found by polling.
    pub fn new(
        ledger: Ledger,
        pools: &Pools,
        pubsub: Pubsub,
        settings: Settings,
        clock: SharedClock,
    ) -> Self {
        let head = ledger.head();
        Self { pool: pools.relay().clone(), pubsub, settings, clock, ledger, head }
    }

    /// Waits until no other instance relays, then relays, until `shutdown`.
    ///
    /// # Errors
    /// The first failure but being overtaken, see [`RelayError`]. The supervisor starts it again,
    /// with backoff.
    pub async fn run(&self, shutdown: &CancellationToken) -> Result<(), RelayError> {
        while !shutdown.is_cancelled() {
            let Settings { instance, lease, acquire_interval, .. } = &self.settings;
            let acquired = timeout(*lease, cursor::acquire(&self.pool, instance, *lease)).await;
            let Some(held) = acquired.map_err(|_| RelayError::Timeout)?? else {
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = sleep(*acquire_interval) => (),
                }
                continue;
            };
            let turn = timeout(*lease, turn::Turn::begin(self, held)).await;
            match turn.map_err(|_| RelayError::Timeout)??.run(shutdown).await {
                Err(RelayError::Fenced) => {
                    tracing::info!("another relay has taken the cursor; this one waits");
                }
                ended => return ended,
            }
        }
        Ok(())
    }
}
