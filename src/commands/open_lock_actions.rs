//! An auditor asks which actions on locks have no outcome: all that were requested, less those whose
//! outcome is in the ledger.

use chrono::{DateTime, Utc};
use events::{
    LockActionId, LockId, Metadata, OperatorId, PropertyId, TenantId,
    ledger::lock_action::{LockActionEvent, LockActionKind, LockVendor},
};
use sqlx::PgConnection;

use super::{CommandError, Resources, keyed_work::unavailable};
use crate::ledger::read;

/// The newest of them, when there are more: a desk of that many is one question to a person.
const NEWEST: i64 = 5_000;

/// An action without an outcome.
#[derive(Clone, Debug)]
pub struct OpenLockAction {
    pub action_id: LockActionId,
    pub kind: LockActionKind,
    pub lock_id: LockId,
    pub property_id: PropertyId,
    pub vendor: LockVendor,
    pub operator_id: Option<OperatorId>,
    /// lock-integration-service was asked and its answer was lost.
    pub is_unknown: bool,
    pub requested_at: DateTime<Utc>,
}

/// All of a tenant's.
#[derive(Clone, Debug)]
pub struct OpenLockActions {
    /// Whatever was requested before is among them, or has its outcome.
    pub as_of: DateTime<Utc>,
    pub actions: Vec<OpenLockAction>,
}

/// Reads them, newest first.
///
/// # Errors
/// [`CommandError::Unavailable`].
pub async fn read(
    resources: &Resources,
    tenant_id: &TenantId,
) -> Result<OpenLockActions, CommandError> {
    let read = async {
        let mut transaction = resources.ledger.pools().begin(tenant_id).await?;
        // First, so that nothing is missed that is read in between.
        let as_of = as_of(&mut transaction, tenant_id).await?;
        let actions = actions(&mut transaction, tenant_id).await?;
        sqlx::Result::Ok(OpenLockActions { as_of, actions })
    };
    read.await.map_err(unavailable)
}

/// The time of the first event that the table does not know of, or now.
async fn as_of(db: &mut PgConnection, tenant_id: &TenantId) -> sqlx::Result<DateTime<Utc>> {
    sqlx::query_scalar!(
        r#"
        select coalesce(
            (
                select min(unread.recorded_at)
                from event unread
                where unread.tenant_id = $1
                  and unread.ledger = 'lock-audit'
                  and open_action_cursor.position < unread.position
            ),
            now()
        ) as "as_of!"
        from open_action_cursor
        where shard = 0
        "#,
        tenant_id.as_str(),
    )
    .fetch_one(db)
    .await
}

async fn actions(db: &mut PgConnection, tenant_id: &TenantId) -> sqlx::Result<Vec<OpenLockAction>> {
    let rows = sqlx::query!(
        r#"
        select open_action.state, open_action.requested_at, asked.kind, asked.body, asked.metadata
        from open_action
        cross join lateral (
            select event.kind, event.body, event.metadata
            from event
            where event.tenant_id = open_action.tenant_id
              and event.ledger = open_action.ledger
              and event.stream = open_action.stream
              and event.kind like '%.lock_action.requested.v%'
            order by event.stream_version desc
            limit 1
        ) asked
        where open_action.tenant_id = $1 and open_action.ledger = 'lock-audit'
        order by open_action.requested_at desc
        limit $2
        "#,
        tenant_id.as_str(),
        NEWEST,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .filter_map(|row| {
            let event = match read::decode(&row.kind, &row.body) {
                Ok(event) => event,
                Err(corrupt) => return Some(Err(sqlx::Error::Decode(corrupt.into()))),
            };
            let metadata: Metadata = match serde_json::from_slice(&row.metadata) {
                Ok(metadata) => metadata,
                Err(corrupt) => return Some(Err(sqlx::Error::Decode(corrupt.into()))),
            };
            opened(event, metadata, (row.state == "unknown", row.requested_at)).map(Ok)
        })
        .collect()
}

fn opened(
    event: LockActionEvent,
    metadata: Metadata,
    (is_unknown, requested_at): (bool, DateTime<Utc>),
) -> Option<OpenLockAction> {
    let LockActionEvent::Requested { action_id, lock_id, property_id, vendor, demand, .. } = event
    else {
        return None;
    };
    Some(OpenLockAction {
        action_id,
        kind: demand.kind(),
        lock_id,
        property_id,
        vendor,
        operator_id: metadata.operator_id,
        is_unknown,
        requested_at,
    })
}
