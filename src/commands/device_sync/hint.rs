//! What a device has queued, told to the other devices of its operator. Table `offline_queue_hint`.
//! Best effort, forgotten after a week, never authoritative.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use events::ledger::device_sync::DeviceSyncEvent;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use super::record;
use crate::{
    aggregates::{DeviceSync, device_sync::Command},
    commands::{
        Actor, CommandError, Resources,
        idempotency::{KeyedRequest, Outcome},
        keyed_work::unavailable,
    },
    ledger::StoredResponse,
};

/// How long a hint is told.
pub const KEPT: TimeDelta = TimeDelta::days(7);
/// Hints told at once.
const HINTS_MAX: i64 = 50;

/// What one device has queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OfflineQueueHint)]
pub struct Hint {
    pub device_id: String,
    pub pending_actions: u32,
    /// When the first of them was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_at: Option<DateTime<Utc>>,
    /// What is queued → how many.
    pub kinds: BTreeMap<String, u32>,
    pub hinted_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// What the device says.
#[derive(Clone, Debug)]
pub struct Wish {
    pub pending_actions: u32,
    pub oldest_at: Option<DateTime<Utc>>,
    pub kinds: BTreeMap<String, u32>,
}

/// Keeps the hint of the actor's device; the last one stands.
///
/// # Errors
/// See [`CommandError`].
pub async fn put(
    resources: &Resources,
    actor: &Actor,
    wish: &Wish,
    keyed: &KeyedRequest,
) -> Result<Outcome, CommandError> {
    if let Some(known) = keyed.answered(resources).await? {
        return Ok(known);
    }
    let at = resources.clock.now();
    keep(resources, actor, (wish, at)).await.map_err(unavailable)?;
    let hint = Hint {
        device_id: actor.caller.device_id.to_string(),
        pending_actions: wish.pending_actions,
        oldest_at: wish.oldest_at,
        kinds: wish.kinds.clone(),
        hinted_at: at,
        expires_at: at + KEPT,
    };
    let response = StoredResponse::json(200, &hint);
    let event = DeviceSyncEvent::QueueHinted {
        device_id: actor.caller.device_id.clone(),
        pending_actions: wish.pending_actions,
        at,
    };
    let claim = keyed.start_and_complete(actor, response.clone());
    match record(resources, actor, &DeviceSync::default(), (Command::Note(event), claim)).await {
        Ok(receipt) => Ok(Outcome::new(response, Some(receipt.position))),
        // The same request was faster: its answer is the one that counts.
        Err(CommandError::InProgress) => {
            keyed.answered(resources).await?.ok_or(CommandError::InProgress)
        }
        Err(error) => Err(error),
    }
}

/// What the operator's other devices have queued.
///
/// # Errors
/// [`CommandError::Unavailable`].
pub async fn list(resources: &Resources, actor: &Actor) -> Result<Vec<Hint>, CommandError> {
    let read = async {
        let mut transaction = resources.ledger.pools().begin(&actor.caller.tenant_id).await?;
        let hints = of_other_devices(&mut transaction, actor, resources.clock.now()).await?;
        sqlx::Result::Ok(hints)
    };
    read.await.map_err(unavailable)
}

/// As [`list`], in a transaction of the caller's.
pub(super) async fn of_other_devices(
    db: &mut PgConnection,
    actor: &Actor,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Hint>> {
    let caller = &actor.caller;
    let rows = sqlx::query!(
        r#"
        select device_id, pending_actions, oldest_at, kinds::text as "kinds!", hinted_at
        from offline_queue_hint
        where tenant_id = $1 and operator_id = $2 and device_id <> $3
          and pending_actions > 0 and hinted_at > $4
        order by hinted_at desc
        limit $5
        "#,
        caller.tenant_id.as_str(),
        caller.operator_id.as_str(),
        caller.device_id.as_str(),
        now - KEPT,
        HINTS_MAX,
    )
    .fetch_all(db)
    .await?;
    let hints = rows.into_iter().map(|row| Hint {
        device_id: row.device_id,
        pending_actions: u32::try_from(row.pending_actions).unwrap_or_default(),
        oldest_at: row.oldest_at,
        kinds: serde_json::from_str(&row.kinds).unwrap_or_default(),
        hinted_at: row.hinted_at,
        expires_at: row.hinted_at + KEPT,
    });
    Ok(hints.collect())
}

async fn keep(
    resources: &Resources,
    actor: &Actor,
    (wish, at): (&Wish, DateTime<Utc>),
) -> sqlx::Result<()> {
    let caller = &actor.caller;
    let kinds = serde_json::to_string(&wish.kinds).expect("a map of numbers is JSON");
    let mut transaction = resources.ledger.pools().begin(&caller.tenant_id).await?;
    sqlx::query!(
        r#"
        insert into offline_queue_hint as known
            (tenant_id, operator_id, device_id, pending_actions, oldest_at, kinds, hinted_at)
        values ($1, $2, $3, $4, $5, $6::text::jsonb, $7)
        on conflict (tenant_id, operator_id, device_id) do update
        set pending_actions = excluded.pending_actions,
            oldest_at = excluded.oldest_at,
            kinds = excluded.kinds,
            hinted_at = excluded.hinted_at
        where known.hinted_at <= excluded.hinted_at
        "#,
        caller.tenant_id.as_str(),
        caller.operator_id.as_str(),
        caller.device_id.as_str(),
        i32::try_from(wish.pending_actions).unwrap_or(i32::MAX),
        wish.oldest_at,
        kinds,
        at,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
