//! Table `projector_cursor`: how far a log has been folded, moved only by whoever holds the epoch.

use std::time::Duration;

use projections::Log;
use sqlx::PgPool;

/// All projections are folded by one lane a log.
const LANE: &str = "views";

/// The right to fold a log, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) epoch: i64,
    /// Everything up to here is done.
    pub(super) position: i64,
}

/// Takes the lease of `log` if it is free, has run out on the database's clock, or was `owner`'s
/// before. `None` while another has it.
pub(super) async fn claim(
    pool: &PgPool,
    log: Log,
    owner: &str,
    lifetime: Duration,
) -> sqlx::Result<Option<Lease>> {
    sqlx::query_as!(
        Lease,
        r#"
        update projector_cursor
        set
            epoch = epoch + 1,
            owner = $3,
            lease_until = clock_timestamp() + $4 * interval '1 millisecond'
        where projection = $1 and log = $2 and (lease_until < clock_timestamp() or owner = $3)
        returning epoch, position
        "#,
        LANE,
        log.name(),
        owner,
        millis(lifetime),
    )
    .fetch_optional(pool)
    .await
}

/// Stores that everything up to `lease.position` is done and keeps the lease; `false` when somebody
/// else has taken it.
pub(super) async fn advance(
    pool: &PgPool,
    log: Log,
    lease: Lease,
    lifetime: Duration,
) -> sqlx::Result<bool> {
    let moved = sqlx::query!(
        r#"
        update projector_cursor
        set
            position = greatest(position, $4),
            lease_until = clock_timestamp() + $5 * interval '1 millisecond'
        where projection = $1 and log = $2 and epoch = $3
        "#,
        LANE,
        log.name(),
        lease.epoch,
        lease.position,
        millis(lifetime),
    )
    .execute(pool)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Gives the lease back, so that another instance need not wait for its end.
pub(super) async fn release(pool: &PgPool, log: Log, lease: Lease) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update projector_cursor
        set owner = null, lease_until = '-infinity'
        where projection = $1 and log = $2 and epoch = $3
        "#,
        LANE,
        log.name(),
        lease.epoch,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// How far each log has been folded by whoever leads. For lag.
pub(super) async fn position(pool: &PgPool, log: Log) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        "select position from projector_cursor where projection = $1 and log = $2",
        LANE,
        log.name(),
    )
    .fetch_one(pool)
    .await
}

#[expect(clippy::cast_precision_loss, reason = "a lease is a matter of seconds")]
fn millis(duration: Duration) -> f64 {
    duration.as_millis() as f64
}
