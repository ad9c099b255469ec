//! Worker: composes anew what has changed or grows old while somebody looks at it, and says so.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Composer, Part, Place, screens};
use crate::{
    upstream::Service,
    views::{
        RefreshHint, TierError,
        outdated::{self, PACE, Plan, Planned},
        refresh_hint,
        snapshot::{self, Standing},
    },
};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Parts taken on at once by one instance.
const TAKEN_MAX: usize = 64;
/// Calls to one upstream at once, for screens in the background.
const CALLS_MAX: usize = 8;

/// Works until `shutdown`.
///
/// # Errors
/// The first failure of the cache tier; nothing is lost, start it again.
pub async fn run(composer: &Composer, shutdown: &CancellationToken) -> Result<(), TierError> {
    let places: Arc<[Semaphore]> = Service::all().map(|_| Semaphore::new(CALLS_MAX)).collect();
    let mut working = JoinSet::new();
    while !shutdown.is_cancelled() {
        while working.try_join_next().is_some() {}
        composer.take_for_changed_again().await?;
        let free = TAKEN_MAX.saturating_sub(working.len());
        let due = composer.due(Plan::Renew, free).await?;
        let is_more = !due.is_empty() && due.len() == free;
        for (place, part) in due {
            let (composer, places) = (composer.clone(), Arc::clone(&places));
            working.spawn(async move {
                let Ok(_place) = places[part.row().service as usize].acquire().await else {
                    return;
                };
                if let Err(error) = composer.refresh(&place, part).await {
                    tracing::warn!(error = %error, "a screen could not be renewed");
                }
            });
        }
        if !is_more {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = tokio::time::sleep(POLL_INTERVAL) => (),
            }
        }
    }
    Ok(())
}

impl Composer {
    async fn take_for_changed_again(&self) -> Result<(), TierError> {
        let due = self.due(Plan::Again, TAKEN_MAX).await?;
        let subjects: Vec<_> = due.iter().map(|(place, part)| place.subject(*part)).collect();
        outdated::changed(&self.0.cache, (&subjects, None), (self.0.clock.now(), None)).await
    }

    async fn due(&self, plan: Plan, limit: usize) -> Result<Vec<(Place, Part)>, TierError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let due = outdated::take_due(&self.0.cache, plan, (self.0.clock.now(), limit)).await?;
        Ok(due.into_iter().filter_map(place).collect())
    }

    /// Composes a part anew when somebody looks at it, and announces what has become different.
    async fn refresh(&self, place: &Place, part: Part) -> Result<(), TierError> {
        let (cache, subject) = (&self.0.cache, place.subject(part));
        let before = self.standing_of(&subject).await;
        if !snapshot::is_used(cache, &subject).await? {
            // Whoever shows it without having asked for it lately fetches it then.
            if before.snapshot.is_some() && !before.is_unchanged() {
                snapshot::await_change(cache, &[subject], self.0.clock.now()).await?;
                self.announce(place, part).await;
            }
            return Ok(());
        }
        if !outdated::take_pace(cache, &subject).await? {
            let at = self.0.clock.now() + PACE;
            return outdated::renew(cache, &[(subject, at)]).await;
        }
        match self.compose_after(place, part, &before).await {
            Ok(after) if is_different(&before, &after) => {
                self.announce(place, part).await;
            }
            Ok(_) => (),
            // Tried again while somebody looks: the upstream may be back.
            Err(_) => self.plan_renewal(&subject, part).await,
        }
        Ok(())
    }

    /// Tells desktops; what cannot be told is left.
    async fn announce(&self, place: &Place, part: Part) {
        let (widgets, boards) = screens::showing(&[part]);
        let hint = RefreshHint {
            tenant_id: place.tenant_id.clone(),
            property_id: place.property_id.clone(),
            widgets,
            boards,
            at: self.0.clock.now(),
        };
        if let Err(error) = refresh_hint::announce(&self.0.session, &hint).await {
            tracing::warn!(error = %error, "desktops could not be told that a screen is new");
        }
    }
}

fn is_different(before: &Standing, after: &snapshot::Snapshot) -> bool {
    before
        .snapshot
        .as_ref()
        .is_none_or(|before| (&before.summary, &before.items) != (&after.summary, &after.items))
}

/// A plan of another version of this service may name a part that is none here.
fn place(planned: Planned) -> Option<(Place, Part)> {
    let part = Part::named(&planned.part)?;
    let Planned { tenant_id, property_id, .. } = planned;
    Some((Place { tenant_id, property_id, date: None }, part))
}
