//! An operator acknowledges an alert: recorded first, then notification-service is told, and the
//! answer is the same whether it hears or not.

use std::time::Duration;

use chrono::{DateTime, Utc};
use cqrs_es::{AggregateError, CqrsFramework};
use events::{AlertId, OperatorId, PropertyId, StreamId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Known, Outcome},
    report::{Report, Told, acknowledgment::AcknowledgmentReport},
};
use crate::{
    aggregates::{
        AlertAcknowledgment,
        alert_acknowledgment::{Command, Forward, Rejection, Standing},
    },
    ledger::{Receipt, StoredResponse, event_store::TenantStore},
};

/// How long the operator waits for notification-service.
const FORWARD_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a command is decided anew after losing a race for its stream or its key.
const ATTEMPTS_MAX: u32 = 4;

/// What the operator wants.
#[derive(Clone, Debug)]
pub struct Wish {
    pub alert_id: AlertId,
    pub property_id: PropertyId,
    pub comment: Option<String>,
}

/// One wish of one operator under one key.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub actor: &'a Actor,
    pub wish: &'a Wish,
    pub keyed: &'a KeyedRequest,
}

/// Body of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledgment {
    #[schema(value_type = String)]
    pub id: AlertId,
    /// `acknowledged`.
    pub state: String,
    pub acknowledged_at: DateTime<Utc>,
    #[schema(value_type = String)]
    pub acknowledged_by: OperatorId,
    /// notification-service has answered.
    pub forwarded: bool,
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`CommandError`]. After [`CommandError::Unavailable`] the acknowledgment may stand; the same
/// key finds out.
pub async fn run(resources: &Resources, request: Request<'_>) -> Result<Outcome, CommandError> {
    for attempt in 0..ATTEMPTS_MAX {
        // Nearly every alert is acknowledged once: its stream is read only where it turns out not
        // to be empty. The key is asked once a round: to find a claim whose lease is over is to
        // take it over.
        let known = match request.acknowledge(resources, attempt == 0).await {
            Ok(recorded) => return request.tell(resources, recorded).await,
            Err(Refused::ByRace) => continue,
            Err(Refused::Failed(error)) => return Err(error),
            Err(Refused::ByKey) => request.keyed.known(resources).await?,
            Err(Refused::ByRule(standing, forward)) => {
                // A request that comes again meets its own event: the key is asked before the
                // rule's answer is given.
                let known = request.keyed.known(resources).await?;
                if known.is_none() {
                    let answer = answer(&standing, forward == Forward::Done);
                    let claim = request.keyed.start_and_complete(request.actor, answer.clone());
                    match request.actor.write_claim(resources, claim).await {
                        Ok(()) => return Ok(Outcome::new(answer, None)),
                        Err(CommandError::InProgress) => continue,
                        Err(error) => return Err(error),
                    }
                }
                known
            }
        };
        match known {
            Some(Known::Answered(response)) => {
                return Ok(Outcome::replayed(response));
            }
            Some(Known::Resumed(keyed)) => {
                return Request { keyed: &keyed, ..request }.resume(resources).await;
            }
            None => (),
        }
    }
    Err(CommandError::Busy)
}

/// An acknowledgment that was recorded just now, and the store that knows it.
struct Recorded {
    store: TenantStore<AlertAcknowledgment>,
    standing: Standing,
    position: i64,
}

/// Why an acknowledgment was not recorded.
enum Refused {
    ByRule(Standing, Forward),
    ByKey,
    ByRace,
    Failed(CommandError),
}

