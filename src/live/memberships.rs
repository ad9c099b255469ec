//! Changes of memberships, told to every instance, so that none goes on with roles that were taken
//! away.
//!
//! Session tier: stream `g:memberships`, fields `tenant`, `operator`; an empty operator is
//! everybody of the tenant.

use std::time::Duration;

use events::{OperatorId, TenantId};
use redis::{RedisError, Value, aio::MultiplexedConnection, from_redis_value, streams};
use tokio_util::sync::CancellationToken;

use super::streams::field;
use crate::views::Redis;

const CHANGES: &str = "g:memberships";
/// Changes kept for instances that were cut off for a while.
const ENTRIES_MAX: u32 = 10_000;
const PAGE_MAX: usize = 256;
/// Only bounds how long a dead connection goes unnoticed.
const BLOCK: Duration = Duration::from_secs(5);

/// Whose membership is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Of(TenantId, OperatorId),
    /// A whole tenant's, or nobody knows whose: changes may have been missed.
    OfMany,
}

/// Tells every instance that memberships changed, of one operator or of the whole tenant.
///
/// # Errors
/// When Redis fails: say it again. Repeating is harmless.
pub async fn announce(
    session_tier: &Redis,
    tenant_id: &TenantId,
    operator_id: Option<&OperatorId>,
) -> Result<(), RedisError> {
    redis::cmd("XADD")
        .arg(CHANGES)
        .arg("MAXLEN")
        .arg("~")
        .arg(ENTRIES_MAX)
        .arg("*")
        .arg("tenant")
        .arg(tenant_id.as_str())
        .arg("operator")
        .arg(operator_id.map_or("", OperatorId::as_str))
        .exec_async(&mut session_tier.shared())
        .await
}

/// Hears changes until `shutdown`. What happened while nobody listened is told as
/// [`Change::OfMany`], at the start.
///
/// # Errors
/// When the session tier is lost; start again.
pub async fn follow(
    session_tier: &Redis,
    heard: impl Fn(Change) + Send + Sync,
    shutdown: &CancellationToken,
) -> Result<(), RedisError> {
    let mut connection = session_tier.blocking(BLOCK).await?;
    let mut after = last_id(&mut connection).await?;
    heard(Change::OfMany);
    loop {
        let page = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            page = read_page(&mut connection, &after) => page?,
        };
        // A tier that was emptied numbers anew, from the time of the day: nothing stays unheard.
        for entry in page.keys.into_iter().flat_map(|stream| stream.ids) {
            let (tenant, operator): (String, String) =
                (field(&entry, "tenant")?, field(&entry, "operator")?);
            let change = match (tenant.parse(), operator.parse()) {
                (Ok(tenant_id), Ok(operator_id)) => Change::Of(tenant_id, operator_id),
                _ => Change::OfMany,
            };
            heard(change);
            after = entry.id;
        }
    }
}

async fn last_id(connection: &mut MultiplexedConnection) -> Result<String, RedisError> {
    let last: streams::StreamRangeReply = redis::cmd("XREVRANGE")
        .arg(CHANGES)
        .arg("+")
        .arg("-")
        .arg("COUNT")
        .arg(1)
        .query_async(connection)
        .await?;
    Ok(last.ids.first().map_or_else(|| "0-0".to_owned(), |entry| entry.id.clone()))
}

async fn read_page(
    connection: &mut MultiplexedConnection,
    after: &str,
) -> Result<streams::StreamReadReply, RedisError> {
    let block_ms = u64::try_from(BLOCK.as_millis()).unwrap_or(u64::MAX);
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(PAGE_MAX).arg("BLOCK").arg(block_ms);
    command.arg("STREAMS").arg(CHANGES).arg(after);
    match command.query_async(connection).await? {
        Value::Nil => Ok(streams::StreamReadReply::default()),
        reply => Ok(from_redis_value(reply)?),
    }
}
