//! Somebody's access ended elsewhere: fenced off and told to every instance at once, then recorded
//! and forgotten, session by session.

use std::time::Duration;

use events::{OperatorId, TenantId};

use super::{
    CommandError, Resources,
    close_session::Places,
    session_record::{Occasion, record},
};
use crate::{
    access::session::Session,
    aggregates::operator_session::Command,
    inbox::revocation::{Revocation, RevokedSubject},
    live::{self, Subject, memberships},
};

/// Longer than any token lives.
const FENCE_LIFETIME: Duration = Duration::from_hours(24);

/// Does what a revocation demands. To be called again when it fails: every part may be repeated,
/// and a session ends in the ledger once.
///
/// # Errors
/// When a store fails; the fence may stand already.
pub async fn run(
    resources: &Resources,
    places: &Places,
    revocation: &Revocation,
) -> Result<(), CommandError> {
    let tenant_id = &revocation.tenant_id;
    if let Some(operator_id) = whose_membership(&revocation.subject) {
        announce(places, tenant_id, operator_id).await?;
    }
    let Some(subject) = fenced(&revocation.subject) else { return Ok(()) };
    let fence = live::Revocation {
        tenant_id: tenant_id.clone(),
        subject,
        reason: revocation.reason.clone(),
        at: revocation.at,
    };
    live::revocations::publish(&places.session_tier, &fence, FENCE_LIFETIME)
        .await
        .map_err(|error| CommandError::Unavailable(error.into()))?;
    for session in meant(places, revocation).await? {
        end(resources, places, revocation, &session).await?;
    }
    Ok(())
}

/// Whose membership every instance has to ask for anew: `None` for nobody's, `Some(None)` for a
/// whole tenant's.
fn whose_membership(subject: &RevokedSubject) -> Option<Option<&OperatorId>> {
    match subject {
        RevokedSubject::Membership(operator_id) | RevokedSubject::Rights(operator_id) => {
            Some(Some(operator_id))
        }
        RevokedSubject::Tenant => Some(None),
        RevokedSubject::Session(_) | RevokedSubject::Operator(_) | RevokedSubject::Device(_) => {
            None
        }
    }
}

async fn announce(
    places: &Places,
    tenant_id: &TenantId,
    operator_id: Option<&OperatorId>,
) -> Result<(), CommandError> {
    memberships::announce(&places.session_tier, tenant_id, operator_id)
        .await
        .map_err(|error| CommandError::Unavailable(error.into()))
}

/// What is fenced off; `None` where nobody is shut out.
fn fenced(subject: &RevokedSubject) -> Option<Subject> {
    Some(match subject.clone() {
        RevokedSubject::Session(sid) => Subject::Session(sid),
        RevokedSubject::Operator(operator_id) | RevokedSubject::Membership(operator_id) => {
            Subject::Operator(operator_id)
        }
        RevokedSubject::Device(device_id) => Subject::Device(device_id),
        RevokedSubject::Tenant => Subject::Tenant,
        RevokedSubject::Rights(_) => return None,
    })
}

/// The sessions a revocation ends: those let in before it, or iam's one whenever it was let in.
async fn meant(places: &Places, revocation: &Revocation) -> Result<Vec<Session>, CommandError> {
    let (sessions, tenant_id) = (&places.sessions, &revocation.tenant_id);
    let found = match &revocation.subject {
        RevokedSubject::Session(sid) => {
            return Ok(sessions.of_sid(tenant_id, sid).await?.into_iter().collect());
        }
        RevokedSubject::Device(device_id) => {
            sessions.get(tenant_id, device_id).await?.into_iter().collect()
        }
        RevokedSubject::Operator(operator_id) | RevokedSubject::Membership(operator_id) => {
            let mut found = sessions.of_tenant(tenant_id).await?;
            found.retain(|session| session.operator_id == *operator_id);
            found
        }
        RevokedSubject::Tenant => sessions.of_tenant(tenant_id).await?,
        RevokedSubject::Rights(_) => Vec::new(),
    };
    let was_let_in_before = |session: &Session| session.token_issued_at <= revocation.at;
    Ok(found.into_iter().filter(was_let_in_before).collect())
}

/// Recorded before it is forgotten, so that a crash between leaves it to be found again. The rules
/// say no to a session that has ended already.
async fn end(
    resources: &Resources,
    places: &Places,
    revocation: &Revocation,
    session: &Session,
) -> Result<(), CommandError> {
    let occasion =
        Occasion { causation_id: Some(revocation.event_id.clone()), ..Occasion::default() };
    let command = Command::ForceLogOut { reason: revocation.reason.clone(), at: revocation.at };
    record(resources, session, &occasion, (command, None)).await?;
    places.sessions.remove(session).await?;
    Ok(())
}
