//! Commands that call an upstream under a key, without an event of their own before the call: the
//! key is claimed first, and ends with an answer, or is given up so that the same request goes on.

use std::convert::Infallible;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Known, Outcome},
};
use crate::{
    ledger::StoredResponse,
    upstream::{UpstreamError, ending::Ending},
};

/// How often a key is looked up anew after somebody else was faster.
const ATTEMPTS_MAX: u32 = 4;

/// How an upstream's refusal is written for the client, in the client's language.
pub type Render<'a> = &'a (dyn Fn(&UpstreamError) -> StoredResponse + Send + Sync);

/// Why a command that calls an upstream has no answer.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The same key may ask again: it goes on under the same upstream key.
    #[error("the upstream gave no answer")]
    Upstream(#[source] UpstreamError),
}

/// What a key means for the request that brings it.
pub(super) enum Begun {
    Answered(Outcome),
    /// Claimed, or taken over from an attempt that is gone.
    Mine(KeyedRequest),
}

/// Claims the key before anything is done.
///
/// # Errors
/// See [`CommandError`]; then nothing was claimed.
pub(super) async fn begin(
    resources: &Resources,
    actor: &Actor,
    keyed: &KeyedRequest,
) -> Result<Begun, CommandError> {
    for _ in 0..ATTEMPTS_MAX {
        match keyed.known(resources).await? {
            Some(Known::Answered(response)) => {
                return Ok(Begun::Answered(Outcome::replayed(response)));
            }
            Some(Known::Resumed(keyed)) => return Ok(Begun::Mine(keyed)),
            None => (),
        }
        match actor.write_claim(resources, keyed.start(actor)).await {
            Ok(()) => return Ok(Begun::Mine(keyed.clone())),
            Err(CommandError::InProgress) => (),
            Err(error) => return Err(error),
        }
    }
    Err(CommandError::Busy)
}

/// Ends a request whose upstream did not do it: a refusal is the answer for everybody who repeats
/// the request; after anything else the key is given up.
///
/// # Errors
/// [`WorkError::Upstream`] unless it was a refusal.
pub(super) async fn end_without(
    resources: &Resources,
    actor: &Actor,
    (keyed, error): (&KeyedRequest, UpstreamError),
    render: Render<'_>,
) -> Result<Outcome, WorkError> {
    match Ending::<Infallible>::of(Err(error)) {
        Ending::Done(never) => match never {},
        Ending::Refused(error) => {
            let response = render(&error);
            actor.write_claim(resources, keyed.complete(response.clone())).await?;
            Ok(Outcome::new(response, None))
        }
        Ending::NotDone(error) | Ending::Unknown(error) => {
            actor.write_claim(resources, keyed.give_up()).await?;
            Err(WorkError::Upstream(error))
        }
    }
}

/// A failure of a store that is no ledger's.
pub(super) fn unavailable(error: sqlx::Error) -> CommandError {
    CommandError::Unavailable(error.into())
}
