//! Checks the whole ledger against itself: every event against its leaf hash, every log, stream and
//! shard against its head.
//!
//! What this cannot find is a forger who hashes every event anew and sets all heads to match: that
//! needs something outside the database to compare with.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::read::{self, StoredEvent, TailError};

/// Events read in one transaction.
const PAGE: u32 = 1_000;
/// Streams read in one transaction; each asks every partition.
const STREAMS_PAGE: i64 = 200;

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    pub events: i64,
    pub logs: usize,
    pub streams: u64,
}

/// The first thing found that is not as it was recorded.
#[derive(Debug, thiserror::Error)]
pub enum Defect {
    /// An event is missing or does not parse, or the database failed.
    #[error(transparent)]
    Tail(#[from] TailError),
    #[error("the ledger cannot be read")]
    Database(#[from] sqlx::Error),
    #[error("position {position} is not what was recorded")]
    Altered { position: i64 },
    #[error("position {position} is number {found} of its log, where {expected} belongs")]
    OutOfLog { position: i64, expected: i64, found: i64 },
    #[error("position {position} was recorded before the position in front of it")]
    OutOfTime { position: i64 },
    #[error("position {position} is in a log of another period")]
    OutOfPeriod { position: i64 },
    #[error("position {position} belongs to a stream without a head")]
    NoStream { position: i64 },
    #[error("the ledger ends at position {found}, where {head} were recorded")]
    EndMissing { found: i64, head: i64 },
    #[error("log {log} has {found} events, where {head} were recorded")]
    LogDiffers { log: String, found: i64, head: i64 },
    #[error("stream {stream} is not the {head} events that were recorded")]
    StreamDiffers { stream: String, head: i64 },
}

/// Tenant, ledger, period.
type LogName = (String, String, String);

/// How far the walk through the positions has come.
#[derive(Default)]
struct Walk {
    position: i64,
    recorded_at: Option<DateTime<Utc>>,
    sizes: HashMap<LogName, i64>,
}

/// Checks everything, while appends go on; `progress` hears how many of how many events are done.
///
/// `pool` is that of the jobs role.
///
/// # Errors
/// [`Defect`]: the first one.
pub async fn audit(pool: &PgPool, progress: impl Fn(i64, i64)) -> Result<Audited, Defect> {
    // Heads from before the walk: whatever they count must be found by it.
    let (head, sizes) = (read::head(pool).await?, log_sizes(pool).await?);
    let mut walk = Walk::default();
    loop {
        let page = read::tail(pool, walk.position, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for event in &page {
            walk.check(event)?;
        }
        orphans(pool, &page).await?;
        progress(walk.position, head.max(walk.position));
    }
    if walk.position < head {
        return Err(Defect::EndMissing { found: walk.position, head });
    }
    compare_logs(&walk.sizes, &sizes, |found, head| found < head)?;
    // And heads from after it: nothing may have been found that they do not count.
    let after = log_sizes(pool).await?;
    compare_logs(&walk.sizes, &after, |found, head| head < found)?;
    let streams = streams(pool).await?;
    Ok(Audited { events: walk.position, logs: walk.sizes.len(), streams })
}

impl Walk {
    fn check(&mut self, event: &StoredEvent) -> Result<(), Defect> {
        let position = event.position;
        if event.recompute_leaf_hash() != event.leaf_hash {
            return Err(Defect::Altered { position });
        }
        if self.recorded_at.is_some_and(|before| event.recorded_at < before) {
            return Err(Defect::OutOfTime { position });
        }
        if event.ledger.period().name_at(event.recorded_at) != event.period {
            return Err(Defect::OutOfPeriod { position });
        }
        let log = (
            event.tenant_id.as_str().to_owned(),
            event.ledger.name().to_owned(),
            event.period.clone(),
        );
        let size = self.sizes.entry(log).or_default();
        if event.ledger_index != *size {
            let (expected, found) = (*size, event.ledger_index);
            return Err(Defect::OutOfLog { position, expected, found });
        }
        *size += 1;
        (self.position, self.recorded_at) = (position, Some(event.recorded_at));
        Ok(())
    }
}

fn compare_logs(
    found: &HashMap<LogName, i64>,
    heads: &HashMap<LogName, i64>,
    differ: impl Fn(i64, i64) -> bool,
) -> Result<(), Defect> {
    for log in found.keys().chain(heads.keys()) {
        let size = |sizes: &HashMap<LogName, i64>| sizes.get(log).copied().unwrap_or_default();
        let (found, head) = (size(found), size(heads));
        if differ(found, head) {
            let log = format!("{}/{}/{}", log.0, log.1, log.2);
            return Err(Defect::LogDiffers { log, found, head });
        }
    }
    Ok(())
}

async fn log_sizes(pool: &PgPool) -> Result<HashMap<LogName, i64>, sqlx::Error> {
    let heads = sqlx::query!("select tenant_id, ledger, period, size from log_head")
        .fetch_all(pool)
        .await?;
    let named =
        heads.into_iter().map(|head| ((head.tenant_id, head.ledger, head.period), head.size));
    Ok(named.collect())
}

/// Finds an event of the page whose stream has no head.
async fn orphans(pool: &PgPool, page: &[StoredEvent]) -> Result<(), Defect> {
    let tenants: Vec<_> = page.iter().map(|event| event.tenant_id.as_str().to_owned()).collect();
    let streams: Vec<_> = page.iter().map(|event| event.stream.as_str().to_owned()).collect();
    let positions: Vec<_> = page.iter().map(|event| event.position).collect();
    let orphan = sqlx::query_scalar!(
        r#"
        select e.position as "position!"
        from unnest($1::text[], $2::text[], $3::bigint[]) as e (tenant_id, stream, position)
        where not exists (
            select from stream_head h where h.tenant_id = e.tenant_id and h.stream = e.stream
        )
        order by e.position
        limit 1
        "#,
        &tenants,
        &streams,
        &positions,
    )
    .fetch_optional(pool)
    .await?;
    orphan.map_or(Ok(()), |position| Err(Defect::NoStream { position }))
}

/// Checks that each stream has as many events as its head says, numbered in the order of positions.
async fn streams(pool: &PgPool) -> Result<u64, Defect> {
    let (mut tenant_id, mut stream, mut count) = (String::new(), String::new(), 0);
    loop {
        let page = sqlx::query!(
            r#"
            select h.tenant_id, h.stream, h.version, e.found as "found!", e.ordered as "ordered!"
            from (
                select tenant_id, stream, version
                from stream_head
                where (tenant_id, stream) > ($1, $2)
                order by tenant_id, stream
                limit $3
            ) h
            cross join lateral (
                select count(*) as found, coalesce(bool_and(n.number = n.stream_version), false) as ordered
                from (
                    select stream_version, row_number() over (order by position) as number
                    from event
                    where event.tenant_id = h.tenant_id and event.stream = h.stream
                ) n
            ) e
            order by h.tenant_id, h.stream
            "#,
            tenant_id,
            stream,
            STREAMS_PAGE,
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = page.last() else { return Ok(count) };
        for row in &page {
            if row.found != row.version || !row.ordered {
                let stream = format!("{}/{}", row.tenant_id, row.stream);
                return Err(Defect::StreamDiffers { stream, head: row.version });
            }
            count += 1;
        }
        (tenant_id, stream) = (last.tenant_id.clone(), last.stream.clone());
    }
}
