//! Worker: forgets hints of queues after a week and mirrored preferences after a month.

use std::time::Duration;

use rand::Rng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{device_sync::hint, preferences};

const INTERVAL: Duration = Duration::from_hours(1);
/// Rows deleted in one transaction.
const BATCH_MAX: i64 = 1_000;

/// Forgets now and then every hour or so, until `shutdown`.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn run(jobs: &PgPool, shutdown: &CancellationToken) -> Result<(), sqlx::Error> {
    while !shutdown.is_cancelled() {
        let forgotten = forget(jobs).await?;
        metrics::counter!("bff_backoffice_desk_forgotten_total").increment(forgotten);
        // Instances that started together do not stay together.
        let pause = INTERVAL.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(pause) => (),
        }
    }
    Ok(())
}

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
