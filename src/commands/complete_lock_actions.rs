//! Worker: finds out what became of actions on locks that were requested and never got an outcome.
//!
//! What is open is derived from the ledger and kept in `open_action`, with the cursor in the same
//! transaction: a crash anywhere repeats a step and loses none. Within two minutes of the request it
//! is made again, under the same upstream key, so that it has one effect; later nothing is asked for
//! any more, only looked at: no door opens hours late.

mod finding;
mod openings;

use std::time::Duration;

use cqrs_es::{AggregateError, CqrsFramework};
use events::{Metadata, StreamId, TenantId};
use sqlx::PgPool;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::finding::Search;
pub use self::openings::{Openings, count, read_on};
use super::{
    CommandError, Resources,
    lock_action::{Loaded, load},
};
use crate::{
    aggregates::{
        LockAction,
        lock_action::{Command, Progress},
    },
    ledger::event_store::TenantStore,
    upstream::CallContext,
};

/// How long after its request an action may be asked for again. Database time.
pub const REPEATED_FOR: Duration = Duration::from_mins(2);
/// From then on what a read does not show has not happened and will not: longer than
/// lock-integration-service works on a request after the last repetition.
const SETTLED_AFTER: Duration = Duration::from_secs(150);
/// An action that is open for so long is for a person to look at.
const ALARM_AFTER: Duration = Duration::from_mins(15);
/// Actions looked into at once.
const TRIES_MAX: i64 = 16;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// An open action that is due, and how old it is.
#[derive(Clone, Debug)]
struct Due {
    tenant_id: TenantId,
    stream: StreamId,
    /// Since the request, by the database's clock.
    age: Duration,
}

/// Works until `shutdown`: reads the ledger on, then looks into the actions that are due.
///
/// # Errors
/// The first failure of the database; nothing is lost, start it again.
pub async fn run(
    resources: &Resources,
    jobs: &PgPool,
    mut head: watch::Receiver<i64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut report_at = Instant::now();
    while !shutdown.is_cancelled() {
        let worked = read_on(jobs).await? + try_due(resources, jobs).await?;
        if report_at <= Instant::now() {
            openings::report(jobs).await?;
            report_at = Instant::now() + REPORT_INTERVAL;
        }
        if worked == 0 {
            tokio::select! {
                () = shutdown.cancelled() => (),
                _ = head.changed() => (),
                () = tokio::time::sleep(POLL_INTERVAL) => (),
            }
        }
    }
    Ok(())
}

/// Reads the ledger to its end and looks into every action that is due, once. Answers how many that
/// were.
///
/// # Errors
/// When the database fails; what was done before stays done.
pub async fn run_once(resources: &Resources, jobs: &PgPool) -> anyhow::Result<usize> {
    while read_on(jobs).await? != 0 {}
    let mut tried = 0;
    loop {
        let due = try_due(resources, jobs).await?;
        tried += due;
        if due == 0 {
            return Ok(tried);
        }
    }
}

/// Looks into the actions that are due and records what is found. Answers how many that were.
///
/// # Errors
/// When the database fails. An action that was taken is due again after its backoff.
pub async fn try_due(resources: &Resources, jobs: &PgPool) -> anyhow::Result<usize> {
    let due = openings::take_due(jobs, TRIES_MAX).await?;
    let tries = due.iter().map(|due| complete(resources, jobs, due));
    futures::future::try_join_all(tries).await?;
    Ok(due.len())
}

async fn complete(resources: &Resources, jobs: &PgPool, due: &Due) -> anyhow::Result<()> {
    let Loaded { action, metadata } =
        load(&resources.ledger, &due.tenant_id, &due.stream).await.map_err(CommandError::from)?;
    let (Progress::Open(wanted), Some(metadata)) = (action.progress(), metadata) else {
        // It has an outcome by now; its row goes when the cursor gets there.
        return Ok(());
    };
    let context = context(&metadata);
    let search = Search { resources, jobs, due, wanted, metadata: &metadata, context: &context };
    let found = search.outcome().await?;
    let at = resources.clock.now();
    let command = match found {
        Some((outcome, found_by)) => Command::Settle { outcome, found_by, at },
        None if REPEATED_FOR <= due.age && !action.is_lost() => Command::LoseSight { at },
        None => {
            alarm(due);
            return Ok(());
        }
    };
    record(resources, due, (command, metadata, &context)).await
}

/// On behalf of the operator who requested the action.
fn context(metadata: &Metadata) -> CallContext {
    CallContext {
        operator_id: metadata.operator_id.clone(),
        device_id: metadata.device_id.clone(),
        property_id: metadata.property_id.clone(),
        roles: metadata.role.clone().into_iter().collect(),
        locale: metadata.locale.clone(),
        ..CallContext::internal()
    }
}

async fn record(
    resources: &Resources,
    due: &Due,
    (command, metadata, context): (Command, Metadata, &CallContext),
) -> anyhow::Result<()> {
    let metadata = Metadata {
        request_id: Some(context.request_id.clone()),
        trace_id: Some(context.traceparent.clone()),
        causation_id: metadata.request_id,
        producer_instance: resources.instance.to_string(),
        ..metadata
    };
    let store = TenantStore::<LockAction>::new(
        &resources.ledger,
        &resources.clock,
        due.tenant_id.clone(),
        metadata,
    );
    match CqrsFramework::new(store, vec![], ()).execute(due.stream.as_str(), command).await {
        // The request itself, or another instance, was faster.
        Ok(()) | Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Nobody knows whether the door opens: a person has to look.
fn alarm(due: &Due) {
    if due.age < ALARM_AFTER {
        return;
    }
    metrics::counter!("bff_backoffice_lock_action_alarm_total").increment(1);
    tracing::error!(
        stream = %due.stream,
        age_seconds = due.age.as_secs(),
        "nobody knows what became of an action on a lock"
    );
}