impl Request<'_> {
    /// Records the acknowledgment and claims the key, in one append.
    async fn acknowledge(
        &self,
        resources: &Resources,
        presumed_first: bool,
    ) -> Result<Recorded, Refused> {
        let standing = Standing {
            alert_id: self.wish.alert_id.clone(),
            property_id: self.wish.property_id.clone(),
            by: self.actor.caller.operator_id.clone(),
            at: resources.clock.now(),
        };
        let command = Command::Acknowledge(standing.clone(), self.wish.comment.clone());
        let store = self.store(resources).with_claim(self.keyed.start(self.actor));
        let store = if presumed_first { store.presuming_new() } else { store };
        match self.execute(&store, command).await {
            Ok(receipt) => Ok(Recorded { store, standing, position: receipt.position }),
            Err(AggregateError::UserError(Rejection::AlreadyAcknowledged {
                standing,
                forward,
            })) => Err(Refused::ByRule(standing, forward)),
            Err(AggregateError::AggregateConflict) => Err(Refused::ByRace),
            Err(error) => Err(match CommandError::from_aggregate(error) {
                CommandError::InProgress => Refused::ByKey,
                failed => Refused::Failed(failed),
            }),
        }
    }

    /// Tells notification-service of what was recorded just now, and answers.
    async fn tell(
        &self,
        resources: &Resources,
        recorded: Recorded,
    ) -> Result<Outcome, CommandError> {
        let Recorded { store, standing, position } = recorded;
        let tenant_id = &self.actor.caller.tenant_id;
        let report = AcknowledgmentReport { standing, comment: self.wish.comment.clone() };
        let context = self.actor.call_context(Some(&self.wish.property_id));
        let told = report.tell(resources, tenant_id, &context, FORWARD_TIMEOUT).await;
        let forwarded = matches!(told, Told::Taken { .. });
        let answer = answer(&report.standing, forwarded);
        let claim = self.keyed.complete(answer.clone());
        let Some(command) = AcknowledgmentReport::record(told, resources.clock.now()) else {
            self.actor.write_claim(resources, claim).await?;
            return Ok(Outcome::new(answer, Some(position)));
        };
        match self.execute(&store.with_claim(claim), command).await {
            Ok(receipt) => Ok(Outcome::new(answer, Some(receipt.position))),
            // The worker was faster: what it wrote is the same.
            Err(AggregateError::AggregateConflict | AggregateError::UserError(_)) => {
                self.actor.write_claim(resources, self.keyed.complete(answer.clone())).await?;
                Ok(Outcome::new(answer, Some(position)))
            }
            Err(error) => Err(CommandError::from_aggregate(error)),
        }
    }

    /// Goes on where an attempt stopped that is gone: the acknowledgment stands, only its answer is
    /// missing.
    async fn resume(&self, resources: &Resources) -> Result<Outcome, CommandError> {
        let stream = StreamId::alert_acknowledgment(&self.wish.alert_id);
        let tenant_id = &self.actor.caller.tenant_id;
        let mut acknowledgment = AlertAcknowledgment::default();
        for recorded in resources.ledger.read_stream(tenant_id, &stream).await? {
            cqrs_es::Aggregate::apply(&mut acknowledgment, recorded.event);
        }
        let standing = acknowledgment.standing.ok_or(CommandError::InProgress)?;
        let answer = answer(&standing, acknowledgment.forward == Forward::Done);
        self.actor.write_claim(resources, self.keyed.complete(answer.clone())).await?;
        Ok(Outcome::new(answer, None))
    }

    /// The ledger as this request writes it.
    fn store(&self, resources: &Resources) -> TenantStore<AlertAcknowledgment> {
        let key = self.keyed.key.key;
        let metadata =
            self.actor.metadata(&resources.instance, Some(&self.wish.property_id), Some(key));
        let tenant_id = self.actor.caller.tenant_id.clone();
        TenantStore::new(&resources.ledger, &resources.clock, tenant_id, metadata)
    }

    /// Runs a command by the rules; its events and the store's claim are one append.
    async fn execute(
        &self,
        store: &TenantStore<AlertAcknowledgment>,
        command: Command,
    ) -> Result<Receipt, AggregateError<Rejection>> {
        let stream = StreamId::alert_acknowledgment(&self.wish.alert_id);
        let framework = CqrsFramework::new(store.clone(), vec![], ());
        framework.execute(stream.as_str(), command).await?;
        Ok(store.receipt().unwrap_or_default())
    }
}

/// The answer to everybody who acknowledges the alert, first or later.
fn answer(standing: &Standing, forwarded: bool) -> StoredResponse {
    let body = Acknowledgment {
        id: standing.alert_id.clone(),
        state: "acknowledged".to_owned(),
        acknowledged_at: standing.at,
        acknowledged_by: standing.by.clone(),
        forwarded,
    };
    StoredResponse::json(200, &body)
}
