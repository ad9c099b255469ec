//! Table `session_map`.

use chrono::{DateTime, Utc};
use events::{Ledger, TenantId};
use projections::{
    SessionMap,
    session_map::{MappedSession, Opened},
};
use sqlx::PgConnection;

use super::Table;

impl Table for SessionMap {
    const KINDS: &'static [(Ledger, &'static [&'static str])] =
        &[(Ledger::Session, &["melmastoon.bff.backoffice.session."])];
    /// What iam ends is an event of ours before it counts here.
    const SUBJECTS: &'static [&'static str] = &[];

    async fn join(
        db: &mut PgConnection,
        tenant_id: &TenantId,
        rows: &[MappedSession],
    ) -> sqlx::Result<()> {
        join_opened(db, tenant_id, rows).await?;
        join_heard(db, tenant_id, rows).await
    }

    /// The ledger has everything that stands here. The lane waits until the transaction is over,
    /// and what it then joins changes nothing.
    async fn clear(db: &mut PgConnection, tenant_id: &TenantId) -> sqlx::Result<()> {
        sqlx::query!("lock table session_map in share row exclusive mode")
            .execute(&mut *db)
            .await?;
        sqlx::query!("delete from session_map where tenant_id = $1", tenant_id.as_str())
            .execute(db)
            .await?;
        Ok(())
    }
}

async fn join_opened(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    rows: &[MappedSession],
) -> sqlx::Result<()> {
    let opened: Vec<(&MappedSession, &Opened)> =
        rows.iter().filter_map(|row| Some((row, row.opened.as_ref()?))).collect();
    if opened.is_empty() {
        return Ok(());
    }
    let texts = |of: fn(&(&MappedSession, &Opened)) -> String| -> Vec<String> {
        opened.iter().map(of).collect()
    };
    // iam's word; one that no column can hold must not stop the others.
    let of_iam: Vec<Option<String>> = opened
        .iter()
        .map(|(_, opened)| opened.iam_session_id.clone().filter(|sid| !sid.contains('\0')))
        .collect();
    let times: Vec<DateTime<Utc>> = opened.iter().map(|(_, opened)| opened.at).collect();
    let heard: Vec<DateTime<Utc>> = opened.iter().map(|(row, _)| row.heard_at).collect();
    let ended: Vec<Option<DateTime<Utc>>> = opened.iter().map(|(row, _)| row.ended_at).collect();
    sqlx::query!(
        r#"
        insert into session_map as known
            (tenant_id, session_id, operator_id, device_id, iam_session_id, opened_at, heard_at,
             ended_at)
        select $1, told.*
        from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                    $7::timestamptz[], $8::timestamptz[])
            as told (session_id, operator_id, device_id, iam_session_id, opened_at, heard_at,
                     ended_at)
        on conflict (tenant_id, session_id) do update
        set heard_at = greatest(known.heard_at, excluded.heard_at),
            ended_at = least(known.ended_at, excluded.ended_at)
        "#,
        tenant_id.as_str(),
        &texts(|(row, _)| row.id.to_string()),
        &texts(|(_, opened)| opened.operator_id.to_string()),
        &texts(|(_, opened)| opened.device_id.to_string()),
        &of_iam as &[Option<String>],
        &times,
        &heard,
        &ended as &[Option<DateTime<Utc>>],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What was heard of sessions that were opened before.
async fn join_heard(
    db: &mut PgConnection,
    tenant_id: &TenantId,
    rows: &[MappedSession],
) -> sqlx::Result<()> {
    let heard: Vec<&MappedSession> = rows.iter().filter(|row| row.opened.is_none()).collect();
    if heard.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = heard.iter().map(|row| row.id.to_string()).collect();
    let times: Vec<DateTime<Utc>> = heard.iter().map(|row| row.heard_at).collect();
    let ended: Vec<Option<DateTime<Utc>>> = heard.iter().map(|row| row.ended_at).collect();
    sqlx::query!(
        r#"
        update session_map known
        set heard_at = greatest(known.heard_at, told.heard_at),
            ended_at = least(known.ended_at, told.ended_at)
        from unnest($2::text[], $3::timestamptz[], $4::timestamptz[])
            as told (session_id, heard_at, ended_at)
        where known.tenant_id = $1 and known.session_id = told.session_id
        "#,
        tenant_id.as_str(),
        &ids,
        &times,
        &ended as &[Option<DateTime<Utc>>],
    )
    .execute(db)
    .await?;
    Ok(())
}
