//! The tail: one blocking reader a process over the live streams of its tenants, the revocations,
//! the announcements of newer streams and the refresh hints.

use std::{collections::HashMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use events::TenantId;
use futures::FutureExt;
use projections::Log;
use rand::Rng;
use redis::{
    RedisError, Value,
    aio::MultiplexedConnection,
    from_redis_value,
    streams::{StreamId, StreamReadReply},
};

use super::{
    Cursor, Revocation,
    cursor::EntryId,
    hints::Announced,
    hub::Shared,
    streams::{Entry, Streams, entry_id, field, readable},
};
use crate::views::key::{REFRESH_HINTS, REVOCATIONS, SUPERSEDE};

/// Entries of one stream read in one go.
const PAGE_MAX: usize = 500;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// How far the streams that belong to no tenant have been read.
#[derive(Clone, Copy)]
struct Globals {
    revocations: EntryId,
    supersede: EntryId,
    refresh_hints: EntryId,
    wake: EntryId,
}

/// Where an entry came from.
#[derive(Clone)]
enum Source {
    Live(TenantId, Log),
    Revocations,
    Supersede,
    RefreshHints,
    Wake,
}

/// Follows until shutdown; a lost connection is taken up again where it broke.
pub(super) async fn run(shared: Arc<Shared>) {
    let shutdown = shared.shutdown.clone();
    let mut globals = None;
    let mut backoff = BACKOFF_MIN;
    loop {
        let lost = tokio::select! {
            () = shutdown.cancelled() => return,
            // Every follower is told where it stands when it goes on.
            ended = AssertUnwindSafe(follow(&shared, &mut globals)).catch_unwind() => match ended {
                Ok(Err(lost)) => lost.to_string(),
                Err(_payload) => "the reader panicked".to_owned(),
            },
        };
        if shared.ready.send_replace(false) {
            backoff = BACKOFF_MIN;
            tracing::warn!(error = lost, "live streams are interrupted: the session tier is lost");
        }
        metrics::counter!("bff_backoffice_live_interruptions_total").increment(1);
        let jittered = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
        backoff = BACKOFF_MAX.min(backoff * 2);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(jittered) => (),
        }
    }
}

/// Reads until the connection fails.
async fn follow(
    shared: &Shared,
    globals: &mut Option<Globals>,
) -> Result<std::convert::Infallible, RedisError> {
    let mut connection = shared.redis.blocking(shared.settings.block).await?;
    let mut read = globals_after(&mut connection, *globals).await?;
    shared.registry.hint(read.refresh_hints, None);
    for (tenant_id, cursor) in shared.registry.feeds() {
        take_up(shared, &mut connection, &tenant_id, cursor).await?;
    }
    *globals = Some(read);
    shared.ready.send_replace(true);
    tracing::info!("live streams are followed");
    loop {
        let (sources, page) = read_page(shared, &mut connection, read).await?;
        for stream in page.keys {
            let Some(source) = sources.get(&stream.key) else { continue };
            for entry in &stream.ids {
                dispatch(shared, &mut connection, source, entry).await?;
                let id = entry_id(&entry.id)?;
                match source {
                    Source::Live(..) => (),
                    Source::Revocations => read.revocations = id,
                    Source::Supersede => read.supersede = id,
                    Source::RefreshHints => read.refresh_hints = id,
                    Source::Wake => read.wake = id,
                }
            }
        }
        *globals = Some(read);
    }
}

/// Where to read on: from now at the first time, else where it broke off. A server that gives ids
/// from before that has lost the entries, or is another one: everything it has is read, which can
/// only end what has to end, and have screens fetched once more.
async fn globals_after(
    connection: &mut MultiplexedConnection,
    before: Option<Globals>,
) -> Result<Globals, RedisError> {
    let revocations = last_id(connection, REVOCATIONS).await?;
    let supersede = last_id(connection, SUPERSEDE).await?;
    let refresh_hints = last_id(connection, REFRESH_HINTS).await?;
    let wake = EntryId::default();
    let Some(before) = before else {
        return Ok(Globals { revocations, supersede, refresh_hints, wake });
    };
    let go_on =
        |last: EntryId, before: EntryId| if last < before { EntryId::default() } else { before };
    Ok(Globals {
        revocations: go_on(revocations, before.revocations),
        supersede: go_on(supersede, before.supersede),
        refresh_hints: go_on(refresh_hints, before.refresh_hints),
        wake,
    })
}

