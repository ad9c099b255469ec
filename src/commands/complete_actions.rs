//! Worker: finds out what became of actions that were requested of an upstream and never got an
//! outcome: keys of doors, and the mutations that are passed on.
//!
//! What is open is derived from the ledger and kept in `open_action`, with the cursor in the same
//! transaction: a crash anywhere repeats a step and loses none. Within two minutes of the request it
//! is made again, under the same upstream key, so that it has one effect; later nothing is asked for
//! any more, only looked at where there is something to look at: no door opens hours late.

mod finding;
mod lock_action;
mod mutation;
mod openings;

use std::{sync::Arc, time::Duration};

use cqrs_es::{Aggregate, AggregateError, CqrsFramework};
use events::{Ledger, LedgerEvent, Metadata, StreamId, TenantId};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::openings::{Openings, count, read_on};
use super::{CommandError, Resources};
use crate::{
    ledger::{ClaimWrite, StoredResponse, event_store::TenantStore},
    upstream::{CallContext, UpstreamError},
};

/// How long after its request an action may be asked for again. Database time.
pub const REPEATED_FOR: Duration = Duration::from_mins(2);
/// An action that is open for so long is for a person to look at.
const ALARM_AFTER: Duration = Duration::from_mins(15);
/// Actions looked into at once.
const TRIES_MAX: i64 = 16;
/// Events read in one transaction.
const PAGE: usize = 500;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Writes an upstream's refusal out for a client that has gone: the metadata of its request, the
/// path it asked for, what was said.
pub type Render = dyn Fn(&Metadata, &str, &UpstreamError) -> StoredResponse + Send + Sync;

/// What the worker works with. Cheap to clone.
#[derive(Clone)]
pub struct Completer {
    pub resources: Resources,
    /// Of the role that looks after all tenants.
    pub jobs: PgPool,
    pub render: Arc<Render>,
}

/// An open action that is due, and how old it is.
#[derive(Clone, Debug)]
struct Due {
    tenant_id: TenantId,
    stream: StreamId,
    ledger: Ledger,
    /// Since the request, by the database's clock.
    age: Duration,
}

impl Completer {
    /// Works until `shutdown`: reads the ledger on, then looks into the actions that are due. No
    /// event wakes it: nothing is due at once, and of what is asked for and answered between two
    /// looks there is nothing to keep.
    ///
    /// # Errors
    /// The first failure of the database; nothing is lost, start it again.
    pub async fn run(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut report_at = Instant::now();
        while !shutdown.is_cancelled() {
            let (read, tried) = (read_on(&self.jobs).await?, self.try_due().await?);
            if report_at <= Instant::now() {
                openings::report(&self.jobs).await?;
                report_at = Instant::now() + REPORT_INTERVAL;
            }
            if read < PAGE && tried == 0 {
                tokio::select! {
                    () = shutdown.cancelled() => (),
                    () = tokio::time::sleep(POLL_INTERVAL) => (),
                }
            }
        }
        Ok(())
    }

    /// Reads the ledger to its end and looks into every action that is due, once. Answers how many
    /// that were.
    ///
    /// # Errors
    /// When the database fails; what was done before stays done.
    pub async fn run_once(&self) -> anyhow::Result<usize> {
        while read_on(&self.jobs).await? != 0 {}
        let mut tried = 0;
        loop {
            let due = self.try_due().await?;
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
    pub async fn try_due(&self) -> anyhow::Result<usize> {
        let due = openings::take_due(&self.jobs, TRIES_MAX).await?;
        let tries = due.iter().map(|due| self.complete(due));
        futures::future::try_join_all(tries).await?;
        Ok(due.len())
    }

    async fn complete(&self, due: &Due) -> anyhow::Result<()> {
        match due.ledger {
            Ledger::LockAudit => lock_action::complete(self, due).await,
            _ => Box::pin(mutation::complete(self, due)).await,
        }
    }

    /// Runs a command on the stream of an action, on behalf of the request in `metadata`; its event
    /// and `claim` are one append. Somebody else may have been faster.
    async fn record<A>(
        &self,
        due: &Due,
        (command, claim): (A::Command, Option<ClaimWrite>),
        (metadata, context): (Metadata, &CallContext),
    ) -> anyhow::Result<()>
    where
        A: Aggregate<Services = ()>,
        A::Event: LedgerEvent,
        A::Error: Send + Sync + 'static,
    {
        let metadata = Metadata {
            request_id: Some(context.request_id.clone()),
            trace_id: Some(context.traceparent.clone()),
            causation_id: metadata.request_id,
            producer_instance: self.resources.instance.to_string(),
            ..metadata
        };
        let Resources { ledger, clock, .. } = &self.resources;
        let store = TenantStore::<A>::new(ledger, clock, due.tenant_id.clone(), metadata);
        let store = match claim {
            Some(claim) => store.with_claim(claim),
            None => store,
        };
        match CqrsFramework::new(store, vec![], ()).execute(due.stream.as_str(), command).await {
            Ok(()) | Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => {
                Ok(())
            }
            Err(error) => match CommandError::from_aggregate(error) {
                // The request itself came again while it was looked into, and has the claim now.
                CommandError::InProgress => Ok(()),
                error => Err(error.into()),
            },
        }
    }
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

/// Nobody knows what has happened. A person has to look at a door; a desktop may still ask for what
/// became of a mutation.
fn alarm(due: &Due) {
    if due.age < ALARM_AFTER {
        return;
    }
    let (stream, age_seconds) = (&due.stream, due.age.as_secs());
    if due.ledger == Ledger::LockAudit {
        metrics::counter!("bff_backoffice_lock_action_alarm_total").increment(1);
        tracing::error!(%stream, age_seconds, "nobody knows what became of an action on a lock");
    } else {
        metrics::counter!("bff_backoffice_mutation_alarm_total").increment(1);
        tracing::warn!(%stream, age_seconds, "nobody knows what became of a mutation");
    }
}
