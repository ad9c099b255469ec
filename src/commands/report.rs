//! Worker: upstreams are told of what operators decided here until they answer, however long they
//! are away.
//!
//! What is open is derived from the ledger and kept in `upstream_report`, with the cursor in the
//! same transaction: a crash anywhere repeats a step and loses none. A repeated call carries the
//! same upstream key, so it has one effect.

pub mod acknowledgment;
pub mod decision;

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework};
use events::{Ledger, LedgerEvent, Metadata, OperatorId, PropertyId, StreamId, TenantId};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{acknowledgment::AcknowledgmentReport, decision::DecisionReport};
use super::Resources;
use crate::{
    ledger::{
        event_store::TenantStore,
        read::{self, StoredEvent},
    },
    upstream::{CallContext, Reported, UpstreamError},
};

/// Events read in one transaction.
const PAGE: usize = 500;
/// Calls made at once.
const CALLS_MAX: i64 = 16;
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Between two looks. What is appended meanwhile, by requests of which most leave nothing to tell, is
/// read together.
const REST: Duration = Duration::from_millis(50);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Something the ledger holds that an upstream has not answered yet.
pub trait Report: Sized + Send + Sync {
    type Rejection: std::error::Error + Send + Sync + 'static;
    type Aggregate: Aggregate<Services = (), Event: LedgerEvent, Error = Self::Rejection>;

    /// What a stream's events leave to be told; `None` when nothing is.
    fn of(events: Vec<<Self::Aggregate as Aggregate>::Event>) -> Option<Self>;

    /// Who did it, and where.
    fn origin(&self) -> (&OperatorId, &PropertyId);

    /// Tells the upstream, for at most `timeout`. Whoever repeats the call, it has one effect.
    fn tell(
        &self,
        resources: &Resources,
        tenant_id: &TenantId,
        context: &CallContext,
        timeout: Duration,
    ) -> impl Future<Output = Told> + Send;

    /// What the ledger is to record of the answer; `None` while there is none.
    fn record(told: Told, at: DateTime<Utc>) -> Option<<Self::Aggregate as Aggregate>::Command>;
}

/// What an upstream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has what it was told, or had something else before it.
    Taken { already: bool },
    /// It will never take it.
    Refused { status: u16, code: String },
    /// It did not answer, or may answer otherwise later.
    NotYet,
}

impl Told {
    fn of(answer: Result<Reported, UpstreamError>) -> Self {
        match answer {
            Ok(Reported::Recorded) => Self::Taken { already: false },
            Ok(Reported::Already) => Self::Taken { already: true },
            Ok(Reported::Unknown) => Self::Refused { status: 404, code: String::new() },
            Err(UpstreamError::Problem(problem)) if is_final(problem.status.as_u16()) => {
                let code = problem.code.unwrap_or_default();
                Self::Refused { status: problem.status.as_u16(), code }
            }
            Err(error) => {
                tracing::warn!(error = %error, "an upstream was not told yet");
                Self::NotYet
            }
        }
    }
}

/// Refusals that the same call will meet again. Not: our identity, a timeout, a conflict of timing,
/// a rate limit.
fn is_final(status: u16) -> bool {
    !matches!(status, 401 | 403 | 408 | 409 | 425 | 429)
}

/// What an event means for the report of its stream.
enum Turn {
    /// There is something to tell; the request itself tells it for so long.
    Opened {
        head_start: Duration,
    },
    Closed,
}

/// Works until `shutdown`: reads the ledger on, then makes the calls that are due.
///
/// # Errors
/// The first failure of the database; nothing is lost, start it again.
pub async fn run(
    resources: &Resources,
    jobs: &PgPool,
    mut head: watch::Receiver<i64>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        head.mark_unchanged();
        let (read, tried) = (read_on(jobs).await?, try_due(resources, jobs).await?);
        if read == PAGE || tried != 0 {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(REST) => (),
        }
        tokio::select! {
            () = shutdown.cancelled() => (),
            _ = head.changed() => (),
            () = tokio::time::sleep(POLL_INTERVAL) => (),
        }
    }
    Ok(())
}

