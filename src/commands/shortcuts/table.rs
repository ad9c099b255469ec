//! Table `shortcut_override`: one row an operator, and one a tenant under a name that no operator
//! has.

use chrono::{DateTime, Utc};
use events::TenantId;
use sqlx::PgConnection;

use super::keys::{Overrides, is_action};

/// In the place of an operator: what is for all of the tenant's.
pub(super) const EVERYBODY: &str = "*";

/// What stands at one level, and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub overrides: Overrides,
    /// 0 before the first change.
    pub version: i64,
    /// The claim of the request that made it.
    pub changed_by: Option<String>,
}

/// The row of an operator or of [`EVERYBODY`].
pub(super) async fn read(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    owner: &str,
) -> sqlx::Result<Row> {
    let row = sqlx::query!(
        r#"
        select overrides::text as "overrides!", version, changed_by
        from shortcut_override
        where tenant_id = $1 and operator_id = $2
        "#,
        tenant_id.as_str(),
        owner,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(Row::default()) };
    let overrides: Overrides =
        serde_json::from_str(&row.overrides).map_err(|error| sqlx::Error::Decode(error.into()))?;
    // An action that this version does not have any more has no keys to give.
    let overrides = overrides.into_iter().filter(|(name, _)| is_action(name)).collect();
    Ok(Row { overrides, version: row.version, changed_by: Some(row.changed_by) })
}

/// Compares and sets; false when somebody else was faster.
pub(super) async fn set(
    db: &mut PgConnection,
    (tenant_id, owner): (&TenantId, &str),
    (before, after): (&Row, &Row),
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    let overrides = serde_json::to_string(&after.overrides).expect("a map of texts is JSON");
    let done = sqlx::query!(
        r#"
        insert into shortcut_override as known
            (tenant_id, operator_id, overrides, version, changed_at, changed_by)
        values ($1, $2, $3::text::jsonb, $4, $5, $6)
        on conflict (tenant_id, operator_id) do update
        set overrides = excluded.overrides,
            version = excluded.version,
            changed_at = excluded.changed_at,
            changed_by = excluded.changed_by
        where known.version = $7
        "#,
        tenant_id.as_str(),
        owner,
        overrides,
        after.version,
        at,
        after.changed_by.as_deref().unwrap_or_default(),
        before.version,
    )
    .execute(db)
    .await?;
    Ok(0 < done.rows_affected())
}
