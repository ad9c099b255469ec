//! Somebody's access ended elsewhere: fenced off and told to every instance at once, then recorded
//! and forgotten, session by session.

use std::time::Duration;

use super::{
    CommandError, Resources,
    close_session::Places,
    mapped_sessions,
    session_record::{Occasion, record, record_lost},
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
    announce(places, revocation).await?;
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
    end_lost(resources, places, revocation).await
}

/// Lets every instance ask anew for the memberships that may be others now.
async fn announce(places: &Places, revocation: &Revocation) -> Result<(), CommandError> {
    let operator_id = match &revocation.subject {
        RevokedSubject::Membership(operator_id) | RevokedSubject::Rights(operator_id) => {
            Some(operator_id)
        }
        RevokedSubject::Tenant => None,
        RevokedSubject::Session(_) | RevokedSubject::Operator(_) | RevokedSubject::Device(_) => {
            return Ok(());
        }
    };
    memberships::announce(&places.session_tier, &revocation.tenant_id, operator_id)
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
    record(resources, session, &occasion(revocation), (log_out(revocation), None)).await?;
    places.sessions.remove(session).await?;
    Ok(())
}

/// Those that the session tier has lost end in the ledger all the same. One that is there was
/// judged by what the tier says of it.
async fn end_lost(
    resources: &Resources,
    places: &Places,
    revocation: &Revocation,
) -> Result<(), CommandError> {
    let mapped = mapped_sessions::ended_by(resources.ledger.pools(), revocation).await;
    for lost in mapped.map_err(|error| CommandError::Unavailable(error.into()))? {
        let living = places.sessions.get(&lost.tenant_id, &lost.device_id).await?;
        if living.is_none_or(|session| session.session_id != lost.session_id) {
            record_lost(resources, &lost, &occasion(revocation), log_out(revocation)).await?;
        }
    }
    Ok(())
}

fn occasion(revocation: &Revocation) -> Occasion {
    Occasion { causation_id: Some(revocation.event_id.clone()), ..Occasion::default() }
}

fn log_out(revocation: &Revocation) -> Command {
    Command::ForceLogOut { reason: revocation.reason.clone(), at: revocation.at }
}
