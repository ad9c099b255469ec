//! Worker: forgets in time what is kept beside the ledger: the desks' hints and mirrors, what other
//! services said of what is over, sessions that have ended.

use std::{fmt, time::Duration};

use rand::Rng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::{forget_desk, mapped_sessions};
use crate::{
    clock::SharedClock,
    inbox::retention::{self, Forgotten},
};

const INTERVAL: Duration = Duration::from_hours(1);

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Hints of queues and mirrored preferences.
    pub desks: u64,
    pub inbox: Forgotten,
    pub sessions: u64,
}

/// Forgets now and then every hour or so, until `shutdown`.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn run(
    jobs: &PgPool,
    clock: &SharedClock,
    shutdown: &CancellationToken,
) -> sqlx::Result<()> {
    while !shutdown.is_cancelled() {
        let done = run_once(jobs, clock).await?;
        if done != Done::default() {
            tracing::info!(done = %done, "what is over was forgotten");
        }
        // Instances that started together do not stay together.
        let pause = INTERVAL.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::select! {
            () = shutdown.cancelled() => (),
            () = tokio::time::sleep(pause) => (),
        }
    }
    Ok(())
}

/// Forgets everything whose time is over.
///
/// # Errors
/// As [`run`].
pub async fn run_once(jobs: &PgPool, clock: &SharedClock) -> sqlx::Result<Done> {
    let desks = forget_desk::forget(jobs).await?;
    metrics::counter!("bff_backoffice_desk_forgotten_total").increment(desks);
    let inbox = retention::purge(jobs, clock.now()).await?;
    let sessions = mapped_sessions::forget_ended(jobs).await?;
    metrics::counter!("bff_backoffice_mapped_sessions_forgotten_total").increment(sessions);
    Ok(Done { desks, inbox, sessions })
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { desks, inbox: Forgotten { events, dead_letters, unread }, sessions } = self;
        write!(
            f,
            "{desks} hints and mirrors, {events} events of the inbox, {dead_letters} dead letters \
             ({unread} unread) and {sessions} ended sessions forgotten"
        )
    }
}
