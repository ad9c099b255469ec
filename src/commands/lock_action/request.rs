//! One request for an action on a lock, from its key to its answer.

use chrono::{DateTime, Utc};
use cqrs_es::{AggregateError, CqrsFramework};
use events::{LockActionId, StreamId, ledger::lock_action::LockDemand};

use super::{
    LockActionError, Wish, answer,
    asking::{self, Said, Voucher},
    load,
};
use crate::{
    aggregates::{
        LockAction,
        lock_action::{Command, Outcome as Settled, Progress, Rejection, Wanted},
    },
    commands::{
        Actor, CommandError, Resources,
        idempotency::{KeyedRequest, Known, Outcome},
    },
    ledger::{Receipt, StoredResponse, event_store::TenantStore},
    upstream::{
        UpstreamError,
        ending::{self, Ending},
        lock_integration::Lock,
    },
};

/// How often a command is decided anew after losing a race for its key or its step-up.
const ATTEMPTS_MAX: u32 = 4;

/// How a refusal of lock-integration-service is kept as an answer.
pub type Render<'a> = &'a (dyn Fn(&UpstreamError) -> StoredResponse + Send + Sync);

/// The answer that stands for everybody who repeats the request, or why there is none.
type Kept = Result<StoredResponse, UpstreamError>;

/// One wish of one operator under one key.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    pub wish: &'a Wish,
    pub keyed: &'a KeyedRequest,
    /// `X-Mfa-Attestation` as the client sent it.
    pub presented: Option<&'a str>,
    pub render: Render<'a>,
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`LockActionError`]. The same key finds out what became of the action.
pub async fn run(resources: &Resources, request: Request<'_>) -> Result<Outcome, LockActionError> {
    let mut lock = None;
    for _ in 0..ATTEMPTS_MAX {
        match request.keyed.known(resources).await? {
            Some(Known::Answered(response)) => return request.replay(resources, response).await,
            Some(Known::Resumed(keyed)) => {
                return Request { keyed: &keyed, ..request }.resume(resources).await;
            }
            None => (),
        }
        let lock = match &lock {
            Some(found) => found,
            None => lock.insert(request.find(resources).await?),
        };
        let (demand, writes) = request.allowed(resources).await?;
        let wanted = request.wanted(resources, lock, demand);
        let store = request
            .store(resources, &wanted)
            .with_claim(request.keyed.start(request.actor))
            .with_writes(writes)
            .presuming_new();
        match request.execute(resources, &store, Command::Request(Box::new(wanted.clone()))).await {
            Ok(_) => return request.carry_out(resources, (store, wanted), false).await,
            // Its key or its step-up was taken in the meantime.
            Err(AggregateError::AggregateConflict) => (),
            Err(error) => match CommandError::from_aggregate(error) {
                CommandError::InProgress => (),
                failed => return Err(failed.into()),
            },
        }
    }
    Err(CommandError::Busy.into())
}

