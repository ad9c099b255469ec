//! Composing one part: by one of all who want it, on any instance, while the others wait for what it
//! keeps.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Absence, Composed, Composer, Place,
    part::{Content, Part},
    single_flight::Flight,
};
use crate::{
    upstream::{CallContext, UpstreamError, reading::Reading},
    views::{
        TierError,
        snapshot::{self, Mark, Snapshot, Standing, Subject},
    },
};

/// How often it is looked whether another instance has composed a part.
const FOLLOW_POLL: Duration = Duration::from_millis(20);
/// How much longer than its deadline the right to compose a part is held at most.
const LEAD_GRACE: Duration = Duration::from_millis(250);

/// A tier that takes longer than this is done without: the upstream has its time, too.
const TIER_WAIT: Duration = Duration::from_millis(250);

impl Composer {
    /// Composes a part anew. What was under way already may have been asked for before the change
    /// that is known here; the next one has not.
    pub(super) async fn compose_after(
        &self,
        place: &Place,
        part: Part,
        seen: &Standing,
    ) -> Composed {
        let composed = self.compose(place.subject(part), part, seen).await?;
        if composed.is_after(seen.mark) {
            return Ok(composed);
        }
        self.compose(place.subject(part), part, seen).await
    }

    /// Composes a part anew, together with everybody who wants it now.
    pub(super) fn compose(
        &self,
        subject: Subject,
        part: Part,
        seen: &Standing,
    ) -> Flight<Composed> {
        let (composer, of, seen) = (self.clone(), subject.clone(), seen.clone());
        let begin = move || async move { composer.lead_or_follow(of, part, &seen).await };
        self.0.flights.join(subject, move || begin().boxed())
    }

    async fn lead_or_follow(&self, subject: Subject, part: Part, seen: &Standing) -> Composed {
        let deadline = Instant::now() + part.row().deadline;
        loop {
            let lead = snapshot::lead(&self.0.cache, &subject, part.row().deadline + LEAD_GRACE);
            // Without the tier every instance composes for itself.
            let Some(lead) = in_time(lead).await else {
                return self.compose_now(&subject, part, (deadline, None)).await;
            };
            let lead = lead.map(|lead| Release { composer: self.clone(), lead: Some(lead) });
            let standing = self.standing_of(&subject).await;
            if let Some(snapshot) = standing.newer(seen) {
                return Ok(Arc::new(snapshot));
            }
            if lead.is_some() {
                return self.compose_now(&subject, part, (deadline, standing.mark)).await;
            }
            if deadline <= Instant::now() {
                return Err(Absence::Timeout);
            }
            sleep(FOLLOW_POLL).await;
        }
    }

    pub(super) async fn standing_of(&self, subject: &Subject) -> Standing {
        let subjects = std::slice::from_ref(subject);
        let found = in_time(snapshot::read(&self.0.cache, subjects, (true, None))).await;
        found.and_then(|mut found| found.pop()).unwrap_or_default()
    }

    /// `mark` is the one that stands: what changes while the upstream is asked makes the answer an
    /// old one.
    async fn compose_now(
        &self,
        subject: &Subject,
        part: Part,
        (deadline, mark): (Instant, Option<Mark>),
    ) -> Composed {
        let context = CallContext {
            property_id: Some(subject.property_id.clone()),
            ..CallContext::internal()
        };
        let reading = Reading {
            upstream: &self.0.upstream,
            tenant_id: &subject.tenant_id,
            property_id: &subject.property_id,
            context: &context,
            deadline,
        };
        let said = part.read(&reading, subject.date).await.map_err(|error| {
            tracing::warn!(part = part.row().name, error = %error, "a part is not there");
            absence(&error)
        })?;
        let position = mark.map(Mark::position);
        tracing::debug!(part = part.row().name, position, "a part is composed");
        let snapshot = Arc::new(self.snapshot(&said, mark));
        self.keep(subject.clone(), part, Arc::clone(&snapshot)).await;
        Ok(snapshot)
    }

    /// Keeps it for who comes next. Who waits for it now does not wait for a tier that is slow, nor is
    /// it lost then: every reader would ask for it anew while there is least time for that.
    async fn keep(&self, subject: Subject, part: Part, snapshot: Arc<Snapshot>) {
        let composer = self.clone();
        let keeping = self.0.tracker.spawn(async move {
            match snapshot::keep(&composer.0.cache, &subject, &snapshot).await {
                Ok(()) => composer.plan_renewal(&subject, part).await,
                Err(error) => {
                    let part = part.row().name;
                    tracing::warn!(part, error = %error, "a snapshot cannot be kept");
                }
            }
        });
        let _late = timeout(TIER_WAIT, keeping).await;
    }

    fn snapshot(&self, content: &Content, mark: Option<Mark>) -> Snapshot {
        let items = serde_json::to_string(&content.items).expect("JSON can be written as text");
        let summary = content.summary.to_string();
        Snapshot { summary, items: Some(items), as_of: self.0.clock.now(), mark }
    }
}

/// Gives the lead back also when the last who waited has gone.
struct Release {
    composer: Composer,
    lead: Option<snapshot::Lead>,
}

impl Drop for Release {
    fn drop(&mut self) {
        let Some(lead) = self.lead.take() else { return };
        let composer = self.composer.clone();
        self.composer.0.tracker.spawn(async move {
            // It lapses by itself, too.
            let _late = snapshot::release(&composer.0.cache, &lead).await;
        });
    }
}

fn absence(error: &UpstreamError) -> Absence {
    match error {
        UpstreamError::Timeout { .. } => Absence::Timeout,
        _ => Absence::Error,
    }
}

/// What the cache tier answers in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, TierError>>) -> Option<T> {
    timeout(TIER_WAIT, answer).await.ok()?.ok()
}
