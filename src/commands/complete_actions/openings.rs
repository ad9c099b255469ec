//! The table of actions without an outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use events::{
    Ledger, StreamId, TenantId,
    ledger::{
        lock_action::LockActionEvent,
        operator_action::{self, OperatorActionEvent},
    },
};
use sqlx::{PgConnection, PgPool};

use super::{Due, PAGE, REPEATED_FOR};
use crate::{
    commands::idempotency::LEASE,
    ledger::{StoredEvent, read},
};

/// How long the request on a lock has for itself, before the worker looks after it: longer than its
/// call.
const HEAD_START: Duration = Duration::from_secs(5);
/// After an attempt on a lock that lost its answer.
const SECOND_TRY_AFTER: Duration = Duration::from_secs(1);
/// How long a mutation has for itself: its desktop asks for what became of it, and its claim is
/// nobody else's before.
const LEASED: Duration = LEASE.saturating_add(SECOND_TRY_AFTER);

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

/// What an event says about the row of its action.
enum Note {
    /// The worker leaves it alone for so long.
    Opened {
        upstream_key: Option<String>,
        for_itself: Duration,
    },
    /// Due after so long at the latest.
    Lost {
        due_after: Option<Duration>,
    },
    Ended,
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
    let page = read::tail(jobs, cursor, u32::try_from(PAGE)?).await?;
    let mut notes = Vec::new();
    for stored in &page {
        if stored.ledger == Ledger::LockAudit {
            notes.push((stored, of_lock(stored.decode()?)));
        } else if stored.kind.starts_with(operator_action::KIND_PREFIX) {
            notes.push((stored, of_mutation(&stored.decode()?)));
        }
    }
    for (stored, note) in lasting(notes) {
        write(&mut tx, stored, note).await?;
    }
    if let Some(last) = page.last() {
        sqlx::query!("update open_action_cursor set position = $1 where shard = 0", last.position)
            .execute(&mut *tx)
            .await?;
    }
    tx.commit().await?;
    Ok(page.len())
}

fn of_lock(event: LockActionEvent) -> Note {
    match event {
        LockActionEvent::Requested { upstream_key, .. } => {
            Note::Opened { upstream_key: Some(upstream_key), for_itself: HEAD_START }
        }
        LockActionEvent::OutcomeUnknown { .. } => Note::Lost { due_after: Some(SECOND_TRY_AFTER) },
        LockActionEvent::Completed { .. }
        | LockActionEvent::Failed { .. }
        | LockActionEvent::Resolved { .. } => Note::Ended,
    }
}

fn of_mutation(event: &OperatorActionEvent) -> Note {
    match event {
        OperatorActionEvent::Requested { .. } => {
            Note::Opened { upstream_key: None, for_itself: LEASED }
        }
        OperatorActionEvent::OutcomeUnknown { .. } => Note::Lost { due_after: None },
        OperatorActionEvent::Completed { .. }
        | OperatorActionEvent::Refused { .. }
        | OperatorActionEvent::Resolved { .. } => Note::Ended,
    }
}

/// Leaves out the actions that begin and end on this page: they have no row, and need none.
fn lasting(mut notes: Vec<(&StoredEvent, Note)>) -> Vec<(&StoredEvent, Note)> {
    let name = |stored: &StoredEvent| (stored.tenant_id.clone(), stored.stream.clone());
    let begun: BTreeSet<_> = notes
        .iter()
        .filter(|(stored, _)| stored.stream_version == 1)
        .map(|(stored, _)| name(stored))
        .collect();
    let ended: BTreeMap<_, bool> =
        notes.iter().map(|(stored, note)| (name(stored), matches!(note, Note::Ended))).collect();
    notes.retain(|(stored, _)| {
        let name = name(stored);
        !(begun.contains(&name) && ended.get(&name).is_some_and(|is_ended| *is_ended))
    });
    notes
}