/// Reads one page of the ledger and answers how many events it had; 0 too when another instance is
/// reading.
///
/// # Errors
/// When the database fails; then nothing has changed.
pub async fn read_on(jobs: &PgPool) -> anyhow::Result<usize> {
    let mut tx = jobs.begin().await?;
    let cursor = sqlx::query_scalar!(
        r#"
        select position
        from upstream_report_cursor
        where shard = 0
        for update skip locked
        "#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(cursor) = cursor else { return Ok(0) };
    let page = read::tail(jobs, cursor, u32::try_from(PAGE)?).await?;
    for stored in &page {
        let turn = match stored.ledger {
            Ledger::AlertAck => acknowledgment::turn(&stored.decode()?),
            Ledger::AiDecision => decision::turn(&stored.decode()?),
            Ledger::Session | Ledger::Activity | Ledger::LockAudit | Ledger::System => continue,
        };
        note(&mut tx, stored, &turn).await?;
    }
    if let Some(last) = page.last() {
        sqlx::query!(
            "update upstream_report_cursor set position = $1 where shard = 0",
            last.position
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(page.len())
}

/// Opens or closes the row of a stream.
async fn note(db: &mut PgConnection, stored: &StoredEvent, turn: &Turn) -> sqlx::Result<()> {
    match turn {
        Turn::Opened { head_start } => {
            sqlx::query!(
                r#"
                insert into upstream_report (tenant_id, stream, ledger, next_try_at)
                values ($1, $2, $3, now() + $4 * interval '1 second')
                on conflict do nothing
                "#,
                stored.tenant_id.as_str(),
                stored.stream.as_str(),
                stored.ledger.name(),
                head_start.as_secs_f64(),
            )
            .execute(db)
            .await?;
        }
        Turn::Closed => {
            sqlx::query!(
                "delete from upstream_report where tenant_id = $1 and stream = $2",
                stored.tenant_id.as_str(),
                stored.stream.as_str(),
            )
            .execute(db)
            .await?;
        }
    }
    Ok(())
}

/// Makes the calls that are due and records the answers. Answers how many calls were made.
///
/// # Errors
/// When the database fails. A row that was taken is due again after its backoff.
pub async fn try_due(resources: &Resources, jobs: &PgPool) -> anyhow::Result<usize> {
    let due = sqlx::query!(
        r#"
        update upstream_report
        set attempts = attempts + 1,
            next_try_at = now() + least(300, 2 ^ least(attempts, 8) * 2)
                * (0.75 + random() / 2) * interval '1 second'
        where (tenant_id, stream) in (
            select tenant_id, stream
            from upstream_report
            where next_try_at <= now()
            order by next_try_at
            limit $1
            for update skip locked
        )
        returning tenant_id, stream, ledger
        "#,
        CALLS_MAX
    )
    .fetch_all(jobs)
    .await?;
    let calls = due.iter().map(|row| async {
        let (tenant_id, stream) = (row.tenant_id.parse()?, row.stream.parse()?);
        match Ledger::from_name(&row.ledger) {
            Some(Ledger::AiDecision) => {
                make::<DecisionReport>(resources, &tenant_id, &stream).await
            }
            _ => make::<AcknowledgmentReport>(resources, &tenant_id, &stream).await,
        }
    });
    futures::future::try_join_all(calls).await?;
    Ok(due.len())
}

/// Tells an upstream what a stream leaves to be told, and records what it said.
async fn make<R: Report>(
    resources: &Resources,
    tenant_id: &TenantId,
    stream: &StreamId,
) -> anyhow::Result<()> {
    let recorded = resources.ledger.read_stream(tenant_id, stream).await?;
    let events = recorded.into_iter().map(|recorded| recorded.event).collect();
    let Some(report) = R::of(events) else { return Ok(()) };
    let (operator_id, property_id) = report.origin();
    let context = CallContext {
        operator_id: Some(operator_id.clone()),
        property_id: Some(property_id.clone()),
        ..CallContext::internal()
    };
    let told = report.tell(resources, tenant_id, &context, CALL_TIMEOUT).await;
    let Some(command) = R::record(told, resources.clock.now()) else { return Ok(()) };
    let metadata = Metadata {
        operator_id: Some(operator_id.clone()),
        property_id: Some(property_id.clone()),
        trace_id: Some(context.traceparent.clone()),
        correlation_id: Some(context.request_id.clone()),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let store = TenantStore::<R::Aggregate>::new(
        &resources.ledger,
        &resources.clock,
        tenant_id.clone(),
        metadata,
    );
    match CqrsFramework::new(store, vec![], ()).execute(stream.as_str(), command).await {
        // The request itself, or another instance, was faster.
        Ok(()) | Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
