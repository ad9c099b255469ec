//! An operator decides on a suggestion: recorded with its answer in one append; the orchestrator is
//! told by a worker (`report`), so that nobody waits for it.

use chrono::{DateTime, Utc};
use cqrs_es::{AggregateError, CqrsFramework};
use events::{
    OperatorId, PropertyId, StreamId, SuggestionId, ledger::suggestion_decision::Decision,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Outcome},
};
pub use crate::aggregates::suggestion_decision::Offer;
use crate::{
    aggregates::{
        SuggestionDecision,
        suggestion_decision::{Command, Rejection, Standing},
    },
    ledger::{Receipt, StoredResponse, event_store::TenantStore},
};

/// How often a command is decided anew after losing a race for its stream or its key.
const ATTEMPTS_MAX: u32 = 4;

/// What the operator wants, and what they were shown.
#[derive(Clone, Debug)]
pub struct Wish {
    pub suggestion_id: SuggestionId,
    pub property_id: PropertyId,
    pub category: String,
    pub offer: Offer,
    pub decision: Decision,
    pub modification: Option<Map<String, Value>>,
    pub reason_code: Option<String>,
    pub comment: Option<String>,
}

/// Why a decision is refused by the rules; the answer is kept as any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody decided before; what, where it was one of ours.
    AlreadyDecided(Option<Box<SuggestionDecided>>),
    /// It has expired or was withdrawn.
    Expired,
}

/// How a refusal is told, in the language of whoever asks.
pub type Render<'a> = &'a (dyn Fn(Refusal) -> StoredResponse + Send + Sync);

/// One wish of one operator under one key.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    pub wish: &'a Wish,
    pub keyed: &'a KeyedRequest,
    pub render: Render<'a>,
}

/// Body of the answer, and what stands when somebody else was first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuggestionDecided {
    #[schema(value_type = String)]
    pub id: SuggestionId,
    #[schema(value_type = String)]
    pub property_id: PropertyId,
    /// `decided`.
    pub state: String,
    /// `accept`, `reject` or `modify`.
    #[schema(value_type = String)]
    pub decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub modification: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<String>,
    pub decided_at: DateTime<Utc>,
    #[schema(value_type = String)]
    pub decided_by: OperatorId,
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`CommandError`]. After [`CommandError::Unavailable`] the decision may stand; the same key
/// finds out.
pub async fn run(resources: &Resources, request: Request<'_>) -> Result<Outcome, CommandError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match request.decide(resources, attempts == 1).await {
            Ok(outcome) => return Ok(outcome),
            Err(Refused::ByRule(refusal)) => return request.refuse(resources, refusal).await,
            Err(Refused::ByKey) => return request.known(resources).await,
            Err(Refused::ByRace(_)) if attempts < ATTEMPTS_MAX => (),
            Err(Refused::ByRace(error) | Refused::Failed(error)) => return Err(error),
        }
    }
}

/// Why a decision was not recorded.
enum Refused {
    ByRule(Refusal),
    /// The key is somebody else's, who may be this request when it came before.
    ByKey,
    ByRace(CommandError),
    Failed(CommandError),
}

