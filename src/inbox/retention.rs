//! Forgets what the inbox need not know any more.
//!
//! What is said of an alert or a suggestion goes all at once, thirty days after the last word of
//! it, if it is over by then; what is open stays, so that a rebuild knows it. What is done with when
//! it is read (revocations, moved cursors, replays, outcomes of locks) goes after thirty days.
//! Nothing goes that a reader of the inbox has not read: the positions that readers see have no gap.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;

/// How long events are kept once they are over, and dead letters once they have been read after all.
/// Longer than Pub/Sub can deliver anything again.
pub const KEPT: TimeDelta = TimeDelta::days(30);
/// How long a dead letter waits for somebody who can read it. It may hold personal data.
pub const DEAD_LETTER_KEPT: TimeDelta = TimeDelta::days(90);
/// Rows looked at in one transaction.
const BATCH_MAX: i64 = 1_000;

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub events: u64,
    pub dead_letters: u64,
    /// Of the dead letters, those that were never read.
    pub unread: u64,
}

/// Deletes what is over, a batch at a time. For the role `jobs`.
///
/// # Errors
/// When the database fails; the batches before are deleted.
pub async fn purge(jobs: &PgPool, now: DateTime<Utc>) -> sqlx::Result<Forgotten> {
    let events = purge_events(jobs, now - KEPT).await?;
    let (dead_letters, unread) = purge_dead_letters(jobs, now).await?;
    metrics::counter!("bff_backoffice_inbox_purged_total", "what" => "event").increment(events);
    metrics::counter!("bff_backoffice_inbox_purged_total", "what" => "dead_letter")
        .increment(dead_letters);
    if 0 < unread {
        tracing::error!(unread, "dead letters were forgotten that nobody could read");
    }
    Ok(Forgotten { events, dead_letters, unread })
}

async fn purge_events(jobs: &PgPool, before: DateTime<Utc>) -> sqlx::Result<u64> {
    let read = read_by_all(jobs).await?;
    let (mut after, mut purged) = (0, 0);
    loop {
        let batch = purge_batch(jobs, (after, read), before).await?;
        purged += batch.purged;
        match batch.last {
            Some(last) => after = last,
            None => return Ok(purged),
        }
    }
}

/// The position up to which every reader has read.
async fn read_by_all(jobs: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"
        select least(
            (select min(position) from projector_cursor where log = 'inbox'),
            (select min(position) from offline_replay_cursor)
        ) as "position!"
        "#
    )
    .fetch_one(jobs)
    .await
}

/// A stretch of the inbox that was looked at.
struct Batch {
    /// Its last position; `None` at the end.
    last: Option<i64>,
    purged: u64,
}

/// An item's rows are judged and deleted together (`inbox_item_is_over`): without the one that ended
/// it, the others would open it again.
async fn purge_batch(
    jobs: &PgPool,
    (after, read): (i64, i64),
    before: DateTime<Utc>,
) -> sqlx::Result<Batch> {
    let row = sqlx::query!(
        r#"
        with old as (
            select tenant_id, producer, event_id, position, property_id, item_id
            from inbox_event
            where $1 < position and position <= $2 and received_at < $3
            order by position
            limit $4
        ),
        over as (
            select tenant_id, property_id, item_id
            from (
                select distinct tenant_id, property_id, item_id from old where item_id is not null
            ) item
            where inbox_item_is_over(tenant_id, property_id, item_id, $3, $2)
        ),
        doomed as (
            select tenant_id, producer, event_id from old where item_id is null
            union all
            select said.tenant_id, said.producer, said.event_id
            from over
            join inbox_event said
              on said.tenant_id = over.tenant_id
             and said.item_id = over.item_id
             and said.property_id is not distinct from over.property_id
        ),
        purged as (
            delete from inbox_event gone
            using doomed
            where gone.tenant_id = doomed.tenant_id
              and gone.producer = doomed.producer
              and gone.event_id = doomed.event_id
            returning 1
        )
        select
            (select max(position) from old) as last,
            (select count(*) from purged) as "purged!"
        "#,
        after,
        read,
        before,
        BATCH_MAX,
    )
    .fetch_one(jobs)
    .await?;
    Ok(Batch { last: row.last, purged: row.purged.unsigned_abs() })
}

/// How many were deleted, and how many of those were never read.
async fn purge_dead_letters(jobs: &PgPool, now: DateTime<Utc>) -> sqlx::Result<(u64, u64)> {
    let (mut purged, mut unread) = (0, 0);
    loop {
        let row = sqlx::query!(
            r#"
            with gone as (
                delete from inbox_dead_letter
                where (tenant_id, topic, message_id) in (
                    select tenant_id, topic, message_id
                    from inbox_dead_letter
                    where replayed_at < $1 or received_at < $2
                    order by received_at
                    limit $3
                )
                returning replayed_at
            )
            select count(*) as "purged!", count(*) filter (where replayed_at is null) as "unread!"
            from gone
            "#,
            now - KEPT,
            now - DEAD_LETTER_KEPT,
            BATCH_MAX,
        )
        .fetch_one(jobs)
        .await?;
        purged += row.purged.unsigned_abs();
        unread += row.unread.unsigned_abs();
        if row.purged == 0 {
            return Ok((purged, unread));
        }
    }
}
