//! One key, one effect, one answer: what to do when a request's key is known already.

use std::time::Duration;

use serde_json::Value;
use ulid::Ulid;

use super::{Actor, CommandError, Resources};
use crate::ledger::{ClaimKey, ClaimState, ClaimWrite, StoredResponse};

/// How long one request may work on a key before another may take it over. Longer than any
/// request's deadline.
pub const LEASE: Duration = Duration::from_secs(30);

/// A request under its key: what it is recognised by when it comes again.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    pub key: ClaimKey,
    pub fingerprint: [u8; 32],
    /// Names this attempt: only it may complete the claim it made.
    pub owner: Ulid,
    pub attempt: i32,
}

/// What a key that is known already means for the request that brings it.
#[derive(Debug)]
pub enum Known {
    /// It was answered: answer the same bytes.
    Answered(StoredResponse),
    /// Whoever worked on it is gone: go on where the ledger says it stopped.
    Resumed(KeyedRequest),
}

impl KeyedRequest {
    /// A request as it comes in: `route` names method and path, `body` is its parsed JSON.
    pub fn new(resources: &Resources, actor: &Actor, key: Ulid, route: &str, body: &Value) -> Self {
        let caller = &actor.caller;
        // Parsed and written again: member order and white space do not make another request.
        let body =
            serde_json_canonicalizer::to_vec(body).expect("a parsed JSON document can be written");
        let fingerprint = resources.secrets.peppered(
            "idempotency-fingerprint",
            &[
                caller.tenant_id.as_str().as_bytes(),
                caller.device_id.as_str().as_bytes(),
                caller.operator_id.as_str().as_bytes(),
                route.as_bytes(),
                &body,
            ],
        );
        let key = ClaimKey {
            tenant_id: caller.tenant_id.clone(),
            device_id: caller.device_id.clone(),
            key,
        };
        Self { key, fingerprint, owner: Ulid::generate(), attempt: 1 }
    }

    /// Claims the key, with the first append of a command.
    pub fn start(&self, actor: &Actor) -> ClaimWrite {
        ClaimWrite::Start {
            key: self.key.clone(),
            operator_id: actor.caller.operator_id.clone(),
            fingerprint: self.fingerprint,
            owner: self.owner,
            lease: LEASE,
        }
    }

    /// Stores the answer, with the last append of a command.
    pub fn complete(&self, response: StoredResponse) -> ClaimWrite {
        ClaimWrite::Complete {
            key: self.key.clone(),
            owner: self.owner,
            attempt: self.attempt,
            response,
        }
    }

    /// Both at once, for a command that has nothing to do.
    pub fn start_and_complete(&self, actor: &Actor, response: StoredResponse) -> ClaimWrite {
        ClaimWrite::StartAndComplete {
            key: self.key.clone(),
            operator_id: actor.caller.operator_id.clone(),
            fingerprint: self.fingerprint,
            response,
        }
    }

    /// Looks the key up; `None` when nobody has used it.
    ///
    /// # Errors
    /// [`CommandError::KeyReused`] and [`CommandError::InProgress`] are answers about the key; it
    /// is the primary that is asked, never a replica.
    pub async fn known(&self, resources: &Resources) -> Result<Option<Known>, CommandError> {
        let Some(row) = resources.ledger.read_claim(&self.key).await? else {
            return Ok(None);
        };
        if row.fingerprint != self.fingerprint {
            return Err(CommandError::KeyReused);
        }
        match (row.state, row.response) {
            (ClaimState::Completed, Some(response)) => Ok(Some(Known::Answered(response))),
            _ if row.lease_expired => {
                let taken = resources.ledger.take_over_claim(&self.key, self.owner).await?;
                let attempt = taken.ok_or(CommandError::InProgress)?;
                Ok(Some(Known::Resumed(Self { attempt, ..self.clone() })))
            }
            _ => Err(CommandError::InProgress),
        }
    }
}