impl Request<'_> {
    /// Records the decision and its answer, in one append.
    async fn decide(&self, resources: &Resources, is_first: bool) -> Result<Outcome, Refused> {
        let standing = self.standing(resources.clock.now());
        // Nearly every suggestion is decided on once: its stream is read only where it turns out
        // not to be empty, or where only a decision that stands could be the answer.
        let presumed_new = is_first && self.wish.offer.is_open(standing.at);
        let answer = StoredResponse::json(200, &SuggestionDecided::from(standing.clone()));
        let claim = self.keyed.start_and_complete(self.actor, answer.clone());
        let store = self.store(resources).with_claim(claim);
        let store = if presumed_new { store.presuming_new() } else { store };
        match self.execute(&store, standing).await {
            Ok(receipt) => Ok(Outcome::new(answer, Some(receipt.position))),
            Err(AggregateError::UserError(rejection)) => Err(refused(rejection)),
            Err(AggregateError::AggregateConflict) => Err(Refused::ByRace(CommandError::Busy)),
            Err(error) => Err(match CommandError::from_aggregate(error) {
                CommandError::InProgress => Refused::ByKey,
                failed => Refused::Failed(failed),
            }),
        }
    }

    /// Keeps a rule's refusal as the answer.
    async fn refuse(
        &self,
        resources: &Resources,
        refusal: Refusal,
    ) -> Result<Outcome, CommandError> {
        // A request that comes again meets its own event: the key is asked before the rule's answer
        // is given.
        if let Some(known) = self.keyed.answered(resources).await? {
            return Ok(known);
        }
        let answer = (self.render)(refusal);
        let claim = self.keyed.start_and_complete(self.actor, answer.clone());
        match self.actor.write_claim(resources, claim).await {
            Err(CommandError::InProgress) => self.known(resources).await,
            written => written.map(|()| Outcome::new(answer, None)),
        }
    }

    /// The answer of the same request, which was faster.
    async fn known(&self, resources: &Resources) -> Result<Outcome, CommandError> {
        self.keyed.answered(resources).await?.ok_or(CommandError::InProgress)
    }

    fn standing(&self, at: DateTime<Utc>) -> Standing {
        let wish = self.wish;
        Standing {
            suggestion_id: wish.suggestion_id.clone(),
            property_id: wish.property_id.clone(),
            category: wish.category.clone(),
            decision: wish.decision,
            modification: wish.modification.clone(),
            reason_code: wish.reason_code.clone(),
            by: self.actor.caller.operator_id.clone(),
            at,
        }
    }

    /// The ledger as this request writes it.
    fn store(&self, resources: &Resources) -> TenantStore<SuggestionDecision> {
        let key = self.keyed.key.key;
        let metadata =
            self.actor.metadata(&resources.instance, Some(&self.wish.property_id), Some(key));
        let tenant_id = self.actor.caller.tenant_id.clone();
        TenantStore::new(&resources.ledger, &resources.clock, tenant_id, metadata)
    }

    /// Decides by the rules; the event and the store's claim are one append.
    async fn execute(
        &self,
        store: &TenantStore<SuggestionDecision>,
        standing: Standing,
    ) -> Result<Receipt, AggregateError<Rejection>> {
        let stream = StreamId::suggestion_decision(&self.wish.suggestion_id);
        let command = Command::Decide {
            standing: Box::new(standing),
            comment: self.wish.comment.clone(),
            offer: self.wish.offer,
        };
        let framework = CqrsFramework::new(store.clone(), vec![], ());
        framework.execute(stream.as_str(), command).await?;
        Ok(store.receipt().unwrap_or_default())
    }
}

/// What a rule's refusal is to whoever asks.
fn refused(rejection: Rejection) -> Refused {
    Refused::ByRule(match rejection {
        Rejection::AlreadyDecided(standing) => {
            Refusal::AlreadyDecided(Some(Box::new((*standing).into())))
        }
        Rejection::DecidedElsewhere => Refusal::AlreadyDecided(None),
        Rejection::Expired => Refusal::Expired,
        // What is asked for was validated, and nothing is reported here.
        Rejection::Modification | Rejection::NotDecided | Rejection::AlreadyReported => {
            return Refused::Failed(CommandError::Unavailable(rejection.into()));
        }
    })
}

impl From<Standing> for SuggestionDecided {
    fn from(standing: Standing) -> Self {
        Self {
            id: standing.suggestion_id,
            property_id: standing.property_id,
            state: "decided".to_owned(),
            decision: standing.decision,
            modification: standing.modification,
            reason_code: standing.reason_code,
            decided_at: standing.at,
            decided_by: standing.by,
        }
    }
}
