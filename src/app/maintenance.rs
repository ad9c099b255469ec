//! What an operator of the service runs from the command line: rebuilding, redriving, verifying.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use events::{LedgerEvent, Metadata, StreamId, TenantId, ledger::system::SystemEvent};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::ExposeSecret;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use super::{
    connect,
    jobs::{self, Job},
};
use crate::{
    clock::{Clock, SharedClock, SystemClock},
    commands::{Resources, idempotency::turn::Turns},
    config::{Foundation, Upstreams},
    ledger::{
        self, Append, Ledger, NewEvent, Pools, StreamWrite, audit,
        relay::{self, Relay},
    },
    output,
    projector::{self, Feed, Table},
    secrets::Secrets,
};

/// Folds every view of a projection anew, with a progress bar, and records that it was done.
///
/// # Errors
/// When a store fails; views built so far stay, and the command can be repeated.
pub async fn rebuild<P: Feed>(foundation: &Foundation) -> anyhow::Result<()> {
    let secrets = Secrets::read(&foundation.secrets_dir).context("SECRETS_DIR")?;
    let (pools, cache, session) = tokio::try_join!(
        connect::postgres(&foundation.stores),
        connect::redis("REDIS_CACHE_URL", foundation.stores.redis_cache_url.expose_secret()),
        connect::redis("REDIS_SESSION_URL", foundation.stores.redis_session_url.expose_secret()),
    )?;
    let stores = projector::Stores { pools: pools.clone(), cache, session };
    let bar = progress("facts");
    let facts = projector::rebuild::all::<P>(&stores, shown_on(&bar)).await?;
    bar.finish();
    record_rebuilt(foundation, &secrets, pools, (P::NAME, facts)).await
}

/// Folds every tenant's part of a table anew, with a progress bar, and records that it was done.
///
/// # Errors
/// When Postgres fails; tenants done so far stay, and the command can be repeated.
pub async fn rebuild_table<P: Table>(foundation: &Foundation) -> anyhow::Result<()> {
    let secrets = Secrets::read(&foundation.secrets_dir).context("SECRETS_DIR")?;
    let pools = connect::postgres(&foundation.stores).await?;
    let bar = progress("facts");
    let facts = projector::table::rebuild::<P>(pools.project(), shown_on(&bar)).await?;
    bar.finish();
    record_rebuilt(foundation, &secrets, pools, (P::NAME, facts)).await
}

/// Moves the bar to `(done, total)`.
fn shown_on(bar: &ProgressBar) -> impl FnMut(u64, u64) + Send {
    |done, total| {
        bar.set_length(total.max(done));
        bar.set_position(done);
    }
}

/// Records that a projection was built anew, and says so.
async fn record_rebuilt(
    foundation: &Foundation,
    secrets: &Secrets,
    pools: Pools,
    (projection, facts): (&str, u64),
) -> anyhow::Result<()> {
    let at = SystemClock.now();
    let event = SystemEvent::ProjectionRebuilt { projection: projection.to_owned(), facts, at };
    let stream: StreamId = format!("rebuild:{}", Ulid::generate()).parse()?;
    let write = StreamWrite {
        stream,
        ledger: SystemEvent::LEDGER,
        expected_version: 0,
        events: vec![NewEvent::new(&event, None, at)?],
    };
    let metadata = Metadata {
        producer_instance: foundation.instance.clone(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let append =
        Append { tenant_id: TenantId::system(), writes: vec![write], claim: None, metadata };
    let ledger = RunningLedger::start(secrets, pools)?;
    ledger.ledger.append(append).await?;
    ledger.stop().await;
    output::line(format_args!("{projection}: {facts} facts folded"))
}

/// The ledger for the time of one command.
struct RunningLedger {
    ledger: Ledger,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl RunningLedger {
    fn start(secrets: &Secrets, pools: Pools) -> anyhow::Result<Self> {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let ledger = Ledger::start(
            pools,
            ledger::Settings::default(),
            connect::master_key(secrets)?,
            &tracker,
            shutdown.clone(),
        );
        Ok(Self { ledger, tracker, shutdown })
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Lets what could not be published be tried again.
///
/// # Errors
/// When Postgres or Pub/Sub fail.
pub async fn redrive(foundation: &Foundation) -> anyhow::Result<()> {
    let secrets = Secrets::read(&foundation.secrets_dir).context("SECRETS_DIR")?;
    let pools = connect::postgres(&foundation.stores).await?;
    let pubsub = connect::pubsub(&foundation.stores).await?;
    let ledger = RunningLedger::start(&secrets, pools.clone())?;
    let settings =
        relay::Settings { instance: foundation.instance.clone(), ..relay::Settings::default() };
    let clock: SharedClock = Arc::new(SystemClock);
    let relay = Relay::new(ledger.ledger.clone(), &pools, pubsub, settings, clock);
    let redriven = relay.redrive().await?;
    ledger.stop().await;
    output::line(format_args!(
        "{} parked keys will be tried again, {} dead letters published, {} still refused",
        redriven.requested_keys, redriven.published, redriven.still_refused
    ))
}

/// Checks every stored event, log and stream against what was recorded of it.
///
/// # Errors
/// Names the first defect.
pub async fn verify_ledger(foundation: &Foundation) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    let bar = progress("events");
    let audited = audit::audit(pools.jobs(), |done, total| {
        bar.set_length(u64::try_from(total).unwrap_or_default());
        bar.set_position(u64::try_from(done).unwrap_or_default());
    })
    .await?;
    bar.finish();
    output::line(format_args!(
        "ledger: {} events in {} logs and {} streams, every one as recorded, no gap",
        audited.events, audited.logs, audited.streams
    ))
}

/// Makes the ledger's partitions ahead of time.
///
/// # Errors
/// When Postgres fails.
pub async fn partitions(foundation: &Foundation) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    output::line(jobs::make_partitions(&pools).await?)
}

/// Forgets the answers of idempotency keys that are too old to be used.
///
/// # Errors
/// When Postgres fails; batches deleted before stay deleted.
pub async fn purge_idempotency(foundation: &Foundation) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    output::line(jobs::purge_idempotency(&pools).await?)
}

/// Forgets what is kept beside the ledger and is over.
///
/// # Errors
/// When Postgres fails; batches deleted before stay deleted.
pub async fn forget(foundation: &Foundation) -> anyhow::Result<()> {
    let pools = connect::postgres(&foundation.stores).await?;
    let clock: SharedClock = Arc::new(SystemClock);
    output::line(jobs::forget(&pools, &clock).await?)
}

/// Runs a job that works with the ledger.
///
/// # Errors
/// When Postgres fails; what was done before stays done.
pub async fn run_job(
    foundation: &Foundation,
    upstreams: &Upstreams,
    job: Job,
) -> anyhow::Result<()> {
    let secrets = Secrets::read(&foundation.secrets_dir).context("SECRETS_DIR")?;
    let pools = connect::postgres(&foundation.stores).await?;
    let ledger = RunningLedger::start(&secrets, pools.clone())?;
    let resources = Resources {
        ledger: ledger.ledger.clone(),
        upstream: connect::upstream(upstreams)?,
        secrets: Arc::new(secrets),
        clock: Arc::new(SystemClock),
        instance: foundation.instance.as_str().into(),
        turns: Turns::default(),
    };
    let done = job.run(&pools, &resources).await;
    ledger.stop().await;
    output::line(done?)
}

/// A bar where a person looks, nothing in a log.
pub(super) fn progress(unit: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(0).with_style(style).with_message(unit);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
