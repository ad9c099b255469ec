//! Gathers the appends of one instance into batches and answers each after its commit.
//!
//! While a batch commits the next one is taken from what has queued meanwhile, without a timer:
//! alone, a command waits for nobody; under load, batches grow by themselves. A stream or claim is
//! in at most one batch at a time.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use events::{StreamId, TenantId};
use sqlx::PgPool;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    append::{AppendError, Receipt},
    commit,
    connections::Connections,
    idempotency::ClaimKey,
    prepare::Prepared,
};

/// Bounds of one instance's queue and batches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Appends of all tenants that may wait at once.
    pub queue_max: usize,
    /// Of these, appends of one tenant.
    pub queue_tenant_max: usize,
    /// Commands in one batch.
    pub batch_commands_max: usize,
    /// Bytes of bodies, metadata and stored responses in one batch, unless one command alone has
    /// more.
    pub batch_bytes_max: usize,
    /// Bytes of one command.
    pub command_bytes_max: usize,
    /// Batches on their way to the database at once: the next takes its locks on streams while the
    /// last one is committed.
    pub batches_in_flight_max: usize,
    /// How long one call of the database may take, as seen from here. More than its own statement
    /// timeout of 5 s.
    pub call_timeout: Duration,
    /// How often a batch is tried before its callers are told that the ledger is unavailable.
    pub attempts_max: usize,
    /// The longest pause between two tries; the first is a sixteenth of it.
    pub backoff_max: Duration,
    /// How long a claim that was taken over stays with its new owner. Database time.
    pub claim_lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            queue_max: 4096,
            queue_tenant_max: 1024,
            batch_commands_max: 512,
            batch_bytes_max: 4 * 1024 * 1024,
            command_bytes_max: 1024 * 1024,
            batches_in_flight_max: 2,
            call_timeout: Duration::from_secs(6),
            attempts_max: 5,
            backoff_max: Duration::from_millis(400),
            claim_lease: Duration::from_secs(30),
        }
    }
}

/// An append that waits for its answer.
pub(super) struct Command {
    pub prepared: Prepared,
    pub answer: oneshot::Sender<Result<Receipt, AppendError>>,
    /// Its place in the queue, given back when it is answered.
    _place: Place,
}

/// The way into the queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    waiting: Waiting,
    settings: Arc<Settings>,
}

impl Queue {
    /// Whether anybody takes commands out.
    pub fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Queues an append and waits for its answer, which comes after its commit.
    ///
    /// When this future is dropped, the append goes on.
    pub async fn append(&self, prepared: Prepared) -> Result<Receipt, AppendError> {
        if self.settings.command_bytes_max < prepared.size_bytes {
            return Err(AppendError::Invalid("more bytes than one append may have"));
        }
        let place = self
            .waiting
            .enter(&prepared.tenant_id, self.settings.queue_tenant_max)
            .ok_or(AppendError::Overloaded)?;
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(Command { prepared, answer, _place: place }).map_err(|error| {
            match error {
                mpsc::error::TrySendError::Full(_) => AppendError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => AppendError::Stopped,
            }
        })?;
        // Every command is answered; only a bug in the sequencer could drop one, perhaps after its
        // commit.
        answered.await.unwrap_or(Err(AppendError::OutcomeUnknown(None)))
    }
}

/// How many appends of each tenant wait.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<TenantId, usize>>>);

impl Waiting {
    fn enter(&self, tenant_id: &TenantId, max: usize) -> Option<Place> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(tenant_id.clone()).or_default();
        if max <= *count {
            return None;
        }
        *count += 1;
        Some(Place { waiting: self.clone(), tenant_id: tenant_id.clone() })
    }
}

/// One append's place in the queue.
struct Place {
    waiting: Waiting,
    tenant_id: TenantId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.tenant_id) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.tenant_id);
            }
        }
    }
}

/// What may be in one batch at a time only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Stream(TenantId, StreamId),
    Claim(ClaimKey),
}

