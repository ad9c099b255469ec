//! An operator has an upstream service do something: recorded first, then asked for, then its
//! outcome recorded. What nobody knows the outcome of, the same key goes on with.

use cqrs_es::{Aggregate, AggregateError, CqrsFramework};
use events::{
    PropertyId, StreamId,
    ledger::operator_action::{Action, StepUpUsed},
};
use http::HeaderValue;
use serde_json::{Map, Value};

use super::{
    Actor, CommandError, Resources,
    consume_attestation::{AttestationError, Attested},
    idempotency::{KeyedRequest, Known, Outcome},
};
use crate::{
    aggregates::{
        OperatorAction,
        operator_action::{Command, Rejection, Stage},
    },
    ledger::{ClaimWrite, StoredResponse, event_store::TenantStore},
    upstream::{
        UpstreamError,
        ending::Ending,
        mutations::{self, Mutation, Sending, StepUp, body},
    },
};

mod step_up;
pub(super) mod verdict;

/// What the key is derived for under which the upstream knows a mutation.
pub(super) const UPSTREAM_KEY: &str = "mutation-upstream-key";
/// How often a command is decided anew after losing a race for its stream or its key.
const ATTEMPTS_MAX: u32 = 4;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub mutation: &'static Mutation,
    /// Of the object it is done to, checked.
    pub target_id: Option<String>,
    /// One of the caller's own.
    pub property_id: PropertyId,
    /// Checked against the mutation's members.
    pub body: Map<String, Value>,
    /// `X-Mfa-Attestation` as the client sent it.
    pub attestation: Option<String>,
    /// `If-Match` as the client sent it.
    pub if_match: Option<HeaderValue>,
}

/// Writes an upstream's refusal out for the client, in bytes that can be kept.
pub type Render = dyn Fn(&UpstreamError) -> StoredResponse + Send + Sync;

/// One wish of one operator under one key.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    pub wish: &'a Wish,
    pub keyed: &'a KeyedRequest,
    pub render: &'a Render,
}

/// Why there is no answer that stands. The same key may ask again.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The step-up was missing or not good enough; nothing was claimed.
    #[error(transparent)]
    StepUp(AttestationError),
    /// It was not done, or nobody knows whether it was.
    #[error(transparent)]
    Upstream(UpstreamError),
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`ProxyError`]. A refusal of the upstream is no error but an [`Outcome`].
pub async fn run(resources: &Resources, request: Request<'_>) -> Result<Outcome, ProxyError> {
    for attempt in 0..ATTEMPTS_MAX {
        // A key is new nearly always, so it is looked up only where it turns out not to be. An
        // action with a step-up looks first: a repetition needs no other one.
        let presumed_first = attempt == 0 && request.wish.mutation.step_up == StepUp::Never;
        if !presumed_first {
            match request.keyed.known(resources).await? {
                Some(Known::Answered(response)) => return Ok(Outcome::replayed(response)),
                Some(Known::Resumed(keyed)) => {
                    return Request { keyed: &keyed, ..request }.resume(resources).await;
                }
                None => (),
            }
        }
        if let Some(begun) = request.begin(resources, presumed_first).await? {
            let ending = request.ask(resources, &begun).await;
            return request.conclude(resources, begun.store, ending).await;
        }
    }
    Err(CommandError::Busy.into())
}

/// An action that is in the ledger, and what the upstream needs to know of it.
struct Begun {
    store: TenantStore<OperatorAction>,
    step_up: Option<StepUpUsed>,
}

