//! Folds both logs into views and live streams: one lane a log, on one instance at a time.

mod cursor;
mod decode;
pub mod lane;
pub mod rebuild;
mod source;
pub mod table;

use std::time::Duration;

use events::Ledger;
use projections::{AlertInbox, Log, Projection, SuggestionInbox};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

pub use lane::{Advance, Lane};
pub use rebuild::{BuildError, Builder};
pub use table::Table;

use crate::{inbox, ledger::pools::Pools, live::Retention, views::Redis, views::ViewError};

/// A projection with the ledger it reads beside the inbox. The events of that ledger name their
/// property in `propertyId`.
pub trait Feed: Projection + 'static {
    const LEDGER: Ledger;
}

impl Feed for AlertInbox {
    const LEDGER: Ledger = Ledger::AlertAck;
}

impl Feed for SuggestionInbox {
    const LEDGER: Ledger = Ledger::AiDecision;
}

/// Where facts come from and where they go. Cheap to clone.
#[derive(Clone)]
pub struct Stores {
    pub pools: Pools,
    /// Tier `cache`: views.
    pub cache: Redis,
    /// Tier `session`: live streams.
    pub session: Redis,
}

#[derive(Clone, Debug)]
pub struct Settings {
    /// Names this process in `projector_cursor`; another process must not have the same.
    pub instance: String,
    /// Facts folded between two moves of the cursor.
    pub page_max: u32,
    /// How often a log is looked at when nothing wakes the lane.
    pub poll: Duration,
    /// Between two looks, unless there was more than a page: what is committed meanwhile is folded
    /// together.
    pub rest: Duration,
    /// How long a lane that fell silent keeps other instances away, on the database's clock.
    pub lease: Duration,
    /// How long a page waits for a Redis replica to have it.
    pub replica_wait: Duration,
    /// What live streams keep for desktops that come back.
    pub retention: Retention,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            instance: Ulid::generate().to_string(),
            page_max: 500,
            poll: Duration::from_millis(100),
            rest: Duration::from_millis(10),
            lease: Duration::from_secs(5),
            replica_wait: Duration::from_millis(200),
            retention: Retention::default(),
        }
    }
}

/// Folding stopped. The cursor has not moved past what failed; folding it again is harmless.
#[derive(Debug, thiserror::Error)]
pub enum ProjectorError {
    #[error("the ledger or the projector's cursor cannot be read or written")]
    Database(#[from] sqlx::Error),
    #[error("the inbox cannot be read")]
    Inbox(#[from] inbox::read::InboxReadError),
    #[error("Redis did not take a page")]
    Redis(#[from] redis::RedisError),
    #[error("a view did not take its facts")]
    View(#[from] ViewError),
    /// An event was removed, or the ledger was restored to another state: an alarm, nothing to wait
    /// for.
    #[error("position {expected} of the ledger is missing, {found} comes next")]
    Gap { expected: i64, found: i64 },
    #[error("a store did not answer in time")]
    Timeout,
}

/// Folds both logs until shutdown, whenever this instance holds their leases. `wake` tells of new
/// facts in the ledger and in the inbox; what other instances commit is found by polling.
///
/// # Errors
/// The first failure of a lane. Start it again, with backoff: it goes on from the cursor.
pub async fn run(
    stores: &Stores,
    settings: &Settings,
    wake: [watch::Receiver<i64>; 2],
    shutdown: &CancellationToken,
) -> Result<(), ProjectorError> {
    let [ledger, inbox] = wake;
    let lane = |log, wake| lane::run(Lane::new(stores, settings, log), wake, shutdown);
    tokio::try_join!(lane(Log::Ledger, ledger), lane(Log::Inbox, inbox))?;
    Ok(())
}

/// The last position of `log` that has been folded, by whichever instance leads. For lag, and for
/// reads that wait for their own writes.
///
/// # Errors
/// When the database fails.
pub async fn folded(pools: &Pools, log: Log) -> Result<i64, sqlx::Error> {
    cursor::position(pools.project(), log).await
}
