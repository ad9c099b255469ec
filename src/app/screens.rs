//! Keeps screens as fresh as what is heard of: what other services say has changed is composed anew,
//! and desktops are told.

use std::sync::Arc;

use futures::FutureExt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{App, connect::Started, supervise::supervise};
use crate::{
    composition::{
        refresh::{self, Refreshed},
        screens,
    },
    inbox::{envelope::Heard, intake},
    live::hints::{self, RefreshHint},
};

/// What other services say has changed is not shown as fresh any more.
pub(super) fn listener(app: &App) -> intake::Listener {
    let app = app.clone();
    Arc::new(move |heard| {
        let app = app.clone();
        async move {
            for Heard { tenant_id, property_id, subject } in heard {
                let parts = screens::parts_changed_by(&subject);
                app.composer().changed(&tenant_id, &property_id, &parts).await;
            }
        }
        .boxed()
    })
}

/// Screens that somebody looks at are composed anew in the background.
pub(super) fn refresh(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let (composer, session_tier) = (started.app.composer().clone(), started.stores.session.clone());
    let announce: refresh::Announce = Arc::new(move |refreshed: Refreshed| {
        let session_tier = session_tier.clone();
        async move {
            let Refreshed { tenant_id, property_id, widgets, boards, at } = refreshed;
            let hint = RefreshHint { tenant_id, property_id, widgets, boards, at };
            if let Err(error) = hints::announce(&session_tier, &hint).await {
                tracing::warn!(error = %error, "desktops could not be told that a screen is new");
            }
        }
        .boxed()
    });
    supervise("screens", tracker, shutdown, move |shutdown| {
        let (composer, announce) = (composer.clone(), announce.clone());
        async move { refresh::run(&composer, &announce, &shutdown).await }
    });
}