/// Opens, changes or closes the row of an action.
async fn write(db: &mut PgConnection, stored: &StoredEvent, note: Note) -> sqlx::Result<()> {
    let (tenant_id, stream) = (stored.tenant_id.as_str(), stored.stream.as_str());
    match note {
        Note::Opened { upstream_key, for_itself } => {
            sqlx::query!(
                r#"
                insert into open_action
                    (tenant_id, stream, ledger, upstream_key, state, requested_at, next_try_at)
                values ($1, $2, $3, $4, 'open', $5::timestamptz,
                    $5::timestamptz + $6 * interval '1 second')
                on conflict (tenant_id, stream) do update
                set upstream_key = excluded.upstream_key,
                    state = excluded.state,
                    requested_at = excluded.requested_at,
                    attempts = 0,
                    next_try_at = excluded.next_try_at
                "#,
                tenant_id,
                stream,
                stored.ledger.name(),
                upstream_key,
                stored.recorded_at,
                for_itself.as_secs_f64(),
            )
            .execute(db)
            .await?;
        }
        Note::Lost { due_after } => {
            sqlx::query!(
                r#"
                update open_action
                set state = 'unknown',
                    next_try_at = least(next_try_at, now() + $3::float8 * interval '1 second')
                where tenant_id = $1 and stream = $2
                "#,
                tenant_id,
                stream,
                due_after.map(|after| after.as_secs_f64()),
            )
            .execute(db)
            .await?;
        }
        Note::Ended => close(db, tenant_id, stream).await?,
    }
    Ok(())
}

async fn close(db: &mut PgConnection, tenant_id: &str, stream: &str) -> sqlx::Result<()> {
    sqlx::query!("delete from open_action where tenant_id = $1 and stream = $2", tenant_id, stream)
        .execute(db)
        .await?;
    Ok(())
}

/// Drops an action of which nobody will find out more; the ledger has it as unknown.
pub(super) async fn forget(jobs: &PgPool, due: &Due) -> sqlx::Result<()> {
    let mut connection = jobs.acquire().await?;
    close(&mut connection, due.tenant_id.as_str(), due.stream.as_str()).await
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
        returning tenant_id, stream, ledger,
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
            let unknown = || anyhow::anyhow!("{stream} is in no ledger: {}", row.ledger);
            let ledger = Ledger::from_name(&row.ledger).ok_or_else(unknown)?;
            Ok(Due { tenant_id, stream, ledger, age: seconds(row.age) })
        })
        .collect()
}

/// How many actions of a ledger have no outcome, as far as the ledger was read.
///
/// # Errors
/// When the database fails.
pub async fn count(jobs: &PgPool, ledger: Ledger) -> sqlx::Result<Openings> {
    let row = sqlx::query!(
        r#"
        select
            count(*) filter (where state = 'open') as "open!",
            count(*) filter (where state = 'unknown') as "unknown!",
            coalesce(extract(epoch from now() - min(requested_at)), 0)::float8 as "oldest!"
        from open_action
        where ledger = $1
        "#,
        ledger.name(),
    )
    .fetch_one(jobs)
    .await?;
    Ok(Openings { open: row.open, unknown: row.unknown, oldest: seconds(row.oldest) })
}

/// Tells the metrics.
pub(super) async fn report(jobs: &PgPool) -> sqlx::Result<()> {
    let locks = count(jobs, Ledger::LockAudit).await?;
    for (state, number) in [("open", locks.open), ("unknown", locks.unknown)] {
        metrics::gauge!("bff_backoffice_open_lock_actions", "state" => state).set(gauge(number));
    }
    metrics::gauge!("bff_backoffice_open_lock_action_age_seconds").set(locks.oldest.as_secs_f64());
    let mutations = count(jobs, Ledger::Activity).await?;
    for (state, number) in [("open", mutations.open), ("unknown", mutations.unknown)] {
        metrics::gauge!("bff_backoffice_open_mutations", "state" => state).set(gauge(number));
    }
    metrics::gauge!("bff_backoffice_open_mutation_age_seconds").set(mutations.oldest.as_secs_f64());
    Ok(())
}

fn gauge(number: i64) -> f64 {
    f64::from(i32::try_from(number).unwrap_or(i32::MAX))
}

/// A clock that was set back leaves no negative age.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
