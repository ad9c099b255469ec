//! A device moves a cursor: sync-service decides, the ledger has the move, and what we know of the
//! cursors follows.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{record, status};
use crate::{
    aggregates::{DeviceSync, device_sync},
    commands::{
        Actor, Resources,
        idempotency::{KeyedRequest, Outcome},
        keyed_work::{Begun, Render, WorkError, begin, end_without, unavailable},
    },
    ledger::StoredResponse,
    upstream::{UpstreamError, sync},
};

/// How long what sync-service said is answered without asking it again.
const FRESH: TimeDelta = TimeDelta::minutes(10);

/// Where a device stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SyncCursors)]
pub struct Standing {
    /// Stream → opaque cursor.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    pub cursors: status::Cursors,
    /// When sync-service said so.
    pub as_of: DateTime<Utc>,
}

/// Where the answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Kept, and fresh.
    Hit,
    /// Asked for now.
    Miss,
    /// Kept, while sync-service cannot be asked.
    Stale,
}

/// A wish to move a cursor.
#[derive(Clone, Debug)]
pub struct Wish {
    /// 1–64 characters.
    pub stream: String,
    /// Where the device thinks it stands; `None`: nowhere yet.
    pub from: Option<String>,
    /// 1–512 characters.
    pub to: String,
}

/// The cursors of the actor's device.
///
/// # Errors
/// [`WorkError::Upstream`] when nothing is known and sync-service cannot be asked.
pub async fn read(resources: &Resources, actor: &Actor) -> Result<(Standing, Source), WorkError> {
    let pools = resources.ledger.pools();
    let known = status::cursors(pools, actor).await.map_err(unavailable)?;
    let now = resources.clock.now();
    if let Some((cursors, as_of)) = &known
        && now - *as_of < FRESH
    {
        return Ok((Standing { cursors: cursors.clone(), as_of: *as_of }, Source::Hit));
    }
    let caller = &actor.caller;
    let device = (&caller.tenant_id, &caller.device_id);
    match sync::cursors(&resources.upstream, device, &actor.call_context(None)).await {
        Ok(cursors) => {
            status::keep_cursors(pools, actor, (&cursors, now)).await.map_err(unavailable)?;
            Ok((Standing { cursors, as_of: now }, Source::Miss))
        }
        Err(error) => match known {
            Some((cursors, as_of)) if !matches!(error, UpstreamError::Problem(_)) => {
                tracing::warn!(error = %error, "cursors are answered as they were");
                Ok((Standing { cursors, as_of }, Source::Stale))
            }
            _ => Err(WorkError::Upstream(error)),
        },
    }
}

/// Moves a cursor. Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`WorkError`]. A cursor that stands elsewhere is no error here: the answer says so.
pub async fn advance(
    resources: &Resources,
    actor: &Actor,
    (wish, keyed): (&Wish, &KeyedRequest),
    render: Render<'_>,
) -> Result<Outcome, WorkError> {
    let keyed = match begin(resources, actor, keyed).await? {
        Begun::Answered(outcome) => return Ok(outcome),
        Begun::Mine(keyed) => keyed,
    };
    let caller = &actor.caller;
    let upstream_key = keyed.upstream_key(resources, "sync-cursor-upstream-key");
    let advance = sync::Advance {
        stream: &wish.stream,
        from: wish.from.as_deref(),
        to: &wish.to,
        idempotency_key: &upstream_key,
    };
    let device = (&caller.tenant_id, &caller.device_id);
    let context = actor.call_context(None);
    let pools = resources.ledger.pools();
    let cursors = match sync::advance(&resources.upstream, device, &context, advance).await {
        Ok(cursors) => cursors,
        Err(error) => {
            // What we knew of them is in doubt, unless nothing was sent.
            if matches!(error, UpstreamError::Problem(_) | UpstreamError::OutcomeUnknown { .. }) {
                status::forget_cursors(pools, actor).await.map_err(unavailable)?;
            }
            return end_without(resources, actor, (&keyed, error), render).await;
        }
    };
    let at = resources.clock.now();
    let moved = (wish.stream.as_str(), wish.from.as_deref(), wish.to.as_str());
    status::move_cursor(pools, actor, moved, at).await.map_err(unavailable)?;
    let response = StoredResponse::json(200, &Standing { cursors, as_of: at });
    let receipt = record(
        resources,
        actor,
        &confirmed(wish),
        (
            device_sync::Command::Advance(advance_of(actor, wish, at)),
            keyed.complete(response.clone()),
        ),
    )
    .await?;
    Ok(Outcome::new(response, Some(receipt.position)))
}

/// The cursor before the move, by sync-service's word: its compare-and-set came through.
fn confirmed(wish: &Wish) -> DeviceSync {
    let standing = wish.from.iter().map(|from| (wish.stream.clone(), from.clone()));
    DeviceSync { cursors: standing.collect() }
}

fn advance_of(actor: &Actor, wish: &Wish, at: DateTime<Utc>) -> device_sync::Advance {
    device_sync::Advance {
        device_id: actor.caller.device_id.clone(),
        stream: wish.stream.clone(),
        from: wish.from.clone(),
        to: wish.to.clone(),
        at,
    }
}
