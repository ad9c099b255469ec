//! Keeps screens as fresh as what is heard of: what other services say has changed is composed anew,
//! and desktops are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::FutureExt;
use secrecy::ExposeSecret;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    App,
    connect::{self, Started},
    maintenance,
    supervise::supervise,
};
use crate::{
    clock::{Clock, SystemClock},
    composition::{
        Place,
        part::Part,
        refresh,
        screens::{self, Widget},
    },
    config::Stores,
    inbox::{envelope::Heard, intake},
    output,
    views::{outdated, snapshot},
};

/// Snapshots taken for changed in one go.
const AT_ONCE: usize = 500;

/// Screens that are composed of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screens {
    Dashboard,
    Boards,
}

/// Takes every snapshot of these screens for changed: no reader is shown one as fresh any more, and
/// the running instances compose those anew that somebody looks at.
///
/// # Errors
/// When the cache tier fails; what was done stays done, and the command can be repeated.
pub async fn outdate(stores: &Stores, of: Screens) -> anyhow::Result<()> {
    let cache = connect::redis("REDIS_CACHE_URL", stores.redis_cache_url.expose_secret()).await?;
    let parts: Vec<&Part> = match of {
        Screens::Dashboard => screens::WIDGETS.iter().flat_map(Widget::parts).collect(),
        Screens::Boards => screens::BOARDS.iter().flat_map(|board| board.sections).collect(),
    };
    let names: Vec<&'static str> = parts.into_iter().map(|part| part.row().name).collect();
    let subjects = snapshot::kept(&cache, &names).await?;
    let bar = maintenance::progress("snapshots");
    bar.set_length(subjects.len().try_into()?);
    for some in subjects.chunks(AT_ONCE) {
        let now = SystemClock.now();
        outdated::changed(&cache, (some, None), (now, None)).await?;
        snapshot::await_change(&cache, some, now).await?;
        bar.inc(some.len().try_into()?);
    }
    bar.finish();
    let count = subjects.len();
    output::line(format_args!("{count} snapshots are composed anew where somebody looks at them"))
}

/// What other services say has changed is not shown as fresh any more.
pub(super) fn listener(app: &App) -> intake::Listener {
    let app = app.clone();
    Arc::new(move |heard| {
        let app = app.clone();
        async move {
            let mut changed: BTreeMap<_, BTreeSet<Part>> = BTreeMap::new();
            for Heard { tenant_id, property_id, subject } in heard {
                let parts = changed.entry((tenant_id, property_id)).or_default();
                parts.extend(screens::parts_changed_by(&subject));
            }
            for ((tenant_id, property_id), parts) in changed {
                let parts: Vec<Part> = parts.into_iter().collect();
                match property_id {
                    Some(property_id) => {
                        let place = Place { tenant_id, property_id, date: None };
                        app.composer().changed(&place, &parts, None).await;
                    }
                    None => app.composer().changed_anywhere(&tenant_id, &parts).await,
                }
            }
        }
        .boxed()
    })
}

/// Screens that somebody looks at are composed anew in the background.
pub(super) fn refresh(started: &Started, tracker: &TaskTracker, shutdown: &CancellationToken) {
    let composer = started.app.composer().clone();
    supervise("screens", tracker, shutdown, move |shutdown| {
        let composer = composer.clone();
        async move { refresh::run(&composer, &shutdown).await }
    });
}
