//! Worker: what operators did offline comes in from sync-service's events and is recorded, each
//! once, dated as it was done.
//!
//! The inbox is read in its order, with the cursor in `offline_replay_cursor`. A crash repeats a
//! page: a replay has a stream of its own, derived from its id, which takes one event.

use std::time::Duration;

use cqrs_es::{AggregateError, CqrsFramework};
use events::{
    Metadata, StreamId,
    ledger::operator_activity::{Activity, Origin},
    upstream::{UpstreamEvent, sync::ActivityReplayed},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{Resources, record_activity::is_word};
use crate::{
    aggregates::{OperatorActivity, operator_activity::Command},
    inbox::read::{self, InboxEvent},
    ledger::event_store::TenantStore,
};

/// Events read in one transaction, which stays open while they are recorded.
const PAGE: u32 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Works until `shutdown`.
///
/// # Errors
/// The first failure of a store; nothing is lost, start it again.
pub async fn run(
    resources: &Resources,
    jobs: &PgPool,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    while !shutdown.is_cancelled() {
        if read_on(resources, jobs).await? == 0 {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = tokio::time::sleep(POLL_INTERVAL) => (),
            }
        }
    }
    Ok(())
}

/// Reads one page of the inbox and answers how many events it had; 0 too when another instance is
/// reading.
///
/// # Errors
/// When a store fails; the page is read again then.
pub async fn read_on(resources: &Resources, jobs: &PgPool) -> anyhow::Result<usize> {
    let mut tx = jobs.begin().await?;
    let cursor = sqlx::query_scalar!(
        r#"
        select position
        from offline_replay_cursor
        where shard = 0
        for update skip locked
        "#
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(cursor) = cursor else { return Ok(0) };
    let page = read::tail(jobs, cursor, PAGE).await?;
    for event in &page {
        take(resources, event).await?;
    }
    if let Some(last) = page.last() {
        sqlx::query!(
            "update offline_replay_cursor set position = $1 where shard = 0",
            last.position
        )
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(page.len())
}

async fn take(resources: &Resources, event: &InboxEvent) -> anyhow::Result<()> {
    if event.producer != "sync" {
        return Ok(());
    }
    match UpstreamEvent::read(&event.subject, event.payload.clone()) {
        Ok(Some(UpstreamEvent::ActivityReplayed(replayed))) => {
            record(resources, event, replayed).await
        }
        Ok(_) => Ok(()),
        // Intake reads the same way: only an older version's inbox can hold such a row.
        Err(error) => {
            tracing::error!(position = event.position, %error, "an event of sync-service is passed over");
            Ok(())
        }
    }
}

/// Records what was done offline; a second time nothing.
async fn record(
    resources: &Resources,
    event: &InboxEvent,
    replayed: ActivityReplayed,
) -> anyhow::Result<()> {
    let target_is_good =
        replayed.target.as_ref().is_none_or(|target| is_word(&target.kind) && is_word(&target.id));
    if !(is_word(&replayed.verb) && is_word(&replayed.replay_id) && target_is_good) {
        // Free text has no place in the ledger, wherever it comes from.
        count("refused");
        tracing::error!(
            position = event.position,
            "a replayed activity is not made of ids and is passed over"
        );
        return Ok(());
    }
    let parts = [event.tenant_id.as_str().as_bytes(), replayed.replay_id.as_bytes()];
    let stream = StreamId::activity(resources.secrets.derived_ulid("replay-stream", &parts));
    let metadata = Metadata {
        operator_id: Some(replayed.operator_id),
        device_id: Some(replayed.device_id),
        property_id: replayed.property_id,
        causation_id: Some(event.event_id.clone()),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let store = TenantStore::<OperatorActivity>::new(
        &resources.ledger,
        &resources.clock,
        event.tenant_id.clone(),
        metadata,
    )
    .presuming_new()
    .occurring_at(replayed.occurred_at);
    let activity = Activity {
        verb: replayed.verb,
        at: replayed.occurred_at,
        target: replayed.target.map(Into::into),
        properties: std::collections::BTreeMap::new(),
        origin: Origin::OfflineReplay,
        replay_id: Some(replayed.replay_id),
    };
    let framework = CqrsFramework::new(store, vec![], ());
    match framework.execute(stream.as_str(), Command::Record(vec![activity])).await {
        Ok(()) => count("recorded"),
        Err(AggregateError::AggregateConflict) => count("known"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn count(outcome: &'static str) {
    metrics::counter!("bff_backoffice_offline_replays_total", "outcome" => outcome).increment(1);
}
