//! An operator has a key of a door issued or revoked: in the ledger before lock-integration-service
//! is asked, its outcome after.
//!
//! The first append claims the key, uses up the step-up and says what is wanted; then the call goes
//! out, under a key that every repetition has; the last append says what became of it and holds the
//! answer. What stops in between is found out by [`complete_actions`](super::complete_actions)
//! or by the same request coming again.

pub mod asking;
mod permission;
mod request;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use events::{
    KeyCredentialId, LockActionId, LockId, Metadata, ReservationId, RoomId, StreamId, TenantId,
    ledger::lock_action::{KeyKind, LockActionEvent, LockActionKind, RevokeReason},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::request::{Render, Request, run};
use super::{CommandError, consume_attestation::AttestationError};
use crate::{
    aggregates::{
        LockAction,
        lock_action::{Outcome, Wanted},
    },
    ledger::{Ledger, ReadError, StoredResponse},
    upstream::UpstreamError,
};

/// What the operator wants of a lock.
#[derive(Clone, Debug)]
pub struct Wish {
    pub lock_id: LockId,
    pub deed: Deed,
}

#[derive(Clone, Debug)]
pub enum Deed {
    /// A key for the rooms of a stay; the lock's own room is among them.
    Issue {
        reservation_id: ReservationId,
        rooms: Vec<RoomId>,
        valid_from: DateTime<Utc>,
        valid_until: DateTime<Utc>,
        /// Best first.
        preferred_kinds: Vec<KeyKind>,
    },
    /// That a key of this lock opens nothing any more; needs a step-up for the lock.
    Revoke { key_credential_id: KeyCredentialId, reason: RevokeReason },
}

#[derive(Debug, thiserror::Error)]
pub enum LockActionError {
    #[error(transparent)]
    Command(#[from] CommandError),
    /// No such lock or key where the operator works.
    #[error("there is no such lock or key")]
    NotFound,
    #[error("the lock's own room is not among the rooms")]
    OtherRooms,
    #[error(transparent)]
    Attestation(AttestationError),
    /// lock-integration-service did not answer; the same key may ask again.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

/// Body of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LockAction)]
pub struct Done {
    /// `lap_` and a ULID; the stream in the ledger.
    #[schema(value_type = String)]
    pub action_id: LockActionId,
    #[schema(value_type = String)]
    pub lock_id: LockId,
    /// The key that was issued or revoked.
    #[schema(value_type = String)]
    pub key_credential_id: KeyCredentialId,
    /// `issued` or `revoked`.
    pub state: String,
    pub at: DateTime<Utc>,
}

/// An action as the ledger has it, and on whose word it was requested.
pub(super) struct Loaded {
    pub(super) action: LockAction,
    /// Of the last request; `None` before there was one.
    pub(super) metadata: Option<Metadata>,
}

/// Reads the stream of an action.
pub(super) async fn load(
    ledger: &Ledger,
    tenant_id: &TenantId,
    stream: &StreamId,
) -> Result<Loaded, ReadError> {
    let mut loaded = Loaded { action: LockAction::default(), metadata: None };
    for recorded in ledger.read_stream::<LockActionEvent>(tenant_id, stream).await? {
        if matches!(recorded.event, LockActionEvent::Requested { .. }) {
            loaded.metadata = Some(recorded.metadata);
        }
        loaded.action.apply(recorded.event);
    }
    Ok(loaded)
}

/// The answer to everybody who asks for an action that has ended so.
fn answer(
    wanted: &Wanted,
    outcome: &Outcome,
    at: DateTime<Utc>,
    render: Render<'_>,
) -> StoredResponse {
    match outcome {
        Outcome::Done(key_credential_id) => {
            let state = match wanted.demand.kind() {
                LockActionKind::Issue => "issued",
                LockActionKind::Revoke => "revoked",
            };
            let done = Done {
                action_id: wanted.action_id.clone(),
                lock_id: wanted.lock_id.clone(),
                key_credential_id: key_credential_id.clone(),
                state: state.to_owned(),
                at,
            };
            StoredResponse::json(200, &done)
        }
        Outcome::Failed(failure) => render(&asking::remembered(failure)),
    }
}
