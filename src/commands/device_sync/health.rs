//! How the devices of a property are with sync-service, all together.

use chrono::{DateTime, Utc};
use events::{PropertyId, TenantId};
use serde::Serialize;

use crate::ledger::Pools;

/// How the devices of a property are with sync-service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub devices: i64,
    /// By their own word not on a good network.
    pub disturbed: i64,
    /// What waits on all of them together.
    pub pending_actions: i64,
    /// Of the device that is furthest behind; null when none has ever said.
    pub oldest_sync_at: Option<DateTime<Utc>>,
}

/// The devices that have reported since `since`, last used by somebody of the property.
///
/// # Errors
/// When the database fails.
pub async fn of_property(
    pools: &Pools,
    tenant_id: &TenantId,
    (property_id, since): (&PropertyId, DateTime<Utc>),
) -> sqlx::Result<Health> {
    let mut transaction = pools.begin(tenant_id).await?;
    let health = sqlx::query_as!(
        Health,
        r#"
        select count(*) as "devices!",
            count(*) filter (where network_mode <> 'good') as "disturbed!",
            coalesce(sum(pending_actions), 0) as "pending_actions!",
            min(last_sync_at) as oldest_sync_at
        from device_sync_status
        where tenant_id = $1 and $2 = any (property_ids) and $3 <= heartbeat_at
          and (revoked_at is null or revoked_at < heartbeat_at)
        "#,
        tenant_id.as_str(),
        property_id.as_str(),
        since,
    )
    .fetch_one(&mut *transaction)
    .await?;
    Ok(health)
}
