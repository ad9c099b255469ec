//! Worker, daily: ends the claims that nobody came back for, then archives all that ended.
//!
//! A request that was never answered, and whose key is too old to be used, has the answer that is
//! true of it: its outcome is unknown (504). What is known of it by then stands in the ledger.

use std::time::Duration;

use events::{DeviceId, Metadata, TenantId};
use rand::Rng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::{CommandError, Resources, StoredResponse};
use crate::ledger::{
    Append, AppendError, ClaimKey, ClaimWrite,
    idempotency::{archive, purge::KEPT},
};

const INTERVAL: Duration = Duration::from_hours(24);
/// Claims looked at in one go.
const PAGE: i64 = 500;
const GATEWAY_TIMEOUT: u16 = 504;

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Claims without an answer that were ended.
    pub ended: u64,
    pub archived: u64,
    /// Of the archive, because they were too old.
    pub forgotten: u64,
}

/// Runs at once and then every day or so, until `shutdown`.
///
/// # Errors
/// When the database fails; what was done before stays done.
pub async fn run(
    resources: &Resources,
    jobs: &PgPool,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        run_once(resources, jobs).await?;
        // Instances that started together do not stay together.
        let pause = INTERVAL.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(pause) => (),
        }
    }
    Ok(())
}

/// Ends, archives and forgets once. Done again, it goes on where it stopped.
///
/// # Errors
/// When the database fails; what was done before stays done.
pub async fn run_once(resources: &Resources, jobs: &PgPool) -> anyhow::Result<Archived> {
    let ended = end_abandoned(resources, jobs).await?;
    let archived = archive::archive(jobs).await?;
    let forgotten = archive::forget(jobs).await?;
    Ok(Archived { ended, archived, forgotten })
}

/// Ends every claim that has no answer, is nobody's, and is older than a key may be.
async fn end_abandoned(resources: &Resources, jobs: &PgPool) -> anyhow::Result<u64> {
    let mut ended = 0;
    loop {
        let page = abandoned(jobs).await?;
        let mut of_page = 0;
        for claim in &page {
            of_page += u64::from(end(resources, claim).await?);
        }
        ended += of_page;
        // Those that somebody else has taken meanwhile come back, or are ended by others.
        if of_page == 0 || i64::try_from(page.len()).is_ok_and(|size| size < PAGE) {
            metrics::counter!("bff_backoffice_idempotency_abandoned_total").increment(ended);
            return Ok(ended);
        }
    }
}

async fn abandoned(jobs: &PgPool) -> anyhow::Result<Vec<ClaimKey>> {
    let rows = sqlx::query!(
        r#"
        select tenant_id, device_id, key
        from idempotency
        where state <> 'completed'
          and created_at < now() - $1 * interval '1 second'
          and lease_until < now()
        order by created_at
        limit $2
        "#,
        KEPT.as_secs_f64(),
        PAGE,
    )
    .fetch_all(jobs)
    .await?;
    rows.into_iter()
        .map(|row| {
            let tenant_id: TenantId = row.tenant_id.parse()?;
            let device_id: DeviceId = row.device_id.parse()?;
            Ok(ClaimKey { tenant_id, device_id, key: row.key.parse()? })
        })
        .collect()
}

/// False when somebody else has the claim.
async fn end(resources: &Resources, key: &ClaimKey) -> anyhow::Result<bool> {
    let owner = Ulid::generate();
    let taken = resources.ledger.take_over_claim(key, owner).await;
    let Some(attempt) = taken.map_err(CommandError::from)? else { return Ok(false) };
    let append = Append {
        tenant_id: key.tenant_id.clone(),
        writes: Vec::new(),
        claim: Some(ClaimWrite::Complete {
            key: key.clone(),
            owner,
            attempt,
            response: StoredResponse::new(GATEWAY_TIMEOUT, None, Vec::new()),
        }),
        metadata: Metadata {
            producer_instance: resources.instance.to_string(),
            ..Metadata::default()
        },
    };
    match resources.ledger.append(append).await {
        Ok(_) => Ok(true),
        Err(AppendError::Fenced) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
