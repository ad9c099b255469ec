//! Table `device_sync_status`, as far as the logs tell it.

use chrono::{DateTime, Utc};
use events::{Ledger, TenantId, ledger::device_sync::KIND_PREFIXES};
use projections::{
    DeviceSyncStatus,
    device_sync_status::{Device, Report},
};
use serde_json::json;
use sqlx::PgConnection;

use super::Table;

impl Table for DeviceSyncStatus {
    const KINDS: &'static [(Ledger, &'static [&'static str])] = &[
        (Ledger::Activity, &KIND_PREFIXES),
        (Ledger::Session, &["melmastoon.bff.backoffice.session.opened."]),
    ];
    const SUBJECTS: &'static [&'static str] =
        &["melmastoon.sync.cursor.advanced.v1", "melmastoon.iam.device.revoked.v1"];

    async fn join(
        db: &mut PgConnection,
        tenant_id: &TenantId,
        rows: &[Device],
    ) -> sqlx::Result<()> {
        join_reports(db, tenant_id, rows).await?;
        join_cursors(db, tenant_id, rows).await?;
        join_revocations(db, tenant_id, rows).await
    }

    /// Most heartbeats are here and in no log: nothing is removed.
    async fn clear(_: &mut PgConnection, _: &TenantId) -> sqlx::Result<()> {
        Ok(())
    }
}

/// The later report counts. One that no row can hold is left out: it must not stop the others.
async fn join_reports(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    rows: &[Device],
) -> sqlx::Result<()> {
    let told: Vec<(&Device, &Report)> =
        rows.iter().filter_map(|row| Some((row, row.report.as_ref()?))).collect();
    if told.is_empty() {
        return Ok(());
    }
    let texts =
        |of: fn(&(&Device, &Report)) -> String| -> Vec<String> { told.iter().map(of).collect() };
    let pending: Vec<i32> = told
        .iter()
        .map(|(_, report)| i32::try_from(report.pending_actions).unwrap_or(i32::MAX))
        .collect();
    let synced: Vec<Option<DateTime<Utc>>> = told.iter().map(|(_, it)| it.last_sync_at).collect();
    let skews: Vec<Option<i64>> = told.iter().map(|(_, it)| it.clock_skew_ms).collect();
    let times: Vec<DateTime<Utc>> = told.iter().map(|(_, it)| it.at).collect();
    sqlx::query!(
        r#"
        insert into device_sync_status as known
            (tenant_id, device_id, operator_id, app_version, app_platform, network_mode,
             pending_actions, last_sync_at, clock_skew_ms, heartbeat_at, property_ids)
        select $1, told.device_id, told.operator_id, told.app_version, told.app_platform,
            told.network_mode, told.pending_actions, told.last_sync_at, told.clock_skew_ms, told.at,
            array(select jsonb_array_elements_text(told.property_ids::jsonb))
        from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::integer[],
                    $8::timestamptz[], $9::bigint[], $10::timestamptz[], $11::text[])
            as told (device_id, operator_id, app_version, app_platform, network_mode,
                     pending_actions, last_sync_at, clock_skew_ms, at, property_ids)
        where length(told.app_version) between 1 and 64
          and told.app_platform in ('win32', 'darwin', 'linux')
          and told.network_mode in ('good', 'flaky', 'offline-recently')
        order by told.device_id
        on conflict (tenant_id, device_id) do update
        set operator_id = excluded.operator_id,
            property_ids = case
                when excluded.property_ids = '{}' then known.property_ids
                else excluded.property_ids
            end,
            app_version = excluded.app_version,
            app_platform = excluded.app_platform,
            network_mode = excluded.network_mode,
            pending_actions = excluded.pending_actions,
            last_sync_at = coalesce(excluded.last_sync_at, known.last_sync_at),
            clock_skew_ms = coalesce(excluded.clock_skew_ms, known.clock_skew_ms),
            heartbeat_at = excluded.heartbeat_at
        where known.heartbeat_at is null or known.heartbeat_at < excluded.heartbeat_at
        "#,
        tenant_id.as_str(),
        &texts(|(row, _)| row.id.to_string()),
        &texts(|(_, report)| report.operator_id.to_string()),
        &texts(|(_, report)| report.app_version.clone()),
        &texts(|(_, report)| report.app_platform.clone()),
        &texts(|(_, report)| report.network_mode.clone()),
        &pending,
        &synced as &[Option<DateTime<Utc>>],
        &skews as &[Option<i64>],
        &times,
        &texts(|(row, _)| json!(row.used_at.as_ref().map_or(&[][..], |it| &it.property_ids))
            .to_string()),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Only what sync-service has told of all cursors follows, and only with what was moved since:
/// what it has not told is asked for.
async fn join_cursors(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    rows: &[Device],
) -> sqlx::Result<()> {
    let (mut device_ids, mut cursors) = (Vec::new(), Vec::new());
    for row in rows.iter().filter(|row| !row.cursors.is_empty()) {
        device_ids.push(row.id.to_string());
        cursors.push(json!(row.cursors).to_string());
    }
    if device_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        update device_sync_status known
        set cursors = known.cursors || (
                select coalesce(jsonb_object_agg(it.key, it.value -> 'cursor'), '{}')
                from jsonb_each(moved.cursors::jsonb) it
                where known.cursors_at < (it.value ->> 'at')::timestamptz
            ),
            cursors_at = (
                select greatest(known.cursors_at, max((it.value ->> 'at')::timestamptz))
                from jsonb_each(moved.cursors::jsonb) it
            )
        from unnest($2::text[], $3::text[]) as moved (device_id, cursors)
        where known.tenant_id = $1
          and known.device_id = moved.device_id
          and known.cursors is not null
          and exists (
              select from jsonb_each(moved.cursors::jsonb) it
              where known.cursors_at < (it.value ->> 'at')::timestamptz
          )
        "#,
        tenant_id.as_str(),
        &device_ids,
        &cursors,
    )
    .execute(db)
    .await?;
    Ok(())
}

async fn join_revocations(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    rows: &[Device],
) -> sqlx::Result<()> {
    let (mut device_ids, mut times) = (Vec::new(), Vec::new());
    for (row, at) in rows.iter().filter_map(|row| Some((row, row.revoked_at?))) {
        device_ids.push(row.id.to_string());
        times.push(at);
    }
    if device_ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        update device_sync_status known
        set revoked_at = revoked.at
        from unnest($2::text[], $3::timestamptz[]) as revoked (device_id, at)
        where known.tenant_id = $1
          and known.device_id = revoked.device_id
          and (known.revoked_at is null or known.revoked_at < revoked.at)
        "#,
        tenant_id.as_str(),
        &device_ids,
        &times,
    )
    .execute(db)
    .await?;
    Ok(())
}
