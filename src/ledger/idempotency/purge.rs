//! Worker: forgets answered claims once no client may ask for them any more and the archive has
//! them.
//!
//! A key older than 24 h is refused before its claim is looked for, so that a late purge, or none,
//! changes no answer.

use std::time::Duration;

use rand::Rng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Rows deleted in one transaction.
pub const BATCH_MAX: u64 = 1_000;
/// How long an answered claim is kept. Database time. Longer than the oldest key that is taken: 24 h
/// and the 10 min that a client's clock may be ahead.
pub const KEPT: Duration = Duration::from_hours(26);
const INTERVAL: Duration = Duration::from_hours(1);

/// Purges now and then every hour or so, until `shutdown`.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn run(jobs: &PgPool, shutdown: &CancellationToken) -> Result<(), sqlx::Error> {
    while !shutdown.is_cancelled() {
        purge(jobs).await?;
        // Instances that started together do not stay together.
        let pause = INTERVAL.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(pause) => (),
        }
    }
    Ok(())
}

/// Deletes every answered claim that is older than [`KEPT`], a batch at a time, and answers how many
/// there were. Claims still worked on, or whose outcome is unknown, are never deleted; neither are
/// those that are not archived yet.
///
/// # Errors
/// When the database fails; the batches before are deleted.
pub async fn purge(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let mut purged = 0;
    loop {
        let batch = purge_batch(jobs).await?;
        purged += batch;
        if batch < BATCH_MAX {
            metrics::counter!("bff_backoffice_idempotency_purged_total").increment(purged);
            return Ok(purged);
        }
    }
}

/// One batch, in one transaction. Rows that another instance is deleting are left to it.
///
/// # Errors
/// When the database fails; nothing of the batch is deleted then.
pub async fn purge_batch(jobs: &PgPool) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        delete from idempotency
        where (tenant_id, device_id, key) in (
            select tenant_id, device_id, key
            from idempotency claim
            where state = 'completed'
              and created_at < now() - $1 * interval '1 second'
              and exists (
                  select from idempotency_archive known
                  where known.tenant_id = claim.tenant_id
                    and known.device_id = claim.device_id
                    and known.key = claim.key
              )
            order by created_at
            limit $2
            for update of claim skip locked
        )
        "#,
        KEPT.as_secs_f64(),
        i64::try_from(BATCH_MAX).unwrap_or(i64::MAX),
    )
    .execute(jobs)
    .await?;
    Ok(deleted.rows_affected())
}
