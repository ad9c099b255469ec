//! An operator acknowledges an alert: recorded first, then notification-service is told, and the answer is the same whether it hears or not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::{AggregateContext, AggregateError, CqrsFramework, EventStore};
use events::{AlertId, OperatorId, PropertyId, StreamId};
use serde::{Deserialize, Serialize};

use super::{
    Actor, CommandError, Resources,
    forward_acknowledgments::{self, Told},
    idempotency::{Known, KeyedRequest},
};
use crate::{
    aggregates::{
        AlertAcknowledgment,
        alert_acknowledgment::{Command, Forward, Rejection, Standing},
    },
    ledger::{
        append::{Append, AppendError},
        event_store::TenantStore,
        idempotency::{ClaimWrite, StoredResponse},
    },
};

/// How long the operator waits for notification-service.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a command is decided anew after losing a race for its stream.
const ATTEMPTS_MAX: u32 = 4;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    pub comment: Option<String>,
}

/// The answer, and where the ledger stands after it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub response: StoredResponse,
    /// Position of the last event written; `None` when nothing was.
    pub position: Option<i64>,
    /// The answer is that of an earlier request under the same key.
    pub replayed: bool,
}

/// Body of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgment {
    pub id: AlertId,
    pub state: String,
    pub acknowledged_at: DateTime<Utc>,
    pub acknowledged_by: OperatorId,
    /// notification-service has answered.
    pub forwarded: bool,
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`CommandError`]. After [`CommandError::Unavailable`] the acknowledgment may stand; the same key finds out.
pub async fn run(
    resources: &Resources,
    actor: &Actor,
    wish: &Wish,
    request: &KeyedRequest,
) -> Result<Outcome, CommandError> {
    for _ in 0..ATTEMPTS_MAX {
        match acknowledge(resources, actor, wish, request).await {
            Ok(position) => {
                return tell_and_answer(resources, actor, wish, request, Some(position)).await;
            }
            Err(Refused::ByRule(standing, forward)) => {
                // A request that comes again finds its own event here: the key is asked before the rule's answer is given.
                if let Some(known) = request.known(resources).await? {
                    return answer_known(resources, actor, wish, known).await;
                }
                let claim = |response| request.start_and_complete(actor, response);
                let answer = answer(&standing, forward);
                match store(resources, actor, wish, answer, claim).await {
                    Err(CommandError::InProgress) => (),
                    stored => return stored,
                }
            }
            Err(Refused::ByKey) => {
                if let Some(known) = request.known(resources).await? {
                    return answer_known(resources, actor, wish, known).await;
                }
            }
            Err(Refused::ByRace) => (),
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
    Err(CommandError::Busy)
}

/// Why an acknowledgment was not recorded.
enum Refused {
    ByRule(Standing, Forward),
    ByKey,
    ByRace,
    Failed(CommandError),
}

/// Records the acknowledgment and claims the key, in one append. Answers the position.
async fn acknowledge(
    resources: &Resources,
    actor: &Actor,
    wish: &Wish,
    request: &KeyedRequest,
) -> Result<i64, Refused> {
    let store = store_of(resources, actor, wish, request).with_claim(request.start(actor));
    let receipt = store.receipt();
    let standing = Standing {
        alert_id: wish.alert_id.clone(),
        property_id: wish.property_id.clone(),
        by: actor.caller.operator_id.clone(),
        at: resources.clock.now(),
    };
    let stream = StreamId::alert_acknowledgment(&wish.alert_id);
    let framework = CqrsFramework::new(store, vec![], ());
    let command = Command::Acknowledge(standing, wish.comment.clone());
    match framework.execute(stream.as_str(), command).await {
        Ok(()) => Ok(receipt.position()),
        Err(AggregateError::UserError(Rejection::AlreadyAcknowledged(standing))) => {
            let forward = load(resources, actor, wish, request).await.map_err(Refused::Failed)?;
            Err(Refused::ByRule(standing, forward.forward))
        }
        Err(AggregateError::AggregateConflict) => Err(Refused::ByRace),
        Err(error) => Err(match receipt.failure() {
            Some(AppendError::ClaimRefused) => Refused::ByKey,
            Some(failure) => Refused::Failed(failure.into()),
            None => Refused::Failed(CommandError::Unavailable(error.into())),
        }),
    }
}