fn keys(prepared: &Prepared) -> impl Iterator<Item = Key> {
    let stream = |stream: &StreamId| Key::Stream(prepared.tenant_id.clone(), stream.clone());
    let streams = prepared.writes.iter().map(move |write| stream(&write.stream));
    streams.chain(prepared.claim.iter().map(|claim| Key::Claim(claim.key().clone())))
}

/// The one task of an instance that sends batches.
pub(super) struct Sequencer {
    connections: Arc<Connections>,
    settings: Arc<Settings>,
    head: watch::Sender<i64>,
    queue: mpsc::Receiver<Command>,
    /// Taken from the queue, in order; not yet in a batch.
    pending: VecDeque<Command>,
    in_flight: JoinSet<()>,
    busy: HashMap<Id, HashSet<Key>>,
}

impl Sequencer {
    pub fn new(pool: PgPool, settings: Settings, head: watch::Sender<i64>) -> (Queue, Self) {
        let settings = Arc::new(settings);
        let (commands, queue) = mpsc::channel(settings.queue_max);
        let sequencer = Self {
            connections: Arc::new(Connections::new(pool)),
            settings: Arc::clone(&settings),
            head,
            queue,
            pending: VecDeque::new(),
            in_flight: JoinSet::new(),
            busy: HashMap::new(),
        };
        (Queue { commands, waiting: Waiting::default(), settings }, sequencer)
    }

    /// Until `shutdown`, then until everything accepted before it is answered.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut is_open = true;
        loop {
            while self.pending.len() < self.settings.queue_max
                && let Ok(command) = self.queue.try_recv()
            {
                self.pending.push_back(command);
            }
            self.launch();
            if !is_open && self.pending.is_empty() && self.in_flight.is_empty() {
                return;
            }
            let has_room = self.pending.len() < self.settings.queue_max;
            tokio::select! {
                Some(done) = self.in_flight.join_next_with_id() => {
                    self.release(done.map_or_else(|error| error.id(), |(id, ())| id));
                }
                command = self.queue.recv(), if is_open && has_room => {
                    match command {
                        Some(command) => self.pending.push_back(command),
                        None => is_open = false,
                    }
                }
                () = shutdown.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            }
        }
    }

    fn launch(&mut self) {
        while self.in_flight.len() < self.settings.batches_in_flight_max {
            let (batch, keys) = self.next_batch();
            if batch.is_empty() {
                return;
            }
            metrics::histogram!("bff_backoffice_ledger_batch_commands")
                .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            let connections = Arc::clone(&self.connections);
            let settings = Arc::clone(&self.settings);
            let head = self.head.clone();
            let task = self
                .in_flight
                .spawn(async move { commit::run(&connections, &settings, &head, batch).await });
            self.busy.insert(task.id(), keys);
        }
    }

    /// In the queue's order, apart from commands whose stream or claim is busy: those wait, and
    /// with them all later ones of it.
    fn next_batch(&mut self) -> (Vec<Command>, HashSet<Key>) {
        let mut batch = Vec::new();
        let mut batch_bytes = 0;
        let mut batch_keys = HashSet::new();
        let mut passed_keys = HashSet::new();
        let mut passed = VecDeque::new();
        while batch.len() < self.settings.batch_commands_max
            && let Some(command) = self.pending.pop_front()
        {
            let command_keys: Vec<Key> = keys(&command.prepared).collect();
            let must_wait = command_keys.iter().any(|key| {
                batch_keys.contains(key)
                    || passed_keys.contains(key)
                    || self.busy.values().any(|busy| busy.contains(key))
            });
            if must_wait {
                passed_keys.extend(command_keys);
                passed.push_back(command);
                continue;
            }
            let size_bytes = command.prepared.size_bytes;
            if !batch.is_empty() && self.settings.batch_bytes_max < batch_bytes + size_bytes {
                self.pending.push_front(command);
                break;
            }
            batch_bytes += size_bytes;
            batch_keys.extend(command_keys);
            batch.push(command);
        }
        passed.append(&mut self.pending);
        self.pending = passed;
        (batch, batch_keys)
    }

    fn release(&mut self, batch: Id) {
        self.busy.remove(&batch);
    }
}
