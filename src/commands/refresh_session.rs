//! A device exchanges its refresh token: iam grants, the grant is verified like any token, the
//! session lives on, and only then are the tokens handed out.
//!
//! Nothing of the tokens is kept here. An answer that was lost is asked for again under the same
//! `X-Idempotency-Key`: iam knows the key derived from it and grants the same once more.

use events::{DeviceId, OperatorId, PropertyId, TenantId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use ulid::Ulid;

use super::{
    Actor, CommandError, Resources,
    idempotency::KeyedRequest,
    open_session,
    session_record::{Occasion, Recorded, record},
};
use crate::{
    access::{
        BareProof, Caller, DeviceHeaders, Gate, GrantError, Place, Reason,
        session::{Kept, Session},
    },
    aggregates::operator_session::{Command, Rejection},
    ledger::StoredResponse,
    upstream::{
        CallContext, UpstreamError,
        iam::{self, Exchange, ExchangeError, Grant},
    },
};

const ROUTE: &str = "POST /auth/refresh";
/// Opening a session, and finding one in the place of a session that has ended.
const ATTEMPTS_MAX: u32 = 3;

/// What a device wants to exchange.
pub struct Wish {
    pub refresh_token: SecretString,
    pub proof: BareProof,
    pub device: DeviceHeaders,
    /// `X-Idempotency-Key`.
    pub key: Ulid,
    /// ULID.
    pub request_id: String,
    /// W3C traceparent.
    pub traceparent: String,
}

/// New tokens, and for whom.
pub struct Refreshed {
    pub access_token: SecretString,
    pub refresh_token: SecretString,
    pub expires_in_seconds: i64,
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    pub property_ids: Vec<PropertyId>,
}

/// Why no tokens are handed out.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The refresh token is unknown, used, revoked, or bound to another key or device.
    #[error("the refresh token is not taken")]
    InvalidGrant,
    #[error(transparent)]
    Upstream(UpstreamError),
    /// iam granted a token that is not valid, or not for this key and device.
    #[error("iam-service granted a token that cannot be handed out")]
    Untrusted(#[source] GrantError),
    /// Whom the token is for may not enter.
    #[error(transparent)]
    Refused(Reason),
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`RefreshError`]. After all but `InvalidGrant` the same key may ask again, and gets what
/// iam may have granted already.
pub async fn run(
    resources: &Resources,
    gate: &Gate,
    wish: &Wish,
) -> Result<Refreshed, RefreshError> {
    let grant = exchange(resources, wish).await?;
    for _ in 0..ATTEMPTS_MAX {
        let token = grant.access_token.expose_secret();
        let granted = gate.admit_granted(token, &wish.proof.jkt, &wish.device).await?;
        match granted.place {
            Place::Opening(pending) => {
                open_session::run(resources, gate.sessions(), *pending, &wish.request_id).await?;
                continue;
            }
            Place::Known(caller, session) => {
                if !go_on(resources, gate, wish, (*caller, *session)).await? {
                    continue;
                }
            }
            Place::Unopened => (),
        }
        return Ok(Refreshed {
            expires_in_seconds: (granted.expires_at - resources.clock.now()).num_seconds(),
            tenant_id: granted.tenant_id,
            operator_id: granted.operator_id,
            device_id: granted.device_id,
            property_ids: granted.property_ids,
            access_token: grant.access_token,
            refresh_token: grant.refresh_token,
        });
    }
    Err(CommandError::Busy.into())
}

async fn exchange(resources: &Resources, wish: &Wish) -> Result<Grant, RefreshError> {
    let context = CallContext {
        device_id: Some(wish.device.device_id.clone()),
        request_id: wish.request_id.clone(),
        traceparent: wish.traceparent.clone(),
        ..CallContext::default()
    };
    let key = upstream_key(resources, wish);
    let asked = Exchange {
        refresh_token: &wish.refresh_token,
        jkt: &wish.proof.jkt,
        device_id: &wish.device.device_id,
        idempotency_key: &key,
    };
    iam::exchange(&resources.upstream, &context, asked).await.map_err(|error| match error {
        ExchangeError::Refused => RefreshError::InvalidGrant,
        ExchangeError::KeyReused => CommandError::KeyReused.into(),
        ExchangeError::Upstream(error) => RefreshError::Upstream(error),
    })
}

/// The key under which iam knows this wish: of this device's key only, whatever others send.
fn upstream_key(resources: &Resources, wish: &Wish) -> String {
    let parts = [wish.proof.jkt.as_bytes(), &wish.key.to_bytes()];
    resources.secrets.derived_ulid("refresh-upstream-key", &parts).to_string()
}

/// Records the refresh once a key and prolongs the session; false when the session has ended
/// meanwhile.
async fn go_on(
    resources: &Resources,
    gate: &Gate,
    wish: &Wish,
    (caller, session): (Caller, Session),
) -> Result<bool, RefreshError> {
    let renewed = session.renewed(&caller);
    let actor = Actor {
        caller,
        request_id: wish.request_id.clone(),
        traceparent: wish.traceparent.clone(),
    };
    // The refresh token is in the fingerprint only, which is keyed and cannot be turned back.
    let body = json!({ "refreshToken": wish.refresh_token.expose_secret() });
    let keyed = KeyedRequest::new(resources, &actor, wish.key, ROUTE, &body);
    let claim = keyed.start_and_complete(&actor, no_answer());
    let occasion = Occasion {
        request_id: wish.request_id.clone(),
        traceparent: wish.traceparent.clone(),
        idempotency_key: Some(wish.key.to_string()),
        ..Occasion::default()
    };
    let (token_expires_at, at) = (renewed.token_expires_at, resources.clock.now());
    let command = Command::Refresh { token_expires_at, at };
    match record(resources, &renewed, &occasion, (command, Some(claim))).await {
        Ok(Recorded::Done) => (),
        Ok(Recorded::Rejected(Rejection::NotOpen)) => {
            gate.sessions().remove(&session).await.map_err(CommandError::from)?;
            return Ok(false);
        }
        Ok(Recorded::Rejected(rejection)) => {
            return Err(CommandError::Unavailable(rejection.into()).into());
        }
        // The same wish under the same key: it is recorded already.
        Err(CommandError::InProgress) => {
            keyed.answered(resources).await?.ok_or(CommandError::InProgress)?;
        }
        Err(error) => return Err(error.into()),
    }
    match gate.sessions().renew(&renewed).await.map_err(CommandError::from)? {
        Kept::Stored => Ok(true),
        Kept::Gone => Ok(false),
        Kept::Fenced => Err(RefreshError::Refused(Reason::SessionRevoked)),
    }
}

/// What is kept of the answer: that there was one.
fn no_answer() -> StoredResponse {
    StoredResponse { status: 200, headers: Vec::new(), body: Vec::new() }
}

impl From<GrantError> for RefreshError {
    fn from(error: GrantError) -> Self {
        match error {
            GrantError::Refused(reason) => Self::Refused(reason),
            error => Self::Untrusted(error),
        }
    }
}