impl Request<'_> {
    fn wanted(&self, resources: &Resources, lock: &Lock, demand: LockDemand) -> Wanted {
        Wanted {
            action_id: self.action_id(resources),
            lock_id: self.wish.lock_id.clone(),
            property_id: lock.property_id.clone(),
            vendor: lock.vendor,
            demand,
            upstream_key: self.keyed.upstream_key(resources, "lock-action-upstream-key"),
            at: resources.clock.now(),
        }
    }

    /// Asks lock-integration-service, records what it said and answers. `again`: an earlier attempt
    /// may have asked as well.
    async fn carry_out(
        &self,
        resources: &Resources,
        (store, wanted): (TenantStore<LockAction>, Wanted),
        again: bool,
    ) -> Result<Outcome, LockActionError> {
        let caller = &self.actor.caller;
        let voucher = Voucher {
            tenant_id: &caller.tenant_id,
            operator_id: &caller.operator_id,
            device_id: &caller.device_id,
            context: self.actor.call_context(Some(&wanted.property_id)),
        };
        let said = asking::ask(&resources.upstream, &wanted, &voucher).await;
        let said = if again { said.again() } else { said };
        let (mut store, at) = (store, resources.clock.now());
        let (mut command, mut kept) = self.verdict(&wanted, said, at);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let claim = match &kept {
                Ok(response) => self.keyed.complete(response.clone()),
                Err(_) => self.keyed.give_up(),
            };
            match self.execute(resources, &store.with_claim(claim), command.clone()).await {
                Ok(receipt) => {
                    let position = (0 < receipt.position).then_some(receipt.position);
                    return Ok(Outcome::new(kept?, position));
                }
                // The worker wrote something in the meantime.
                Err(AggregateError::AggregateConflict) if attempts < ATTEMPTS_MAX => (),
                // It may have asked as well.
                Err(AggregateError::UserError(Rejection::NotCertain)) => {
                    (command, kept) = (Command::LoseSight { at }, kept.map_err(ending::lost));
                }
                // What it found out is the answer.
                Err(AggregateError::UserError(_)) => return self.conclude(resources).await,
                Err(error) => return Err(CommandError::from_aggregate(error).into()),
            }
            store = self.store(resources, &wanted);
        }
    }

    /// What the ledger is to record of what was said, and the answer that is kept; or why there is
    /// none, and the same request may find out more.
    fn verdict(&self, wanted: &Wanted, said: Said, at: DateTime<Utc>) -> (Command, Kept) {
        let command = asking::command(&said, at);
        let kept = match said {
            Ending::Done(key) => Ok(answer(wanted, &Settled::Done(key), at, self.render)),
            // With all that was said, also what is not recorded.
            Ending::Refused(error) => Ok((self.render)(&error)),
            Ending::NotDone(error) | Ending::Unknown(error) => Err(error),
        };
        (command, kept)
    }

    /// Goes on where an attempt stopped that is gone or gave up.
    async fn resume(&self, resources: &Resources) -> Result<Outcome, LockActionError> {
        let caller = &self.actor.caller;
        let loaded = load(&resources.ledger, &caller.tenant_id, &self.stream(resources)).await;
        let loaded = loaded.map_err(CommandError::from)?;
        let wanted = loaded.action.wanted().cloned().ok_or(CommandError::InProgress)?;
        self.check_property(&wanted)?;
        let store = self.store(resources, &wanted);
        match loaded.action.progress() {
            Progress::Open(_) => self.carry_out(resources, (store, wanted), true).await,
            Progress::Ready => {
                let wanted = Wanted { at: resources.clock.now(), ..wanted };
                let command = Command::Request(Box::new(wanted.clone()));
                let requested = self.execute(resources, &store, command).await;
                requested.map_err(CommandError::from_aggregate)?;
                self.carry_out(resources, (store, wanted), false).await
            }
            Progress::Settled | Progress::Refused => self.conclude(resources).await,
        }
    }

    /// Answers what the ledger has as the outcome.
    async fn conclude(&self, resources: &Resources) -> Result<Outcome, LockActionError> {
        let tenant_id = &self.actor.caller.tenant_id;
        let loaded = load(&resources.ledger, tenant_id, &self.stream(resources)).await;
        let loaded = loaded.map_err(CommandError::from)?;
        let settled = loaded.action.settlement().ok_or(CommandError::InProgress)?;
        let (wanted, outcome, at) = settled;
        let response = answer(wanted, outcome, at, self.render);
        let claim = self.keyed.complete(response.clone());
        self.actor.write_claim(resources, claim).await?;
        Ok(Outcome::new(response, None))
    }

    /// An answer that is kept, for those who still work where the lock is.
    async fn replay(
        &self,
        resources: &Resources,
        response: StoredResponse,
    ) -> Result<Outcome, LockActionError> {
        let tenant_id = &self.actor.caller.tenant_id;
        let loaded = load(&resources.ledger, tenant_id, &self.stream(resources)).await;
        let loaded = loaded.map_err(CommandError::from)?;
        self.check_property(loaded.action.wanted().ok_or(CommandError::InProgress)?)?;
        Ok(Outcome::replayed(response))
    }

    fn check_property(&self, wanted: &Wanted) -> Result<(), LockActionError> {
        let is_own = self.actor.caller.property_ids.contains(&wanted.property_id);
        if is_own { Ok(()) } else { Err(LockActionError::NotFound) }
    }

    /// Found again by every repetition of the request.
    fn action_id(&self, resources: &Resources) -> LockActionId {
        let key = &self.keyed.key;
        let parts = [
            key.tenant_id.as_str().as_bytes(),
            key.device_id.as_str().as_bytes(),
            &key.key.to_bytes(),
        ];
        LockActionId::new(resources.secrets.derived_ulid("lock-action", &parts))
    }

    fn stream(&self, resources: &Resources) -> StreamId {
        StreamId::lock_action(&self.action_id(resources))
    }

    /// The ledger as this request writes it.
    fn store(&self, resources: &Resources, wanted: &Wanted) -> TenantStore<LockAction> {
        let key = self.keyed.key.key;
        let metadata =
            self.actor.metadata(&resources.instance, Some(&wanted.property_id), Some(key));
        let tenant_id = self.actor.caller.tenant_id.clone();
        TenantStore::new(&resources.ledger, &resources.clock, tenant_id, metadata)
    }

    /// Runs a command by the rules; its events and the store's claim are one append.
    async fn execute(
        &self,
        resources: &Resources,
        store: &TenantStore<LockAction>,
        command: Command,
    ) -> Result<Receipt, AggregateError<Rejection>> {
        let stream = self.stream(resources);
        CqrsFramework::new(store.clone(), vec![], ()).execute(stream.as_str(), command).await?;
        Ok(store.receipt().unwrap_or_default())
    }
}
