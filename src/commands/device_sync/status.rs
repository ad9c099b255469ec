//! Table `device_sync_status`: the last state of each device, as its requests write it; what the
//! logs tell of it is joined by the projector.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId};
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::{commands::Actor, ledger::Pools};

/// Stream → opaque cursor.
pub type Cursors = BTreeMap<String, String>;

/// A device as it last reported itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeviceSyncStatus)]
pub struct Status {
    pub device_id: String,
    pub app_version: String,
    /// `win32`, `darwin` or `linux`.
    pub app_platform: String,
    /// `good`, `flaky` or `offline-recently`.
    pub network_mode: String,
    /// Actions that wait on the device, by its own word.
    pub pending_actions: i32,
    pub last_sync_at: Option<DateTime<Utc>>,
    /// The device's clock minus ours, milliseconds; null while unknown.
    pub clock_skew_ms: Option<i64>,
    /// Null before the first one.
    pub heartbeat_at: Option<DateTime<Utc>>,
}

/// A device's own report.
#[derive(Clone, Debug)]
pub struct Report {
    pub app_version: String,
    pub network_mode: String,
    pub pending_actions: u32,
    pub last_sync_at: Option<DateTime<Utc>>,
    pub clock_skew_ms: Option<i64>,
    pub at: DateTime<Utc>,
}