async fn last_id(connection: &mut MultiplexedConnection, key: &str) -> Result<EntryId, RedisError> {
    let last: redis::streams::StreamRangeReply = redis::cmd("XREVRANGE")
        .arg(key)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(connection)
        .await?;
    last.ids.first().map_or(Ok(EntryId::default()), |entry| entry_id(&entry.id))
}

/// After an interruption: goes on from `cursor` if nothing is missing there, else tells the
/// tenant's followers.
async fn take_up(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    tenant_id: &TenantId,
    cursor: Cursor,
) -> Result<(), RedisError> {
    let streams = Streams::of(tenant_id);
    let head = streams.head(connection, shared.redis.recovery_epoch()).await?;
    let mut is_whole = head.epoch == cursor.epoch;
    for log in Log::ALL {
        is_whole = is_whole && streams.after(connection, log, &cursor, 1).await?.is_some();
    }
    if !is_whole {
        shared.registry.reset(tenant_id, head);
    }
    Ok(())
}

async fn read_page(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    read: Globals,
) -> Result<(HashMap<String, Source>, StreamReadReply), RedisError> {
    let mut wanted = vec![
        (REVOCATIONS.to_owned(), read.revocations, Source::Revocations),
        (SUPERSEDE.to_owned(), read.supersede, Source::Supersede),
        (shared.wake_key.clone(), read.wake, Source::Wake),
    ];
    for (tenant_id, cursor) in shared.registry.feeds() {
        let streams = Streams::of(&tenant_id);
        for log in Log::ALL {
            let key = streams.of_log(log).as_str().to_owned();
            wanted.push((key, cursor.of(log), Source::Live(tenant_id.clone(), log)));
        }
    }
    // Last: what a page has of events is handed out before its hints.
    wanted.push((REFRESH_HINTS.to_owned(), read.refresh_hints, Source::RefreshHints));
    let block_ms = u64::try_from(shared.settings.block.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(PAGE_MAX).arg("BLOCK").arg(block_ms).arg("STREAMS");
    for (key, _, _) in &wanted {
        command.arg(key);
    }
    for (_, id, _) in &wanted {
        command.arg(id.to_string());
    }
    let reply: Value = command.query_async(connection).await?;
    let page = match reply {
        Value::Nil => StreamReadReply::default(),
        reply => from_redis_value(reply)?,
    };
    Ok((wanted.into_iter().map(|(key, _, source)| (key, source)).collect(), page))
}

async fn dispatch(
    shared: &Shared,
    connection: &mut MultiplexedConnection,
    source: &Source,
    entry: &StreamId,
) -> Result<(), RedisError> {
    match source {
        Source::Live(tenant_id, log) => match readable(Entry::read(entry)) {
            Some(live) => {
                if !shared.registry.hand_out(tenant_id, *log, live) {
                    let streams = Streams::of(tenant_id);
                    let head = streams.head(connection, shared.redis.recovery_epoch()).await?;
                    shared.registry.reset(tenant_id, head);
                }
            }
            None => shared.registry.skip(tenant_id, *log, entry_id(&entry.id)?),
        },
        Source::Revocations => {
            if let Some(revocation) = readable(Revocation::read(entry)) {
                shared.registry.revoke(&revocation);
            }
        }
        Source::Supersede => {
            if let Some((tenant_id, device_id, number)) = readable(superseded(entry).map(Some)) {
                shared.registry.supersede(&tenant_id, &device_id, number);
            }
        }
        Source::RefreshHints => {
            let announced = readable(Announced::read(entry).map(Some));
            shared.registry.hint(entry_id(&entry.id)?, announced);
        }
        Source::Wake => (),
    }
    Ok(())
}

/// Tenant, device and number of the stream that is newer.
fn superseded(entry: &StreamId) -> Result<(String, String, u64), RedisError> {
    Ok((field(entry, "tenant")?, field(entry, "device")?, field(entry, "number")?))
}
