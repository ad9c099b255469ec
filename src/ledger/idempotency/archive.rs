//! Worker: keeps of every answered claim that there was one and how it ended, before the purge
//! forgets the answer.
//!
//! The archive is a table: it is written in the database that holds the claims, so that a claim can
//! be purged if and only if it is there, and it has the tenants' walls like everything else.

use std::time::Duration;

use sqlx::PgPool;

use super::purge::KEPT;

/// Rows written or deleted in one transaction.
pub const BATCH_MAX: u64 = 1_000;
/// How long the archive is kept. Database time. As long as the ledger of what operators had done.
pub const ARCHIVE_KEPT: Duration = Duration::from_hours(24 * 90);

/// Archives every answered claim whose key no client may use any more, a batch at a time, and
/// answers how many were new. Done again, or by two at once, it archives nothing twice.
///
/// # Errors
/// When the database fails; the batches before are archived.
pub async fn archive(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let mut archived = 0;
    loop {
        let batch = archive_batch(jobs).await?;
        archived += batch;
        if batch < BATCH_MAX {
            metrics::counter!("bff_backoffice_idempotency_archived_total").increment(archived);
            return Ok(archived);
        }
    }
}

/// One batch, in one transaction.
///
/// # Errors
/// When the database fails; nothing of the batch is archived then.
pub async fn archive_batch(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let archived = sqlx::query!(
        r#"
        insert into idempotency_archive (
            tenant_id, device_id, key, fingerprint, status, attempts, created_at, completed_at
        )
        select tenant_id, device_id, key, fingerprint, status, attempt, created_at, completed_at
        from idempotency claim
        where state = 'completed'
          and created_at < now() - $1 * interval '1 second'
          and not exists (
              select from idempotency_archive known
              where known.tenant_id = claim.tenant_id
                and known.device_id = claim.device_id
                and known.key = claim.key
          )
        order by created_at
        limit $2
        on conflict do nothing
        "#,
        KEPT.as_secs_f64(),
        i64::try_from(BATCH_MAX).unwrap_or(i64::MAX),
    )
    .execute(jobs)
    .await?;
    Ok(archived.rows_affected())
}

/// Deletes what is older than [`ARCHIVE_KEPT`], a batch at a time, and answers how much that was.
///
/// # Errors
/// When the database fails; the batches before are deleted.
pub async fn forget(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    loop {
        let deleted = sqlx::query!(
            r#"
            delete from idempotency_archive
            where (tenant_id, device_id, key) in (
                select tenant_id, device_id, key
                from idempotency_archive
                where archived_at < now() - $1 * interval '1 second'
                order by archived_at
                limit $2
            )
            "#,
            ARCHIVE_KEPT.as_secs_f64(),
            i64::try_from(BATCH_MAX).unwrap_or(i64::MAX),
        )
        .execute(jobs)
        .await?;
        forgotten += deleted.rows_affected();
        if deleted.rows_affected() < BATCH_MAX {
            return Ok(forgotten);
        }
    }
}