impl Request<'_> {
    /// Records the request, claims the key and consumes the step-up, in one append; `None` when
    /// somebody else was faster.
    async fn begin(
        &self,
        resources: &Resources,
        presumed_first: bool,
    ) -> Result<Option<Begun>, ProxyError> {
        let attested = self.attested(resources).await?;
        let step_up = attested.as_ref().map(|(scope, attested)| StepUpUsed {
            attestation_id: attested.attestation_id.clone(),
            scope: *scope,
        });
        let writes = attested.iter().flat_map(|(_, attested)| Attested::writes(attested)).collect();
        let claim = self.keyed.start(self.actor);
        let store = self.store(resources).with_claim(claim).with_writes(writes);
        let store = if presumed_first { store.presuming_new() } else { store };
        match self.execute(resources, &store, self.asking(resources, step_up.clone())).await {
            Ok(()) => Ok(Some(Begun { store, step_up })),
            Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => Ok(None),
            Err(error) => match CommandError::from_aggregate(error) {
                CommandError::InProgress => Ok(None),
                failed => Err(failed.into()),
            },
        }
    }

    /// Goes on where an attempt stopped that is gone, or that ended without an answer.
    async fn resume(&self, resources: &Resources) -> Result<Outcome, ProxyError> {
        let tenant_id = &self.actor.caller.tenant_id;
        let recorded = resources.ledger.read_stream(tenant_id, &self.stream(resources)).await;
        let mut action = OperatorAction::default();
        for recorded in recorded.map_err(CommandError::from)? {
            action.apply(recorded.event);
        }
        // The step-up was consumed with the first request, and is this key's.
        let begun = Begun { store: self.store(resources), step_up: action.step_up };
        let ending = match action.stage {
            Stage::Open => {
                let asking = self.asking(resources, begun.step_up.clone());
                self.execute(resources, &begun.store, asking).await.map_err(failed)?;
                self.ask(resources, &begun).await
            }
            // The attempt that is gone may have sent it.
            Stage::Requested | Stage::Unknown => self.ask(resources, &begun).await.again(),
            Stage::Ended => return Err(CommandError::InProgress.into()),
        };
        self.conclude(resources, begun.store, ending).await
    }

    /// Asks the upstream, under the key that every attempt has.
    async fn ask(&self, resources: &Resources, begun: &Begun) -> Ending {
        let Wish { mutation, target_id, property_id, body, if_match, .. } = self.wish;
        let upstream_key = self.keyed.upstream_key(resources, UPSTREAM_KEY);
        let sending = Sending {
            mutation,
            target_id: target_id.as_deref(),
            body,
            if_match: if_match.as_ref(),
            attestation_id: begun.step_up.as_ref().map(|used| &used.attestation_id),
            idempotency_key: &upstream_key,
        };
        let context = self.actor.call_context(Some(property_id));
        let tenant_id = &self.actor.caller.tenant_id;
        mutations::send(&resources.upstream, tenant_id, &context, sending).await
    }

    async fn conclude(
        &self,
        resources: &Resources,
        store: TenantStore<OperatorAction>,
        ending: Ending,
    ) -> Result<Outcome, ProxyError> {
        report(self.wish.mutation, ending.label());
        let (conclusion, answer) = verdict::of(ending, self.render);
        let claim: ClaimWrite = match &answer {
            Ok(response) => self.keyed.complete(response.clone()),
            Err(_) => self.keyed.give_up(),
        };
        let store = store.with_claim(claim);
        let command = Command::Conclude { conclusion, at: resources.clock.now() };
        self.execute(resources, &store, command).await.map_err(failed)?;
        let position = store.receipt().map(|receipt| receipt.position);
        answer.map(|response| Outcome::new(response, position)).map_err(ProxyError::Upstream)
    }

    fn asking(&self, resources: &Resources, step_up: Option<StepUpUsed>) -> Command {
        let details = body::recorded(self.wish.mutation.body, &self.wish.body);
        let is_whole = details.len() == self.wish.body.len() && self.wish.if_match.is_none();
        Command::Request {
            action: self.action(),
            details,
            step_up,
            repeatable: is_whole,
            at: resources.clock.now(),
        }
    }

    fn action(&self) -> Action {
        let mutation = self.wish.mutation;
        Action {
            verb: mutation.verb.to_owned(),
            route: format!("POST {}", mutation.route),
            upstream: mutation.service.name().to_owned(),
            target_id: self.wish.target_id.clone(),
            property_id: self.wish.property_id.clone(),
        }
    }

    /// Derived from the claim, so that a repetition finds it.
    fn stream(&self, resources: &Resources) -> StreamId {
        StreamId::operator_action(self.keyed.derived_ulid(resources, "operator-action"))
    }

    /// The ledger as this request writes it.
    fn store(&self, resources: &Resources) -> TenantStore<OperatorAction> {
        let key = self.keyed.key.key;
        let metadata =
            self.actor.metadata(&resources.instance, Some(&self.wish.property_id), Some(key));
        let tenant_id = self.actor.caller.tenant_id.clone();
        TenantStore::new(&resources.ledger, &resources.clock, tenant_id, metadata)
    }

    /// Runs a command by the rules; its events and the store's claim are one append.
    async fn execute(
        &self,
        resources: &Resources,
        store: &TenantStore<OperatorAction>,
        command: Command,
    ) -> Result<(), AggregateError<Rejection>> {
        let framework = CqrsFramework::new(store.clone(), vec![], ());
        framework.execute(self.stream(resources).as_str(), command).await
    }
}

fn failed(error: AggregateError<Rejection>) -> ProxyError {
    CommandError::from_aggregate(error).into()
}

pub(super) fn report(mutation: &Mutation, outcome: &'static str) {
    metrics::counter!(
        "bff_backoffice_mutation_total", "verb" => mutation.verb, "outcome" => outcome
    )
    .increment(1);
}
