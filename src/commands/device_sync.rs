//! What a device keeps with us: its state, its queue's hint, its cursors. Each change goes to the
//! device's stream, which only grows.

pub mod cursor;
pub mod handshake;
pub mod health;
pub mod heartbeat;
pub mod hint;
pub mod status;
pub mod token;

use cqrs_es::{AggregateError, CqrsFramework};
use events::{StreamId, ledger::device_sync::DeviceSyncEvent};

use super::{Actor, CommandError, Resources};
use crate::{
    aggregates::{DeviceSync, device_sync::Command},
    ledger::{ClaimWrite, Receipt, event_store::TenantStore},
};

/// How often a change is added anew after another one of the device was faster.
const ATTEMPTS_MAX: u32 = 6;

/// Adds to the stream of the actor's device, by the rules, knowing its cursors; the claim goes with
/// it.
///
/// # Errors
/// See [`CommandError`]. [`CommandError::InProgress`] where the claim is refused.
async fn record(
    resources: &Resources,
    actor: &Actor,
    known: &DeviceSync,
    (command, claim): (Command, ClaimWrite),
) -> Result<Receipt, CommandError> {
    let caller = &actor.caller;
    let stream = StreamId::device_sync(&caller.device_id);
    let key = match &claim {
        ClaimWrite::Start { key, .. }
        | ClaimWrite::Complete { key, .. }
        | ClaimWrite::GiveUp { key, .. }
        | ClaimWrite::StartAndComplete { key, .. } => key.key,
    };
    for _ in 0..ATTEMPTS_MAX {
        let version =
            resources.ledger.stream_version::<DeviceSyncEvent>(&caller.tenant_id, &stream).await?;
        let store = TenantStore::<DeviceSync>::new(
            &resources.ledger,
            &resources.clock,
            caller.tenant_id.clone(),
            actor.metadata(&resources.instance, None, Some(key)),
        )
        .with_claim(claim.clone())
        .knowing(stream.clone(), version, known.clone());
        let framework = CqrsFramework::new(store.clone(), vec![], ());
        match framework.execute(stream.as_str(), command.clone()).await {
            Ok(()) => return Ok(store.receipt().unwrap_or_default()),
            Err(AggregateError::AggregateConflict) => (),
            Err(error) => return Err(CommandError::from_aggregate(error)),
        }
    }
    Err(CommandError::Busy)
}
