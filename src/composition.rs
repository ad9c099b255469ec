//! Screens composed of what upstream services say: each part by itself, with its own deadline, kept
//! for those who look next.
//!
//! A snapshot is fresh while its time is not over and nothing is known to have changed. One that is
//! only old is shown while it is renewed; one that has changed is waited for, and stands in only
//! when its upstream does not answer. Of many who want the same at the same time, on any instance,
//! one asks.

pub mod changes;
pub mod part;
pub mod refresh;
pub mod screens;
mod single_flight;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use events::{PropertyId, TenantId};
use futures::FutureExt;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use self::{
    part::{Content, Part},
    single_flight::{Flight, SingleFlight},
};
use crate::{
    clock::SharedClock,
    upstream::{CallContext, Upstream, UpstreamError, reading::Reading},
    views::{
        Redis,
        snapshot::{self, Snapshot, Standing, Subject},
    },
};

/// How long after its time a snapshot is still shown at once, while it is renewed.
const SHOWN_WHILE_RENEWED: Duration = Duration::from_mins(1);
/// How often it is looked whether another instance has composed a part.
const FOLLOW_POLL: Duration = Duration::from_millis(20);
/// How much longer than its deadline the right to compose a part is held at most.
const LEAD_GRACE: Duration = Duration::from_millis(250);

/// Which property a screen is about, and which day of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub tenant_id: TenantId,
    pub property_id: PropertyId,
    /// Property-local; `None` for today, as the upstreams know it.
    pub date: Option<NaiveDate>,
}

impl Place {
    /// The part of this place, as it is kept.
    pub fn subject(&self, part: Part) -> Subject {
        Subject {
            tenant_id: self.tenant_id.clone(),
            property_id: self.property_id.clone(),
            part: part.row().name,
            date: self.date.filter(|_| part.is_of_a_day()),
        }
    }
}

/// Why an upstream's part is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It did not answer within the part's deadline.
    Timeout,
    /// It failed, or is not called now.
    Error,
}

/// A part as it is shown.
#[derive(Clone, Debug)]
pub struct Shown {
    pub snapshot: Option<Arc<Snapshot>>,
    pub state: State,
}

/// What a part is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// From a snapshot that is fresh.
    Kept,
    /// Asked for now.
    Live,
    /// An older snapshot, being renewed or because the upstream does not answer.
    Stale,
    Absent(Absence),
}

/// What stands about a part before anybody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Fresh,
    /// Old, and nothing is known to have changed.
    Old,
    /// Changed, too old, or not there.
    ToBeAsked,
}

type Composed = Result<Arc<Snapshot>, Absence>;

/// Composes parts. Cheap to clone.
#[derive(Clone)]
pub struct Composer(Arc<Shared>);

struct Shared {
    upstream: Upstream,
    cache: Redis,
    clock: SharedClock,
    flights: SingleFlight<Subject, Composed>,
    uses: changes::Uses,
    /// Of what goes on after its reader has been answered.
    tracker: TaskTracker,
}

impl Composer {
    pub fn new(upstream: Upstream, cache: Redis, clock: SharedClock, tracker: TaskTracker) -> Self {
        let (flights, uses) = (SingleFlight::default(), changes::Uses::default());
        Self(Arc::new(Shared { upstream, cache, clock, flights, uses, tracker }))
    }

    /// What stands about each part, in their order. Where the cache tier cannot be read, nothing
    /// does.
    pub async fn standing(
        &self,
        place: &Place,
        parts: &[Part],
        with_items: bool,
    ) -> Vec<(Part, Standing)> {
        let subjects: Vec<Subject> = parts.iter().map(|part| place.subject(*part)).collect();
        let found = snapshot::read(&self.0.cache, &subjects, with_items).await;
        let standing = found.unwrap_or_else(|error| {
            metrics::counter!("bff_backoffice_snapshot_failures_total").increment(1);
            tracing::warn!(error = %error, "snapshots cannot be read; every upstream is asked");
            vec![Standing::default(); parts.len()]
        });
        self.note_use(subjects);
        parts.iter().copied().zip(standing).collect()
    }

    /// The part as it is to be shown: at once where a snapshot will do, else as soon as the upstream
    /// has answered or the deadline of the part is over.
    pub async fn show(&self, place: &Place, (part, standing): (Part, Standing)) -> Shown {
        let worth = self.worth(part, &standing);
        count(part, worth);
        let kept = |state| Shown { snapshot: standing.snapshot.clone().map(Arc::new), state };
        match worth {
            Worth::Fresh => kept(State::Kept),
            Worth::Old => {
                let renewal = self.compose(place.subject(part), part, &standing);
                self.0.tracker.spawn(renewal.map(drop));
                kept(State::Stale)
            }
            Worth::ToBeAsked => self.ask(place, part, standing).await,
        }
    }

