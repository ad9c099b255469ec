//! A device's first request opens its session: recorded in the ledger, then kept in the session
//! tier, by one request only. The session that the device had before ends with it.

use std::time::Duration;

use events::{SessionId, ledger::operator_session::ClosingReason};
use tokio::time::Instant;
use ulid::Ulid;

use super::{
    CommandError, Resources,
    session_record::{Occasion, Recorded, record},
};
use crate::{
    access::{
        Caller, PendingSession, StoreError,
        session::{Kept, Session, SessionStore},
    },
    aggregates::operator_session::{Command, Opening},
};

/// The right to open a session ends by itself when its holder dies.
const LOCK_TTL: Duration = Duration::from_secs(5);
/// How long the other first requests of a device wait for the one that opens its session.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Answers the caller in the session this request opened, or in the one that another request was
/// opening.
///
/// # Errors
/// [`CommandError::Unavailable`] when ledger or session tier fail; an opening that was recorded may
/// then have no session, and the next request opens another one. [`CommandError::Busy`] when the
/// other request did not finish in time; [`CommandError::Revoked`] when the session was revoked
/// meanwhile.
pub async fn run(
    resources: &Resources,
    sessions: &SessionStore,
    pending: PendingSession,
    request_id: &str,
) -> Result<Caller, CommandError> {
    let deadline = Instant::now() + WAIT_MAX;
    let owner = Ulid::generate();
    let (tenant_id, device_id) = (pending.tenant_id().clone(), pending.device_id().clone());
    let opens = sessions.try_lock_opening(&tenant_id, &device_id, owner, LOCK_TTL).await?;
    if !opens {
        let session = sessions.wait_for(&pending, deadline).await?;
        return session.map(|session| pending.into_caller(&session)).ok_or(CommandError::Busy);
    }
    let opened = open(resources, sessions, &pending, request_id).await;
    if let Err(error) = sessions.unlock_opening(&tenant_id, &device_id, owner).await {
        tracing::warn!(error = %error, "the right to open a session ends by itself");
    }
    opened.map(|session| pending.into_caller(&session))
}

async fn open(
    resources: &Resources,
    sessions: &SessionStore,
    pending: &PendingSession,
    request_id: &str,
) -> Result<Session, CommandError> {
    let standing = sessions.get(pending.tenant_id(), pending.device_id()).await?;
    // Another request may have opened it between this one's look and its lock.
    if let Some(session) = standing.as_ref().filter(|session| session.is_of(pending.claims())) {
        return Ok(session.clone());
    }
    let at = resources.clock.now();
    let occasion = Occasion { request_id: request_id.to_owned(), ..Occasion::default() };
    if let Some(replaced) = standing {
        // One that has ended already says no, which is as good.
        let close = Command::Close { reason: ClosingReason::Replaced, at };
        record(resources, &replaced, &occasion, (close, None)).await?;
    }
    let session = pending.session(SessionId::new(Ulid::generate()), at);
    match record(resources, &session, &occasion, (opening(&session), None)).await? {
        Recorded::Done => (),
        Recorded::Rejected(rejection) => return Err(CommandError::Unavailable(rejection.into())),
    }
    match sessions.put(&session).await? {
        Kept::Stored => Ok(session),
        // Revoked since the gate has looked: the session ends as it began.
        Kept::Fenced | Kept::Gone => {
            let log_out = Command::ForceLogOut { reason: "revoked".to_owned(), at };
            record(resources, &session, &occasion, (log_out, None)).await?;
            Err(CommandError::Revoked)
        }
    }
}

fn opening(session: &Session) -> Command {
    Command::Open(Opening {
        session_id: session.session_id.clone(),
        operator_id: session.operator_id.clone(),
        device_id: session.device_id.clone(),
        iam_session_id: session.sid.clone(),
        property_ids: session.property_ids.clone(),
        roles: session.roles.clone(),
        at: session.opened_at,
    })
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}
