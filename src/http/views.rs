//! Noting that somebody has looked at a screen.

use events::ledger::screen_view::ScreenViewEvent;

use super::caller::Entrant;
use crate::{
    app::App,
    commands::record_view::{self, DASHBOARD_SAMPLING, SHARE_DEFAULT, WORKBENCH_SAMPLING},
};

/// Records a share of the views, after the answer: what cannot be recorded is left out.
pub fn record_view(app: &App, entrant: &Entrant, view: ScreenViewEvent) {
    let name = match view {
        ScreenViewEvent::DashboardViewed { .. } => DASHBOARD_SAMPLING,
        ScreenViewEvent::WorkbenchViewed { .. } => WORKBENCH_SAMPLING,
    };
    let flags = app.gate().flags().current();
    let share = flags.sampling.get(name).map_or(SHARE_DEFAULT, |share| share.get());
    let (commands, actor) = (app.commands().clone(), entrant.actor());
    app.tracker().spawn(async move {
        if let Err(error) = record_view::run(&commands, &actor, (&view, share)).await {
            tracing::warn!(error = %error, "a sampled view was not recorded");
        }
    });
}
