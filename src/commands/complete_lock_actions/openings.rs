//! The table of actions without an outcome.

use std::time::Duration;

use events::{StreamId, TenantId, ledger::lock_action::LockActionEvent};
use sqlx::{PgConnection, PgPool};

use super::{Due, REPEATED_FOR};
use crate::ledger::read;

/// Events read in one transaction.
const PAGE: u32 = 500;
/// How long the request has for itself, before the worker looks after it: longer than its call.
const HEAD_START: Duration = Duration::from_secs(5);
/// After an attempt that lost its answer.
const SECOND_TRY_AFTER: Duration = Duration::from_secs(1);

/// How many actions have no outcome yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Openings {
    /// Requested, and nothing heard of since.
    pub open: i64,
    /// Known to be unknown.
    pub unknown: i64,
    /// Since the oldest request; zero when there is none.
    pub oldest: Duration,
}

/// Reads one page of the ledger and answers how many events it had; 0 too when another instance is
/// reading.
///
/// # Errors
/// When the database fails; then nothing has changed.
pub async fn read_on(jobs: &PgPool) -> anyhow::Result<usize> {
    let mut tx = jobs.begin().await?;
    let cursor = sqlx::query_scalar!(
        "select position from open_action_cursor where shard = 0 for update skip locked"
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(cursor) = cursor else { return Ok(0) };
    let page = read::tail(jobs, cursor, PAGE).await?;
    for stored in &page {
        if stored.ledger == events::Ledger::LockAudit {
            note(&mut tx, stored, &stored.decode()?).await?;
        }
    }
    if let Some(last) = page.last() {
        sqlx::query!("update open_action_cursor set position = $1 where shard = 0", last.position)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(page.len())
}

/// Opens, changes or closes the row of an action.
async fn note(
    db: &mut PgConnection,
    stored: &read::StoredEvent,
    event: &LockActionEvent,
) -> sqlx::Result<()> {
    let (tenant_id, stream) = (stored.tenant_id.as_str(), stored.stream.as_str());
    match event {
        LockActionEvent::Requested { upstream_key, .. } => {
            sqlx::query!(
                r#"
                insert into open_action
                    (tenant_id, stream, upstream_key, state, requested_at, next_try_at)
                values ($1, $2, $3, 'open', $4::timestamptz, $4::timestamptz + $5 * interval '1 second')
                on conflict (tenant_id, stream) do update
                set upstream_key = excluded.upstream_key,
                    state = excluded.state,
                    requested_at = excluded.requested_at,
                    attempts = 0,
                    next_try_at = excluded.next_try_at
                "#,
                tenant_id,
                stream,
                upstream_key,
                stored.recorded_at,
                HEAD_START.as_secs_f64(),
            )
            .execute(db)
            .await?;
        }
        LockActionEvent::OutcomeUnknown { .. } => {
            sqlx::query!(
                r#"
                update open_action
                set state = 'unknown',
                    next_try_at = least(next_try_at, now() + $3 * interval '1 second')
                where tenant_id = $1 and stream = $2
                "#,
                tenant_id,
                stream,
                SECOND_TRY_AFTER.as_secs_f64(),
            )
            .execute(db)
            .await?;
        }
        LockActionEvent::Completed { .. }
        | LockActionEvent::Failed { .. }
        | LockActionEvent::Resolved { .. } => {
            sqlx::query!(
                "delete from open_action where tenant_id = $1 and stream = $2",
                tenant_id,
                stream
            )
            .execute(db)
            .await?;
        }
    }
    Ok(())
}

/// Takes the actions that are due, at most `limit`; each is due again after its backoff: soon while
/// it may be asked for again, later rarely.
pub(super) async fn take_due(jobs: &PgPool, limit: i64) -> anyhow::Result<Vec<Due>> {
    let rows = sqlx::query!(
        r#"
        update open_action
        set attempts = attempts + 1,
            next_try_at = now() + (case
                when now() - requested_at < $2 * interval '1 second'
                    then least(15, 2 ^ least(attempts, 8) * 2)
                else least(900, 2 ^ least(attempts, 10) * 2)
            end) * (0.75 + random() / 2) * interval '1 second'
        where (tenant_id, stream) in (
            select tenant_id, stream
            from open_action
            where next_try_at <= now()
            order by next_try_at
            limit $1
            for update skip locked
        )
        returning tenant_id, stream,
            extract(epoch from now() - requested_at)::float8 as "age!"
        "#,
        limit,
        REPEATED_FOR.as_secs_f64(),
    )
    .fetch_all(jobs)
    .await?;
    rows.into_iter()
        .map(|row| {
            let tenant_id: TenantId = row.tenant_id.parse()?;
            let stream: StreamId = row.stream.parse()?;
            Ok(Due { tenant_id, stream, age: seconds(row.age) })
        })
        .collect()
}

/// How many actions have no outcome, as far as the ledger was read.
///
/// # Errors
/// When the database fails.
pub async fn count(jobs: &PgPool) -> sqlx::Result<Openings> {
    let row = sqlx::query!(
        r#"
        select
            count(*) filter (where state = 'open') as "open!",
            count(*) filter (where state = 'unknown') as "unknown!",
            coalesce(extract(epoch from now() - min(requested_at)), 0)::float8 as "oldest!"
        from open_action
        "#
    )
    .fetch_one(jobs)
    .await?;
    Ok(Openings { open: row.open, unknown: row.unknown, oldest: seconds(row.oldest) })
}

/// Tells the metrics.
pub(super) async fn report(jobs: &PgPool) -> sqlx::Result<()> {
    let Openings { open, unknown, oldest } = count(jobs).await?;
    for (state, number) in [("open", open), ("unknown", unknown)] {
        let number = f64::from(i32::try_from(number).unwrap_or(i32::MAX));
        metrics::gauge!("bff_backoffice_open_lock_actions", "state" => state).set(number);
    }
    metrics::gauge!("bff_backoffice_open_lock_action_age_seconds").set(oldest.as_secs_f64());
    Ok(())
}

/// A clock that was set back leaves no negative age.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
