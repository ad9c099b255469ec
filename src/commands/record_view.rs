//! Records that somebody has looked at a screen: a sample.

use events::{LedgerEvent, PropertyId, StreamId, ledger::screen_view::ScreenViewEvent};
use ulid::Ulid;

use super::{
    Actor, CommandError, Resources,
    sampling::{is_sampled, per_mille},
};
use crate::ledger::{Append, NewEvent, StreamWrite};

/// Names of the shares in the flags' `sampling`.
pub const DASHBOARD_SAMPLING: &str = "dashboard.viewed";
pub const WORKBENCH_SAMPLING: &str = "workbench.viewed";
/// Where the flags name none.
pub const SHARE_DEFAULT: f64 = 0.25;

/// Records a `share` of the views, 0 to 1.
///
/// # Errors
/// See [`CommandError`]; then the view is left out.
pub async fn run(
    resources: &Resources,
    actor: &Actor,
    (view, share): (&ScreenViewEvent, f64),
) -> Result<(), CommandError> {
    let at = resources.clock.now();
    let event =
        NewEvent::new(view, None, at).map_err(|error| CommandError::Unavailable(error.into()))?;
    let per_mille = per_mille(share);
    if !is_sampled(&event.event_id, per_mille) {
        return Ok(());
    }
    let mut metadata = actor.metadata(&resources.instance, Some(property_of(view)), None);
    metadata.sampling_per_mille = per_mille;
    let append = Append {
        tenant_id: actor.caller.tenant_id.clone(),
        writes: vec![StreamWrite {
            stream: StreamId::activity(Ulid::generate()),
            ledger: ScreenViewEvent::LEDGER,
            expected_version: 0,
            events: vec![event],
        }],
        claim: None,
        metadata,
    };
    resources.ledger.append(append).await?;
    Ok(())
}

fn property_of(view: &ScreenViewEvent) -> &PropertyId {
    match view {
        ScreenViewEvent::DashboardViewed { property_id, .. }
        | ScreenViewEvent::WorkbenchViewed { property_id, .. } => property_id,
    }
}