    /// Whether everything that stands is fresh, and whether everything is there: `hit`, `stale` or
    /// `miss`.
    pub fn cache_word(&self, standing: &[(Part, Standing)]) -> &'static str {
        let worths = standing.iter().map(|(part, standing)| self.worth(*part, standing));
        let mut word = "hit";
        for worth in worths {
            match worth {
                Worth::Fresh => (),
                Worth::Old => word = "stale",
                Worth::ToBeAsked => return "miss",
            }
        }
        word
    }

    async fn ask(&self, place: &Place, part: Part, standing: Standing) -> Shown {
        let deadline = Instant::now() + part.row().deadline;
        let composed = timeout_at(deadline, self.compose_after(place, part, &standing)).await;
        match composed.unwrap_or(Err(Absence::Timeout)) {
            Ok(snapshot) => Shown { snapshot: Some(snapshot), state: State::Live },
            Err(absence) => match standing.snapshot {
                Some(known) => Shown { snapshot: Some(Arc::new(known)), state: State::Stale },
                None => Shown { snapshot: None, state: State::Absent(absence) },
            },
        }
    }

    /// Composes a part anew. What was under way already may have been asked for before the change
    /// that is known here; the next one has not.
    async fn compose_after(&self, place: &Place, part: Part, seen: &Standing) -> Composed {
        let composed = self.compose(place.subject(part), part, seen).await?;
        if composed.mark == seen.mark {
            return Ok(composed);
        }
        self.compose(place.subject(part), part, seen).await
    }

    /// Composes a part anew, together with everybody who wants it now.
    fn compose(&self, subject: Subject, part: Part, seen: &Standing) -> Flight<Composed> {
        let newer_than = seen.snapshot.as_ref().map(|snapshot| snapshot.as_of);
        let (composer, of) = (self.clone(), subject.clone());
        let begin = move || async move { composer.lead_or_follow(of, part, newer_than).await };
        self.0.flights.join(subject, move || begin().boxed())
    }

    async fn lead_or_follow(
        &self,
        subject: Subject,
        part: Part,
        newer_than: Option<DateTime<Utc>>,
    ) -> Composed {
        let deadline = Instant::now() + part.row().deadline;
        loop {
            let lead = snapshot::lead(&self.0.cache, &subject, part.row().deadline + LEAD_GRACE);
            let lead = match lead.await {
                Ok(Some(lead)) => Some(Release { composer: self.clone(), lead: Some(lead) }),
                Ok(None) => None,
                // Without the tier every instance composes for itself.
                Err(_) => return self.compose_now(&subject, part, (deadline, None)).await,
            };
            let standing = self.standing_of(&subject).await;
            if let Some(snapshot) = standing.newer(newer_than) {
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

    async fn standing_of(&self, subject: &Subject) -> Standing {
        let found = snapshot::read(&self.0.cache, std::slice::from_ref(subject), true).await;
        found.ok().and_then(|mut found| found.pop()).unwrap_or_default()
    }

    /// `mark` is the one that stands: what changes while the upstream is asked makes the answer an
    /// old one.
    async fn compose_now(
        &self,
        subject: &Subject,
        part: Part,
        (deadline, mark): (Instant, Option<String>),
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
        let content = part.read(&reading, subject.date).await.map_err(|error| {
            tracing::warn!(part = part.row().name, error = %error, "a part is not there");
            absence(&error)
        })?;
        let snapshot = Arc::new(self.snapshot(&content, mark));
        if let Err(error) = snapshot::keep(&self.0.cache, subject, &snapshot).await {
            tracing::warn!(error = %error, "a snapshot cannot be kept");
        }
        self.plan_renewal(subject, part).await;
        Ok(snapshot)
    }

    fn snapshot(&self, content: &Content, mark: Option<String>) -> Snapshot {
        let items = serde_json::to_string(&content.items).expect("JSON can be written as text");
        let summary = content.summary.to_string();
        Snapshot { summary, items: Some(items), as_of: self.0.clock.now(), mark }
    }

    fn worth(&self, part: Part, standing: &Standing) -> Worth {
        let Some(snapshot) = &standing.snapshot else { return Worth::ToBeAsked };
        if !standing.is_unchanged() {
            return Worth::ToBeAsked;
        }
        let age = (self.0.clock.now() - snapshot.as_of).to_std().unwrap_or_default();
        let fresh_for = part.row().fresh_for;
        if age < fresh_for {
            Worth::Fresh
        } else if age < fresh_for + SHOWN_WHILE_RENEWED {
            Worth::Old
        } else {
            Worth::ToBeAsked
        }
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

fn count(part: Part, worth: Worth) {
    let found = match worth {
        Worth::Fresh => "hit",
        Worth::Old => "stale",
        Worth::ToBeAsked => "miss",
    };
    metrics::counter!("bff_backoffice_snapshot_reads_total",
        "part" => part.row().name, "found" => found)
    .increment(1);
}
