//! Forgets hints of queues after a week and mirrored preferences after a month.

use sqlx::PgPool;

use super::{device_sync::hint, preferences};

/// Rows deleted in one transaction.
const BATCH_MAX: i64 = 1_000;

/// Deletes what is too old, a batch at a time, and answers how much that was.
///
/// # Errors
/// When the database fails; the batches before are deleted.
pub async fn forget(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    loop {
        let batch = hints(jobs).await? + mirrors(jobs).await?;
        forgotten += batch;
        if batch == 0 {
            return Ok(forgotten);
        }
    }
}

async fn hints(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from offline_queue_hint
        where (tenant_id, operator_id, device_id) in (
            select tenant_id, operator_id, device_id
            from offline_queue_hint
            where hinted_at < now() - $1 * interval '1 second'
            order by hinted_at
            limit $2
        )
        "#,
        seconds(hint::KEPT),
        BATCH_MAX,
    )
    .execute(jobs)
    .await?;
    Ok(deleted.rows_affected())
}

async fn mirrors(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from operator_preferences
        where (tenant_id, operator_id) in (
            select tenant_id, operator_id
            from operator_preferences
            where read_at < now() - $1 * interval '1 second'
            order by read_at
            limit $2
        )
        "#,
        seconds(preferences::KEPT),
        BATCH_MAX,
    )
    .execute(jobs)
    .await?;
    Ok(deleted.rows_affected())
}

fn seconds(kept: chrono::TimeDelta) -> f64 {
    kept.as_seconds_f64()
}
