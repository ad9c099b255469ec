//! The ledger: what operators did, append-only, in the order of commit, in Postgres.

pub mod append;
pub mod audit;
mod batch;
mod commit;
mod connections;
pub mod event_store;
pub mod idempotency;
pub mod leaf;
pub mod lint;
pub mod partitions;
pub mod personal;
pub mod pools;
mod prepare;
pub mod read;
pub mod relay;
mod sequencer;
pub mod streams;

use events::{LedgerEvent, OperatorId, StreamId, TenantId};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

pub use append::{Append, AppendError, NewEvent, Receipt, RecordedRef, StreamWrite};
pub use idempotency::{ClaimKey, ClaimRow, ClaimState, ClaimWrite, StoredResponse};
pub use pools::{Pools, TenantTransaction};
pub use read::{StoredEvent, TailError};
pub use sequencer::Settings;
pub use streams::{ReadError, Recorded};

use personal::{Keyring, MasterKey};
use sequencer::{Queue, Sequencer};

/// The shard that every tenant is on, until one primary is not enough.
pub const SHARD: i32 = 0;

/// The ledger, as one instance of the service writes and reads it. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    pools: Pools,
    keyring: Keyring,
    queue: Queue,
    head: watch::Receiver<i64>,
    settings: Settings,
}

impl Ledger {
    /// Starts the sequencer on `tracker`. After `shutdown` it answers what it has accepted and
    /// ends.
    pub fn start(
        pools: Pools,
        settings: Settings,
        master_key: MasterKey,
        tracker: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (head_sender, head) = watch::channel(0);
        let (queue, sequencer) =
            Sequencer::new(pools.append().clone(), settings.clone(), head_sender);
        tracker.spawn(sequencer.run(shutdown));
        Self { pools, keyring: Keyring::new(master_key), queue, head, settings }
    }

    /// Whether appends are taken: not after `shutdown`, nor when the sequencer has panicked.
    pub fn takes_appends(&self) -> bool {
        self.queue.is_open()
    }

    /// Records all of the append or nothing, and answers after the commit.
    ///
    /// Dropping this future does not take the append back.
    ///
    /// # Errors
    /// [`AppendError`]; each variant says whether something may have been recorded.
    pub async fn append(&self, append: Append) -> Result<Receipt, AppendError> {
        if append.writes.is_empty() && append.claim.is_none() {
            return Ok(Receipt::default());
        }
        let prepared = prepare::prepare(append, &self.pools, &self.keyring).await?;
        self.queue.append(prepared).await
    }

    /// The events of one stream, oldest first; none when it does not exist. Erased personal fields
    /// are absent.
    ///
    /// # Errors
    /// [`ReadError`]; a stream is read whole or not at all.
    pub async fn read_stream<E: LedgerEvent>(
        &self,
        tenant_id: &TenantId,
        stream: &StreamId,
    ) -> Result<Vec<Recorded<E>>, ReadError> {
        streams::read(&self.pools, &self.keyring, tenant_id, stream).await
    }

    /// How many events a stream has; 0 when it does not exist. For commands that add to a stream
    /// without asking what is in it.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub async fn stream_version<E: LedgerEvent>(
        &self,
        tenant_id: &TenantId,
        stream: &StreamId,
    ) -> Result<i64, ReadError> {
        streams::version(&self.pools, tenant_id, (E::LEDGER, stream)).await
    }

    /// For the stores of commands.
    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// What became of an idempotency key; `None` when nobody has claimed it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_claim(&self, claim: &ClaimKey) -> Result<Option<ClaimRow>, ReadError> {
        idempotency::read(&self.pools, self.keyring.master_key(), claim).await
    }

    /// Makes `owner` the owner of a claim whose lease is over, and returns the attempt's number;
    /// `None` when the lease is not over, the command has completed, or there is no such claim.
    /// Database time decides.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn take_over_claim(
        &self,
        claim: &ClaimKey,
        owner: Ulid,
    ) -> Result<Option<i32>, ReadError> {
        idempotency::take_over(&self.pools, claim, owner, self.settings.claim_lease).await
    }

    /// Erases a person's personal fields from the ledger for good; true when there were any. Every
    /// proof stays valid.
    ///
    /// Other instances may still read them for [`personal::ERASURE_DELAY_MAX`].
    ///
    /// # Errors
    /// When the database fails; nothing is erased then.
    pub async fn erase_subject(
        &self,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Result<bool, ReadError> {
        let erased = personal::erase(self.pools.jobs(), tenant_id, subject_id).await?;
        self.keyring.forget(tenant_id, subject_id).await;
        Ok(erased)
    }

    /// The highest position this instance has committed: wakes its readers. Others they find by
    /// polling.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.clone()
    }
}
