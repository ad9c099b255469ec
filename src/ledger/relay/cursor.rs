//! Table `relay_cursor`: how far the ledger is published, and who alone may say so.
//!
//! A lease on the database's time keeps two relays from working at once; the epoch makes it
//! certain: whoever was overtaken, however long
//! it slept, changes no row any more.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;

use super::{
    super::SHARD,
    RelayError,
    parked::{self, Changes},
};

/// The right to move the cursor, until somebody else takes it.
#[derive(Debug)]
pub(super) struct Held {
    epoch: i64,
    position: i64,
    lease: Duration,
    /// When the lease ends at the earliest, on this process's clock.
    ends_at: Instant,
    renewed_at: Instant,
}

/// Takes the cursor if nobody holds it; `None` while somebody does.
///
/// # Errors
/// When the database fails.
pub(super) async fn acquire(
    pool: &PgPool,
    owner: &str,
    lease: Duration,
) -> Result<Option<Held>, RelayError> {
    let now = Instant::now();
    let taken = sqlx::query!(
        r#"
        update relay_cursor
        set epoch = epoch + 1, owner = $2,
            lease_until = clock_timestamp() + make_interval(secs => $3)
        where shard = $1 and lease_until < clock_timestamp()
        returning epoch, position
        "#,
        SHARD,
        owner,
        lease.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(taken.map(|row| Held {
        epoch: row.epoch,
        position: row.position,
        lease,
        ends_at: now + lease,
        renewed_at: now,
    }))
}

impl Held {
    /// The position that is stored: everything up to it is published or set aside.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Whether somebody else may have taken the cursor by now: publish nothing more.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.ends_at
    }

    /// Whether it is time to extend the lease, though there is nothing to store.
    pub(super) fn is_aging(&self) -> bool {
        self.renewed_at.elapsed() >= self.lease / 3
    }

    /// Stores the position together with what became of failing keys, and extends the lease.
    ///
    /// # Errors
    /// [`RelayError::Fenced`] when another relay has taken the cursor; nothing is stored then.
    pub(super) async fn save(
        &mut self,
        pool: &PgPool,
        position: i64,
        changes: &Changes,
    ) -> Result<(), RelayError> {
        let now = Instant::now();
        let mut transaction = pool.begin().await?;
        // First, since it locks the row: whoever takes the cursor waits for this commit, or this
        // finds another epoch.
        let moved = sqlx::query!(
            r#"
            update relay_cursor
            set position = greatest(position, $3),
                lease_until = clock_timestamp() + make_interval(secs => $4)
            where shard = $1 and epoch = $2
            "#,
            SHARD,
            self.epoch,
            position,
            self.lease.as_secs_f64(),
        )
        .execute(&mut *transaction)
        .await?;
        if moved.rows_affected() == 0 {
            return Err(RelayError::Fenced);
        }
        parked::store(&mut transaction, changes).await?;
        transaction.commit().await?;
        self.position = self.position.max(position);
        self.ends_at = now + self.lease;
        self.renewed_at = now;
        Ok(())
    }

    /// Gives the cursor back, so that the next relay need not wait for the lease to end.
    ///
    /// # Errors
    /// When the database fails; the lease ends by itself then.
    pub(super) async fn release(self, pool: &PgPool) -> Result<(), RelayError> {
        sqlx::query!(
            r#"
            update relay_cursor
            set owner = null, lease_until = '-infinity'
            where shard = $1 and epoch = $2
            "#,
            SHARD,
            self.epoch,
        )
        .execute(pool)
        .await?;
        Ok(())
    }
}
