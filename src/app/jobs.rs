//! The jobs that a scheduler starts, or a person from the command line.

use std::sync::Arc;

use anyhow::Context;

use crate::{
    clock::SharedClock,
    commands::{
        Resources,
        archive_claims::{self, Archived},
        complete_actions::Completer,
        retention,
    },
    http,
    ledger::{Pools, idempotency::purge, partitions},
};

/// A job, done once each time it is started; safe beside the same job of another instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Makes the ledger's partitions, three periods ahead.
    Partitions,
    /// Forgets the answers of idempotency keys that no client may use any more.
    PurgeIdempotency,
    /// Forgets what is kept beside the ledger and is over: hints, mirrors, the inbox, sessions.
    Retention,
    /// Ends the claims that nobody came back for, and archives all that ended.
    Archive,
    /// Finds out what became of actions that have no outcome.
    Completer,
}

impl Job {
    pub const ALL: [Self; 5] =
        [Self::Partitions, Self::PurgeIdempotency, Self::Retention, Self::Archive, Self::Completer];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::PurgeIdempotency => "purge-idempotency",
            Self::Retention => "retention",
            Self::Archive => "archive",
            Self::Completer => "completer",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name)
    }

    /// Runs it to its end; answers in words what was done.
    ///
    /// # Errors
    /// When Postgres fails; what was done before stays done, and the job can be started again.
    pub async fn run(self, pools: &Pools, resources: &Resources) -> anyhow::Result<String> {
        match self {
            Self::Partitions => make_partitions(pools).await,
            Self::PurgeIdempotency => purge_idempotency(pools).await,
            Self::Retention => forget(pools, &resources.clock).await,
            Self::Archive => {
                let done = archive_claims::run_once(resources, pools.jobs()).await;
                let Archived { ended, archived, forgotten } = done.context("archive")?;
                Ok(format!(
                    "{archived} answered keys archived, {ended} ended that nobody came back for, \
                     {forgotten} forgotten"
                ))
            }
            Self::Completer => {
                let tried = completer(pools, resources).run_once().await;
                let tried = tried.context("completer")?;
                Ok(format!("{tried} open actions looked into"))
            }
        }
    }
}

/// What finds out what became of actions without an outcome.
pub fn completer(pools: &Pools, resources: &Resources) -> Completer {
    Completer {
        resources: resources.clone(),
        jobs: pools.jobs().clone(),
        render: Arc::new(http::keyed::render_later),
    }
}

/// # Errors
/// When Postgres fails.
pub async fn make_partitions(pools: &Pools) -> anyhow::Result<String> {
    let mut connection = pools.maintain().acquire().await?;
    let made = partitions::ensure(&mut connection).await.context("partitions")?;
    Ok(format!("{made} partitions made, {} periods ahead", partitions::AHEAD))
}

/// # Errors
/// When Postgres fails; batches deleted before stay deleted.
pub async fn purge_idempotency(pools: &Pools) -> anyhow::Result<String> {
    let purged = purge::purge(pools.jobs()).await.context("purge-idempotency")?;
    Ok(format!("{purged} answered keys forgotten"))
}

/// # Errors
/// When Postgres fails; batches deleted before stay deleted.
pub async fn forget(pools: &Pools, clock: &SharedClock) -> anyhow::Result<String> {
    Ok(retention::run_once(pools.jobs(), clock).await.context("retention")?.to_string())
}
