//! Worker: notices what no request tells, that a session has gone idle or has expired, and records
//! it.
//!
//! A session is idle from the end of its last token on, until it is refreshed; it has expired when
//! it is gone from the session tier, twelve hours after its last request. Which sessions to look at
//! and when stands in the session tier beside them; what is lost there is recorded by nobody.

use std::time::Duration;

use chrono::TimeDelta;
use cqrs_es::{AggregateError, CqrsFramework};
use events::{Metadata, StreamId, ledger::operator_session::ClosingReason};
use tokio_util::sync::CancellationToken;

use super::{
    CommandError, Resources,
    session_record::{Occasion, record},
};
use crate::{
    access::session::{Due, SessionStore},
    aggregates::{OperatorSession, operator_session::Command},
    ledger::event_store::TenantStore,
};

/// How often somebody looks. Any number of instances may.
const INTERVAL: Duration = Duration::from_secs(10);
/// Sessions looked at in one go.
const PAGE_MAX: u32 = 100;
/// A session is looked for this long after it would have ended.
const GRACE: TimeDelta = TimeDelta::seconds(1);

/// Looks after sessions until `shutdown`.
///
/// # Errors
/// When a store fails; what was taken comes again.
pub async fn run(
    resources: &Resources,
    sessions: &SessionStore,
    shutdown: &CancellationToken,
) -> Result<(), CommandError> {
    while !shutdown.is_cancelled() {
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
        expire(resources, due).await?;
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

/// A session that was ended otherwise says no.
async fn expire(resources: &Resources, due: &Due) -> Result<(), CommandError> {
    let metadata = Metadata {
        device_id: Some(due.device_id.clone()),
        session_id: Some(due.session_id.clone()),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let store = TenantStore::<OperatorSession>::new(
        &resources.ledger,
        &resources.clock,
        due.tenant_id.clone(),
        metadata,
    );
    let at = resources.clock.now();
    let command = Command::Close { reason: ClosingReason::Expired, at };
    let stream = StreamId::session(&due.session_id);
    let closed = CqrsFramework::new(store, vec![], ()).execute(stream.as_str(), command).await;
    match closed {
        // Lost a race: whoever won has ended it.
        Ok(()) | Err(AggregateError::UserError(_) | AggregateError::AggregateConflict) => Ok(()),
        Err(error) => Err(CommandError::from_aggregate(error)),
    }
}
