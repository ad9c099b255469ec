//! Table `session_map`: what the ledger knows of sessions, for those that the session tier lost.

use chrono::{DateTime, Utc};
use events::{SessionId, TenantId};
use sqlx::PgPool;

use crate::{
    access::session::Due,
    inbox::revocation::{Revocation, RevokedSubject},
    ledger::Pools,
};

/// How long a session that has ended is kept, days: longer than any writer that is late.
const ENDED_KEPT_DAYS: f64 = 30.0;
/// Rows read or deleted in one go.
const PAGE: i64 = 1_000;

/// The open sessions that a revocation ends: those that were last heard of before it, or iam's one
/// whenever that was.
///
/// # Errors
/// When the database fails, or an id in it is none.
pub async fn ended_by(pools: &Pools, revocation: &Revocation) -> sqlx::Result<Vec<Due>> {
    let (mut sid, mut operator_id, mut device_id) = (None, None, None);
    match &revocation.subject {
        RevokedSubject::Session(it) => sid = Some(it.as_str()),
        RevokedSubject::Operator(it) | RevokedSubject::Membership(it) => {
            operator_id = Some(it.as_str());
        }
        RevokedSubject::Device(it) => device_id = Some(it.as_str()),
        RevokedSubject::Tenant => (),
        RevokedSubject::Rights(_) => return Ok(Vec::new()),
    }
    let mut transaction = pools.begin(&revocation.tenant_id).await?;
    let rows = sqlx::query!(
        r#"
        select tenant_id, session_id, device_id
        from session_map
        where tenant_id = $1
          and ended_at is null
          and ($2::text is null or iam_session_id = $2)
          and ($3::text is null or operator_id = $3)
          and ($4::text is null or device_id = $4)
          and ($2::text is not null or heard_at <= $5)
        order by session_id
        "#,
        revocation.tenant_id.as_str(),
        sid,
        operator_id,
        device_id,
        revocation.at,
    )
    .fetch_all(&mut *transaction)
    .await?;
    rows.iter().map(|row| due([&row.tenant_id, &row.session_id, &row.device_id])).collect()
}

/// Where a walk through the map has come to.
pub type Place = (TenantId, SessionId);

/// The next sessions after `place` that are open and that the ledger has not heard of since
/// `before`.
///
/// # Errors
/// As [`ended_by`].
pub async fn unheard_since(
    jobs: &PgPool,
    before: DateTime<Utc>,
    place: Option<&Place>,
) -> sqlx::Result<Vec<Due>> {
    let (tenant_id, session_id) =
        place.map_or(("", ""), |(tenant_id, session_id)| (tenant_id.as_str(), session_id.as_str()));
    let rows = sqlx::query!(
        r#"
        select tenant_id, session_id, device_id
        from session_map
        where ended_at is null and heard_at < $1 and (tenant_id, session_id) > ($2, $3)
        order by tenant_id, session_id
        limit $4
        "#,
        before,
        tenant_id,
        session_id,
        PAGE,
    )
    .fetch_all(jobs)
    .await?;
    rows.iter().map(|row| due([&row.tenant_id, &row.session_id, &row.device_id])).collect()
}

/// Deletes sessions that ended long ago, a batch at a time, and answers how many there were.
///
/// # Errors
/// When the database fails; the batches before are deleted.
pub async fn forget_ended(jobs: &PgPool) -> sqlx::Result<u64> {
    let mut forgotten = 0;
    loop {
        let deleted = sqlx::query!(
            r#"
            delete from session_map
            where (tenant_id, session_id) in (
                select tenant_id, session_id
                from session_map
                where ended_at < now() - $1 * interval '1 day'
                order by ended_at
                limit $2
            )
            "#,
            ENDED_KEPT_DAYS,
            PAGE,
        )
        .execute(jobs)
        .await?
        .rows_affected();
        forgotten += deleted;
        if deleted == 0 {
            return Ok(forgotten);
        }
    }
}

fn due([tenant_id, session_id, device_id]: [&str; 3]) -> sqlx::Result<Due> {
    let decode = |error: events::InvalidId| sqlx::Error::Decode(Box::new(error));
    Ok(Due {
        tenant_id: tenant_id.parse().map_err(decode)?,
        device_id: device_id.parse().map_err(decode)?,
        session_id: session_id.parse().map_err(decode)?,
    })
}
