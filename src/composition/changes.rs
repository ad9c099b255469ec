//! What is known to have changed, and what somebody looks at.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use events::{DeviceId, TenantId};
use tokio::time::Instant;

use super::{Composer, Part, Place};
use crate::views::{
    outdated,
    snapshot::{self, Subject},
};

/// An upstream may answer what was, just after its own event.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How much of its time a snapshot that is looked at has had when it is renewed.
const RENEWED_AFTER_PERCENT: u32 = 80;
/// How often it is noted that somebody looks at a part; shorter than a note lasts.
const NOTED_EVERY: Duration = Duration::from_secs(20);
/// More parts are looked at by one instance only for so long as their notes last.
const NOTES_MAX: usize = 20_000;

/// What readers of this instance have looked at, so that not every look is written down.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<Subject, Instant>>);

impl Uses {
    /// Those whose last note is some time ago; they count as noted from now on.
    fn to_be_noted(&self, subjects: Vec<Subject>) -> Vec<Subject> {
        let now = Instant::now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if NOTES_MAX < noted.len() {
            noted.retain(|_, at| now < *at + NOTED_EVERY);
        }
        let is_due = |subject: &Subject| {
            noted.get(subject).is_none_or(|at| *at + NOTED_EVERY <= now) && subject.date.is_none()
        };
        let due: Vec<Subject> = subjects.into_iter().filter(is_due).collect();
        noted.extend(due.iter().map(|subject| (subject.clone(), now)));
        due
    }
}

impl Composer {
    /// Takes these parts of a property for changed: what was composed before is not shown as fresh
    /// any more, and what is looked at is composed anew at once and a little later. Until then it is
    /// shown as it was, but not to the device that has changed it.
    ///
    /// Where the cache tier fails, what is kept there counts as fresh until its time is over.
    pub async fn changed(&self, place: &Place, parts: &[Part], by: Option<&DeviceId>) {
        let subjects: Vec<Subject> = parts.iter().map(|part| place.subject(*part)).collect();
        let now = self.0.clock.now();
        let times = (now, Some(now + AGAIN_AFTER));
        if let Err(error) = outdated::changed(&self.0.cache, (&subjects, by), times).await {
            tracing::warn!(error = %error, "a change of a screen could not be noted");
        }
    }

    /// The same for every property of the tenant that something is kept of.
    pub async fn changed_anywhere(&self, tenant_id: &TenantId, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        match snapshot::properties(&self.0.cache, tenant_id).await {
            Ok(properties) => {
                for property_id in properties {
                    let tenant_id = tenant_id.clone();
                    self.changed(&Place { tenant_id, property_id, date: None }, parts, None).await;
                }
            }
            Err(error) => {
                tracing::warn!(error = %error, "a change of a tenant's screens could not be noted");
            }
        }
    }

    /// Somebody looks at these.
    pub(super) fn note_use(&self, subjects: Vec<Subject>) {
        let due = self.0.uses.to_be_noted(subjects);
        if due.is_empty() {
            return;
        }
        let composer = self.clone();
        self.0.tracker.spawn(async move {
            let now = composer.0.clock.now();
            let noted = async {
                snapshot::note_use(&composer.0.cache, &due).await?;
                // What was composed while nobody looked has no renewal planned.
                let renewals = due.into_iter().map(|subject| {
                    let part = Part::named(subject.part).map(|part| part.row().fresh_for);
                    (subject, now + renewed_after(part.unwrap_or_default()))
                });
                let renewals: Vec<_> = renewals.collect();
                outdated::renew(&composer.0.cache, &renewals).await
            };
            if let Err(error) = noted.await {
                tracing::debug!(error = %error, "a use of a screen could not be noted");
            }
        });
    }

    /// So that whoever looks at it finds it fresh.
    pub(super) async fn plan_renewal(&self, subject: &Subject, part: Part) {
        if subject.date.is_some() {
            return;
        }
        let at = self.0.clock.now() + renewed_after(part.row().fresh_for);
        if let Err(error) = outdated::renew(&self.0.cache, &[(subject.clone(), at)]).await {
            tracing::debug!(error = %error, "a renewal could not be planned");
        }
    }
}

fn renewed_after(fresh_for: Duration) -> Duration {
    fresh_for * RENEWED_AFTER_PERCENT / 100
}
