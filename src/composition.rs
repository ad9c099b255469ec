//! Screens composed of what upstream services say: each part by itself, with its own deadline, kept
//! for those who look next.
//!
//! A snapshot is fresh while its time is not over and nothing is known to have changed. One that is
//! only old is shown while it is renewed, and so is one that has just changed, but for the device that
//! has changed it; else what has changed is waited for, and what was stands in only when its upstream
//! does not answer. Of many who want the same at the same time, on any instance,
//! one asks.

pub mod changes;
mod compose;
pub mod part;
pub mod refresh;
pub mod screens;
mod single_flight;

use std::{sync::Arc, time::Duration};

use chrono::{NaiveDate, TimeDelta};
use events::{DeviceId, PropertyId, TenantId};
use futures::FutureExt;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use self::{part::Part, single_flight::SingleFlight};
use crate::{
    clock::SharedClock,
    upstream::Upstream,
    views::{
        Redis,
        snapshot::{self, Snapshot, Standing, Subject},
    },
};

/// How long after its time a snapshot is still shown at once, while it is renewed.
const SHOWN_WHILE_RENEWED: Duration = Duration::from_mins(1);

/// How long after a change what was before is still shown at once: the worker composes what is within
/// a second, and says so.
const SHOWN_WHILE_CHANGING: TimeDelta = TimeDelta::seconds(2);

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What a part is worth; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// From a snapshot that is fresh.
    Kept,
    /// Asked for now.
    Live,
    /// An older snapshot, being renewed or because the upstream does not answer.
    Stale,
    Absent(Absence),
}

impl State {
    /// As clients are told.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kept | Self::Live => "ok",
            Self::Stale => "stale",
            Self::Absent(Absence::Timeout) => "timeout",
            Self::Absent(Absence::Error) => "error",
        }
    }
}

/// What stands about a part before anybody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Fresh,
    /// Old, and nothing is known to have changed.
    Old,
    /// Changed a moment ago, and being composed anew.
    Changing,
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
    /// Of the hints that desktops hear.
    session: Redis,
    clock: SharedClock,
    flights: SingleFlight<Subject, Composed>,
    uses: changes::Uses,
    /// Of what goes on after its reader has been answered.
    tracker: TaskTracker,
}

impl Composer {
    pub fn new(
        upstream: Upstream,
        (cache, session): (Redis, Redis),
        clock: SharedClock,
        tracker: TaskTracker,
    ) -> Self {
        let (flights, uses) = (SingleFlight::default(), changes::Uses::default());
        Self(Arc::new(Shared { upstream, cache, session, clock, flights, uses, tracker }))
    }

    /// What stands about each part for this reader, in their order. Where the cache tier cannot be read, nothing
    /// does.
    pub async fn standing(
        &self,
        (place, parts): (&Place, &[Part]),
        with_items: bool,
        reader: &DeviceId,
    ) -> Vec<(Part, Standing)> {
        let subjects: Vec<Subject> = parts.iter().map(|part| place.subject(*part)).collect();
        let found = snapshot::read(&self.0.cache, &subjects, (with_items, Some(reader)));
        let found = compose::in_time(found).await;
        let standing = found.unwrap_or_else(|| {
            metrics::counter!("bff_backoffice_snapshot_failures_total").increment(1);
            tracing::warn!("snapshots cannot be read in time; every upstream is asked");
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
            Worth::Changing => kept(State::Stale),
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
                Worth::Old | Worth::Changing => word = "stale",
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

    fn worth(&self, part: Part, standing: &Standing) -> Worth {
        let Some(snapshot) = &standing.snapshot else { return Worth::ToBeAsked };
        let now = self.0.clock.now();
        let age = (now - snapshot.as_of).to_std().unwrap_or_default();
        let fresh_for = part.row().fresh_for;
        if !standing.is_unchanged() {
            let is_changing =
                standing.changing_since().is_some_and(|at| now - at < SHOWN_WHILE_CHANGING);
            return if is_changing && age < fresh_for { Worth::Changing } else { Worth::ToBeAsked };
        }
        if age < fresh_for {
            Worth::Fresh
        } else if age < fresh_for + SHOWN_WHILE_RENEWED {
            Worth::Old
        } else {
            Worth::ToBeAsked
        }
    }
}

fn count(part: Part, worth: Worth) {
    let found = match worth {
        Worth::Fresh => "hit",
        Worth::Old | Worth::Changing => "stale",
        Worth::ToBeAsked => "miss",
    };
    metrics::counter!("bff_backoffice_snapshot_reads_total",
        "part" => part.row().name, "found" => found)
    .increment(1);
}