/// Keeps a report; an older one that comes late changes nothing.
///
/// # Errors
/// When the database fails.
pub async fn keep(db: &mut PgConnection, actor: &Actor, report: &Report) -> sqlx::Result<()> {
    let caller = &actor.caller;
    let properties: Vec<String> = caller.property_ids.iter().map(ToString::to_string).collect();
    sqlx::query!(
        r#"
        insert into device_sync_status as known
            (tenant_id, device_id, operator_id, app_version, app_platform, network_mode,
             pending_actions, last_sync_at, clock_skew_ms, heartbeat_at, property_ids)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        on conflict (tenant_id, device_id) do update
        set operator_id = excluded.operator_id,
            property_ids = excluded.property_ids,
            app_version = excluded.app_version,
            app_platform = excluded.app_platform,
            network_mode = excluded.network_mode,
            pending_actions = excluded.pending_actions,
            last_sync_at = coalesce(excluded.last_sync_at, known.last_sync_at),
            clock_skew_ms = coalesce(excluded.clock_skew_ms, known.clock_skew_ms),
            heartbeat_at = excluded.heartbeat_at
        where known.heartbeat_at is null or known.heartbeat_at <= excluded.heartbeat_at
        "#,
        caller.tenant_id.as_str(),
        caller.device_id.as_str(),
        caller.operator_id.as_str(),
        report.app_version,
        caller.app.platform.as_str(),
        report.network_mode,
        i32::try_from(report.pending_actions).unwrap_or(i32::MAX),
        report.last_sync_at,
        report.clock_skew_ms,
        report.at,
        &properties,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One device; `None` when it has never reported, or not since iam revoked it.
///
/// # Errors
/// When the database fails.
pub async fn of_device(
    pools: &Pools,
    tenant_id: &TenantId,
    device_id: &DeviceId,
) -> sqlx::Result<Option<Status>> {
    let mut transaction = pools.begin(tenant_id).await?;
    let status = sqlx::query_as!(
        Status,
        r#"
        select device_id, app_version, app_platform, network_mode, pending_actions, last_sync_at,
            clock_skew_ms, heartbeat_at
        from device_sync_status
        where tenant_id = $1 and device_id = $2
          and (revoked_at is null or revoked_at < heartbeat_at)
        "#,
        tenant_id.as_str(),
        device_id.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    Ok(status)
}

/// The devices that the operator was the last one to use, newest report first; at most `limit`.
/// Without those that iam has revoked since.
///
/// # Errors
/// When the database fails.
pub async fn of_operator(
    pools: &Pools,
    tenant_id: &TenantId,
    (operator_id, limit): (&OperatorId, i64),
) -> sqlx::Result<Vec<Status>> {
    let mut transaction = pools.begin(tenant_id).await?;
    let statuses = sqlx::query_as!(
        Status,
        r#"
        select device_id, app_version, app_platform, network_mode, pending_actions, last_sync_at,
            clock_skew_ms, heartbeat_at
        from device_sync_status
        where tenant_id = $1 and operator_id = $2
          and (revoked_at is null or revoked_at < heartbeat_at)
        order by heartbeat_at desc nulls last, device_id
        limit $3
        "#,
        tenant_id.as_str(),
        operator_id.as_str(),
        limit,
    )
    .fetch_all(&mut *transaction)
    .await?;
    Ok(statuses)
}

/// The cursors that sync-service named last, and when; `None` when it has to be asked.
///
/// # Errors
/// When the database fails.
pub async fn cursors(
    pools: &Pools,
    actor: &Actor,
) -> sqlx::Result<Option<(Cursors, DateTime<Utc>)>> {
    let mut transaction = pools.begin(&actor.caller.tenant_id).await?;
    let row = sqlx::query!(
        r#"
        select cursors::text as cursors, cursors_at
        from device_sync_status
        where tenant_id = $1 and device_id = $2
        "#,
        actor.caller.tenant_id.as_str(),
        actor.caller.device_id.as_str(),
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let Some((cursors, at)) = row.and_then(|row| row.cursors.zip(row.cursors_at)) else {
        return Ok(None);
    };
    // Written by this module alone; what does not read is asked for again.
    Ok(serde_json::from_str(&cursors).ok().map(|cursors| (cursors, at)))
}

/// Keeps what sync-service said of all cursors of the actor's device at `at`.
///
/// # Errors
/// When the database fails.
pub async fn keep_cursors(
    pools: &Pools,
    actor: &Actor,
    (cursors, at): (&Cursors, DateTime<Utc>),
) -> sqlx::Result<()> {
    let caller = &actor.caller;
    let cursors = serde_json::to_string(cursors).expect("a map of texts is JSON");
    let mut transaction = pools.begin(&caller.tenant_id).await?;
    sqlx::query!(
        r#"
        insert into device_sync_status as known
            (tenant_id, device_id, operator_id, app_version, app_platform, network_mode, cursors,
             cursors_at)
        values ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8)
        on conflict (tenant_id, device_id) do update
        set cursors = excluded.cursors,
            cursors_at = excluded.cursors_at
        where known.cursors_at is null or known.cursors_at <= excluded.cursors_at
        "#,
        caller.tenant_id.as_str(),
        caller.device_id.as_str(),
        caller.operator_id.as_str(),
        caller.app.version,
        caller.app.platform.as_str(),
        caller.app.network_mode.as_str(),
        cursors,
        at,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Moves one cursor of the actor's device if it stands where it is thought to; else forgets them
/// all, so that sync-service is asked again. Unknown cursors stay unknown.
///
/// # Errors
/// When the database fails.
pub async fn move_cursor(
    pools: &Pools,
    actor: &Actor,
    (stream, from, to): (&str, Option<&str>, &str),
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let mut transaction = pools.begin(&actor.caller.tenant_id).await?;
    sqlx::query!(
        r#"
        update device_sync_status
        set cursors = case
                when cursors ->> $3 is not distinct from $4 or cursors ->> $3 = $5
                then jsonb_set(cursors, array[$3], to_jsonb($5::text))
            end,
            cursors_at = case
                when cursors ->> $3 is not distinct from $4 or cursors ->> $3 = $5
                then greatest(cursors_at, $6)
            end
        where tenant_id = $1 and device_id = $2 and cursors is not null
        "#,
        actor.caller.tenant_id.as_str(),
        actor.caller.device_id.as_str(),
        stream,
        from,
        to,
        at,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// Forgets what is known of the cursors of the actor's device.
///
/// # Errors
/// When the database fails.
pub async fn forget_cursors(pools: &Pools, actor: &Actor) -> sqlx::Result<()> {
    let mut transaction = pools.begin(&actor.caller.tenant_id).await?;
    sqlx::query!(
        r#"
        update device_sync_status
        set cursors = null,
            cursors_at = null
        where tenant_id = $1 and device_id = $2
        "#,
        actor.caller.tenant_id.as_str(),
        actor.caller.device_id.as_str(),
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}
