//! Worker: notification-service is told of every acknowledgment until it answers, however long it
//! is away.
//!
//! What is open is derived from the ledger and kept in `acknowledgment_forward`, with the cursor in
//! the same transaction: a crash anywhere repeats a step and loses none. A repeated call carries
//! the same upstream key, so it has one effect.

pub mod report;

use std::time::Duration;

use cqrs_es::{AggregateError, CqrsFramework};
use events::{
    AlertId, Metadata, StreamId, TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent,
};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::report::Report;
use super::Resources;
use crate::{
    aggregates::AlertAcknowledgment,
    ledger::{event_store::TenantStore, read},
    upstream::CallContext,
};

/// Events read in one transaction.
const PAGE: u32 = 500;
/// Calls made at once.
const CALLS_MAX: i64 = 16;
/// How long the request that recorded an acknowledgment has for itself, before the worker tries.
const HEAD_START: Duration = Duration::from_secs(2);
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

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
        let worked = read_on(jobs).await? + try_due(resources, jobs).await?;
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
        from acknowledgment_forward_cursor
        where shard = 0
        for update skip locked
        "#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(cursor) = cursor else { return Ok(0) };
    let page = read::tail(jobs, cursor, PAGE).await?;
    for stored in &page {
        if stored.ledger == events::Ledger::AlertAck {
            note(&mut tx, &stored.tenant_id, &stored.decode()?).await?;
        }
    }
    if let Some(last) = page.last() {
        sqlx::query!(
            "update acknowledgment_forward_cursor set position = $1 where shard = 0",
            last.position
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(page.len())
}

/// Opens or closes the row of an acknowledgment.
async fn note(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    event: &AlertAcknowledgmentEvent,
) -> sqlx::Result<()> {
    match event {
        AlertAcknowledgmentEvent::Acknowledged { alert_id, .. } => {
            sqlx::query!(
                r#"
                insert into acknowledgment_forward (tenant_id, alert_id, next_try_at)
                values ($1, $2, now() + $3 * interval '1 second')
                on conflict do nothing
                "#,
                tenant_id.as_str(),
                alert_id.as_str(),
                HEAD_START.as_secs_f64(),
            )
            .execute(db)
            .await?;
        }
        AlertAcknowledgmentEvent::Forwarded { alert_id, .. }
        | AlertAcknowledgmentEvent::ForwardFailed { alert_id, .. } => {
            sqlx::query!(
                "delete from acknowledgment_forward where tenant_id = $1 and alert_id = $2",
                tenant_id.as_str(),
                alert_id.as_str(),
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
        update acknowledgment_forward
        set attempts = attempts + 1,
            next_try_at = now() + least(300, 2 ^ least(attempts, 8) * 2)
                * (0.75 + random() / 2) * interval '1 second'
        where (tenant_id, alert_id) in (
            select tenant_id, alert_id
            from acknowledgment_forward
            where next_try_at <= now()
            order by next_try_at
            limit $1
            for update skip locked
        )
        returning tenant_id, alert_id
        "#,
        CALLS_MAX
    )
    .fetch_all(jobs)
    .await?;
    let calls = due.iter().map(|row| async {
        let (tenant_id, alert_id) = (row.tenant_id.parse()?, row.alert_id.parse()?);
        forward(resources, &tenant_id, &alert_id).await
    });
    futures::future::try_join_all(calls).await?;
    Ok(due.len())
}

/// Tells notification-service of one acknowledgment and records what it said.
async fn forward(
    resources: &Resources,
    tenant_id: &TenantId,
    alert_id: &AlertId,
) -> anyhow::Result<()> {
    let Some(report) = Report::open(resources, tenant_id, alert_id).await? else { return Ok(()) };
    let context = CallContext {
        operator_id: Some(report.standing.by.clone()),
        property_id: Some(report.standing.property_id.clone()),
        ..CallContext::internal()
    };
    let told = report.tell(resources, tenant_id, &context, CALL_TIMEOUT).await;
    let Some(command) = told.command(resources.clock.now()) else { return Ok(()) };
    let metadata = Metadata {
        operator_id: Some(report.standing.by.clone()),
        property_id: Some(report.standing.property_id.clone()),
        trace_id: Some(context.traceparent.clone()),
        correlation_id: Some(context.request_id.clone()),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let store = TenantStore::<AlertAcknowledgment>::new(
        &resources.ledger,
        &resources.clock,
        tenant_id.clone(),
        metadata,
    );
    let stream = StreamId::alert_acknowledgment(alert_id);
    match CqrsFramework::new(store, vec![], ()).execute(stream.as_str(), command).await {
        // The request itself, or another instance, was faster.
        Ok(()) | Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
