//! An operator signs out: the end is recorded, then the session is fenced off everywhere, forgotten
//! and ended at iam.
//!
//! A request that was let in before cannot open the session again, because the fence outlives the
//! token.

use std::time::Duration;

use events::{TenantId, ledger::operator_session::ClosingReason};
use serde_json::json;
use ulid::Ulid;

use super::{
    Actor, CommandError, Resources,
    idempotency::KeyedRequest,
    session_record::{Occasion, record},
};
use crate::{
    access::session::SessionStore,
    aggregates::operator_session::Command,
    ledger::StoredResponse,
    live::{self, Revocation, Subject},
    upstream::{CallContext, iam},
    views::Redis,
};

const ROUTE: &str = "POST /auth/sign-out";
/// How a live stream is told why it ends.
const REASON: &str = "signed_out";
/// Longer than any token lives, clocks that differ included.
const FENCE_LIFETIME: Duration = Duration::from_hours(24);

/// Where sessions live.
#[derive(Clone)]
pub struct Places {
    pub sessions: SessionStore,
    pub session_tier: Redis,
}

/// Ends the session of `actor` under `key`. Runs to its end even when the client hangs up: call it
/// in a task of its own.
///
/// # Errors
/// See [`CommandError`]. Half of it may be done; the same key does the rest.
pub async fn run(
    resources: &Resources,
    places: &Places,
    actor: &Actor,
    key: Ulid,
) -> Result<(), CommandError> {
    let caller = &actor.caller;
    let session = places.sessions.get(&caller.tenant_id, &caller.device_id).await?;
    let session = session.filter(|session| session.session_id == caller.session_id);
    let keyed = KeyedRequest::new(resources, actor, key, ROUTE, &json!({}));
    if let Some(session) = &session {
        let occasion = Occasion {
            request_id: actor.request_id.clone(),
            traceparent: actor.traceparent.clone(),
            idempotency_key: Some(key.to_string()),
            ..Occasion::default()
        };
        let at = resources.clock.now();
        let command = Command::Close { reason: ClosingReason::SignedOut, at };
        let claim = keyed.start_and_complete(actor, no_content());
        match record(resources, session, &occasion, (command, Some(claim))).await {
            // A session that has ended already is left to be fenced off.
            Ok(_) => (),
            Err(CommandError::InProgress) => {
                keyed.answered(resources).await?.ok_or(CommandError::InProgress)?;
            }
            Err(error) => return Err(error),
        }
    }
    shut(resources, places, (&caller.tenant_id, &caller.sid)).await?;
    if let Some(session) = &session {
        places.sessions.remove(session).await?;
    }
    end_at_iam(resources, (&caller.tenant_id, &caller.sid), &actor.call_context(None)).await;
    Ok(())
}

/// Ends what a token stands for that has no session yet: nothing to record, nothing to forget.
///
/// # Errors
/// [`CommandError::Unavailable`] when the session tier fails.
pub async fn run_unopened(
    resources: &Resources,
    places: &Places,
    (tenant_id, sid): (&TenantId, &str),
    context: &CallContext,
) -> Result<(), CommandError> {
    shut(resources, places, (tenant_id, sid)).await?;
    end_at_iam(resources, (tenant_id, sid), context).await;
    Ok(())
}

/// Fences iam's session off, which ends its live streams too.
async fn shut(
    resources: &Resources,
    places: &Places,
    (tenant_id, sid): (&TenantId, &str),
) -> Result<(), CommandError> {
    let revocation = Revocation {
        tenant_id: tenant_id.clone(),
        subject: Subject::Session(sid.to_owned()),
        reason: REASON.to_owned(),
        at: resources.clock.now(),
    };
    live::revocations::publish(&places.session_tier, &revocation, FENCE_LIFETIME)
        .await
        .map_err(|error| CommandError::Unavailable(error.into()))
}

/// Lets iam forget the refresh token. The sign-out stands without it: the desktop has thrown the
/// token away, and nobody can use it without the desktop's key.
async fn end_at_iam(
    resources: &Resources,
    (tenant_id, sid): (&TenantId, &str),
    context: &CallContext,
) {
    let parts = [tenant_id.as_str().as_bytes(), sid.as_bytes()];
    let key = resources.secrets.derived_ulid("sign-out-upstream-key", &parts).to_string();
    let ended = iam::end_session(&resources.upstream, tenant_id, context, sid, &key).await;
    let outcome = if ended.is_ok() { "ended" } else { "not_told" };
    metrics::counter!("bff_backoffice_sign_outs_total", "iam" => outcome).increment(1);
    if let Err(error) = ended {
        tracing::warn!(error = %error, "iam was not told of a sign-out");
    }
}

fn no_content() -> StoredResponse {
    StoredResponse { status: 204, headers: Vec::new(), body: Vec::new() }
}
