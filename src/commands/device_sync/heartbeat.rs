//! A device reports its state every minute: the state is kept always, the event is recorded for a
//! share of the reports.

use chrono::{DateTime, Utc};
use events::{LedgerEvent, StreamId, ledger::device_sync::DeviceSyncEvent};

use super::{
    hint::{self, Hint},
    status::{self, Report},
};
use crate::{
    commands::{
        Actor, CommandError, Resources,
        keyed_work::unavailable,
        sampling::{is_sampled, per_mille},
    },
    ledger::{Append, AppendError, NewEvent, StreamWrite},
};

/// Name of the share in the flags' `sampling`.
pub const SAMPLING: &str = "device.heartbeat";
/// Where the flags name none.
pub const SHARE_DEFAULT: f64 = 0.05;
/// How often the event is added anew after another one of the device was faster.
const ATTEMPTS_MAX: u32 = 4;

/// What a device says of itself.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// 1–64 characters.
    pub app_version: String,
    /// `good`, `flaky` or `offline-recently`.
    pub network_mode: String,
    pub pending_actions: u32,
    pub last_sync_at: Option<DateTime<Utc>>,
    /// What the device's clock says.
    pub clock: Option<DateTime<Utc>>,
}

/// Keeps the state and answers what the operator's other devices have queued. `share` of the
/// heartbeats, 0 to 1, are recorded.
///
/// # Errors
/// [`CommandError::Unavailable`] when the state cannot be kept. An event that cannot be added is
/// reported and left out: it is a sample.
pub async fn run(
    resources: &Resources,
    actor: &Actor,
    heartbeat: Heartbeat,
    share: f64,
) -> Result<Vec<Hint>, CommandError> {
    let at = resources.clock.now();
    let report = Report {
        app_version: heartbeat.app_version,
        network_mode: heartbeat.network_mode,
        pending_actions: heartbeat.pending_actions,
        last_sync_at: heartbeat.last_sync_at,
        clock_skew_ms: heartbeat.clock.map(|clock| (clock - at).num_milliseconds()),
        at,
    };
    let hints = keep(resources, actor, &report).await.map_err(unavailable)?;
    let event = DeviceSyncEvent::Heartbeat {
        device_id: actor.caller.device_id.clone(),
        app_version: report.app_version,
        network_mode: report.network_mode,
        pending_actions: report.pending_actions,
        last_sync_at: report.last_sync_at,
        clock_skew_ms: report.clock_skew_ms,
        at,
    };
    let event =
        NewEvent::new(&event, None, at).map_err(|error| CommandError::Unavailable(error.into()))?;
    let per_mille = per_mille(share);
    if is_sampled(&event.event_id, per_mille)
        && let Err(error) = record(resources, actor, &event, per_mille).await
    {
        tracing::warn!(error = %error, "a sampled heartbeat was not recorded");
    }
    Ok(hints)
}

async fn keep(resources: &Resources, actor: &Actor, report: &Report) -> sqlx::Result<Vec<Hint>> {
    let caller = &actor.caller;
    let mut transaction = resources.ledger.pools().begin_passing(&caller.tenant_id).await?;
    status::keep(&mut transaction, actor, report).await?;
    let hints = hint::of_other_devices(&mut transaction, actor, report.at).await?;
    transaction.commit().await?;
    Ok(hints)
}

async fn record(
    resources: &Resources,
    actor: &Actor,
    event: &NewEvent,
    per_mille: u16,
) -> Result<(), CommandError> {
    let tenant_id = &actor.caller.tenant_id;
    let stream = StreamId::device_sync(&actor.caller.device_id);
    let mut metadata = actor.metadata(&resources.instance, None, None);
    metadata.sampling_per_mille = per_mille;
    for _ in 0..ATTEMPTS_MAX {
        let expected_version =
            resources.ledger.stream_version::<DeviceSyncEvent>(tenant_id, &stream).await?;
        let append = Append {
            tenant_id: tenant_id.clone(),
            writes: vec![StreamWrite {
                stream: stream.clone(),
                ledger: DeviceSyncEvent::LEDGER,
                expected_version,
                events: vec![event.clone()],
            }],
            claim: None,
            metadata: metadata.clone(),
        };
        match resources.ledger.append(append).await {
            Ok(_) => return Ok(()),
            Err(AppendError::Conflict { .. }) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Err(CommandError::Busy)
}
