//! Worker: notices what no request tells, that a session has gone idle or has expired, and records
//! it.
//!
//! A session is idle from the end of its last token on, until it is refreshed; it has expired when
//! it is gone from the session tier, twelve hours after its last request. Which sessions to look at
//! and when stands in the session tier beside them; what is lost there is found in the session map.

use std::time::Duration;

use chrono::TimeDelta;
use events::ledger::operator_session::ClosingReason;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    CommandError, Resources, mapped_sessions,
    session_record::{Occasion, record, record_lost},
};
use crate::{
    access::session::{Due, SessionStore},
    aggregates::operator_session::Command,
};

/// How often somebody looks. Any number of instances may.
const INTERVAL: Duration = Duration::from_secs(10);
/// Sessions looked at in one go.
const PAGE_MAX: u32 = 100;
/// A session is looked for this long after it would have ended.
const GRACE: TimeDelta = TimeDelta::seconds(1);
/// How often somebody looks for sessions that the session tier has lost.
const LOST_INTERVAL: Duration = Duration::from_mins(10);
/// A session is gone so long after its last request.
const LIFETIME: TimeDelta = TimeDelta::hours(12);

/// Looks after sessions until `shutdown`.
///
/// # Errors
/// When a store fails; what was taken comes again.
pub async fn run(
    resources: &Resources,
    sessions: &SessionStore,
    shutdown: &CancellationToken,
) -> Result<(), CommandError> {
    let mut lost_at: Option<Instant> = None;
    while !shutdown.is_cancelled() {
        if lost_at.is_none_or(|at| LOST_INTERVAL <= at.elapsed()) {
            take_up_lost(resources, sessions).await?;
            lost_at = Some(Instant::now());
        }
        if step(resources, sessions).await? == 0 {
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = tokio::time::sleep(INTERVAL) => (),
            }
        }
    }
    Ok(())
}

/// Looks at the sessions that are due; how many there were.
///
/// # Errors
/// As [`run`].
pub async fn step(resources: &Resources, sessions: &SessionStore) -> Result<usize, CommandError> {
    let due = sessions.take_due(resources.clock.now(), PAGE_MAX).await?;
    for due in &due {
        look(resources, sessions, due).await?;
    }
    Ok(due.len())
}

async fn look(
    resources: &Resources,
    sessions: &SessionStore,
    due: &Due,
) -> Result<(), CommandError> {
    let now = resources.clock.now();
    let session = sessions.get(&due.tenant_id, &due.device_id).await?;
    let Some(session) = session.filter(|session| session.session_id == due.session_id) else {
        let expire = Command::Close { reason: ClosingReason::Expired, at: now };
        record_lost(resources, due, &Occasion::default(), expire).await?;
        return Ok(sessions.settle(due, None).await?);
    };
    if now < session.token_expires_at {
        return Ok(sessions.settle(due, Some(session.token_expires_at)).await?);
    }
    // One that is idle already says no, and is only looked for again when it may be gone.
    record(resources, &session, &Occasion::default(), (Command::Idle { at: now }, None)).await?;
    let left = sessions.left(&due.tenant_id, &due.device_id).await?.unwrap_or_default();
    let gone_at = now + left + GRACE;
    Ok(sessions.settle(due, Some(gone_at)).await?)
}

/// Has those looked at that the ledger takes for open though nothing of them was heard for as long as
/// a session lives without a request: the session tier has lost them. How many there are.
///
/// # Errors
/// As [`run`].
pub async fn take_up_lost(
    resources: &Resources,
    sessions: &SessionStore,
) -> Result<usize, CommandError> {
    let jobs = resources.ledger.pools().jobs();
    let (now, mut place, mut count) = (resources.clock.now(), None, 0);
    loop {
        let page = mapped_sessions::unheard_since(jobs, now - LIFETIME, place.as_ref()).await;
        let page = page.map_err(|error| CommandError::Unavailable(error.into()))?;
        let Some(last) = page.last() else { return Ok(count) };
        place = Some((last.tenant_id.clone(), last.session_id.clone()));
        sessions.look_after(&page, now).await?;
        count += page.len();
    }
}
