//! A device's first request opens its session: recorded in the ledger, then kept in the session
//! tier, by one request only.

use std::time::Duration;

use cqrs_es::CqrsFramework;
use events::{Metadata, SessionId, StreamId};
use tokio::time::Instant;
use ulid::Ulid;

use super::{CommandError, Resources};
use crate::{
    access::{
        Caller, PendingSession, StoreError,
        session::{Session, SessionStore},
    },
    aggregates::{
        OperatorSession,
        operator_session::{Command, Opening},
    },
    ledger::event_store::TenantStore,
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
/// other request did not finish in time.
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
    // Another request may have opened it between this one's look and its lock.
    if let Some(session) = sessions.wait_for(pending, Instant::now()).await? {
        return Ok(session);
    }
    let at = resources.clock.now();
    let session = pending.session(SessionId::new(Ulid::generate()), at);
    record(resources, &session, request_id).await?;
    sessions.put(&session).await?;
    Ok(session)
}

async fn record(
    resources: &Resources,
    session: &Session,
    request_id: &str,
) -> Result<(), CommandError> {
    let metadata = Metadata {
        operator_id: Some(session.operator_id.clone()),
        device_id: Some(session.device_id.clone()),
        session_id: Some(session.session_id.clone()),
        locale: session.locale.clone(),
        app_version: Some(session.app.version.clone()),
        app_platform: Some(session.app.platform.to_string()),
        network_mode: Some(session.app.network_mode.to_string()),
        request_id: Some(request_id.to_owned()),
        correlation_id: Some(request_id.to_owned()),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let opening = Opening {
        session_id: session.session_id.clone(),
        operator_id: session.operator_id.clone(),
        device_id: session.device_id.clone(),
        property_ids: session.property_ids.clone(),
        roles: session.roles.clone(),
        at: session.opened_at,
    };
    let tenant_id = session.tenant_id.clone();
    let store = TenantStore::<OperatorSession>::new(
        &resources.ledger,
        &resources.clock,
        tenant_id,
        metadata,
    );
    CqrsFramework::new(store, vec![], ())
        .execute(StreamId::session(&session.session_id).as_str(), Command::Open(opening))
        .await
        .map_err(CommandError::from_aggregate)
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
    }
}
