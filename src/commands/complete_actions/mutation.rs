//! A mutation without an outcome: asked for again while that is early enough and the ledger has all
//! of the request; else it is said to be unknown, and only its own key finds out more.

use cqrs_es::Aggregate;
use events::ledger::operator_action::{Action, OperatorActionEvent};
use serde_json::{Map, Value};
use ulid::Ulid;

use super::{Completer, Due, REPEATED_FOR, alarm, context, openings};
use crate::{
    aggregates::{
        OperatorAction,
        operator_action::{Command, Conclusion, Stage},
    },
    commands::{
        CommandError,
        idempotency::KeyedRequest,
        proxy_mutation::{UPSTREAM_KEY, report, verdict},
    },
    ledger::{ClaimKey, ClaimRow, ClaimState, Recorded},
    upstream::mutations::{self, Mutation, ROWS, Sending},
};

/// A mutation as the ledger has it.
struct Asked {
    state: OperatorAction,
    action: Action,
    details: Map<String, Value>,
    repeatable: bool,
    metadata: events::Metadata,
    /// Of the client's request.
    key: ClaimKey,
}

/// Goes on with a mutation that has no outcome, unless its claim is somebody else's.
///
/// # Errors
/// When the database fails.
pub(super) async fn complete(completer: &Completer, due: &Due) -> anyhow::Result<()> {
    let ledger = &completer.resources.ledger;
    let recorded = ledger.read_stream(&due.tenant_id, &due.stream).await;
    let asked = read(due, recorded.map_err(CommandError::from)?)?;
    if !matches!(asked.state.stage, Stage::Requested | Stage::Unknown) {
        // It has ended by now; its row goes when the cursor gets there.
        return Ok(());
    }
    match ledger.read_claim(&asked.key).await.map_err(CommandError::from)? {
        Some(claim) if claim.state != ClaimState::Completed => {
            if claim.lease_expired {
                asked.go_on(completer, due, &claim).await
            } else {
                Ok(())
            }
        }
        // Its key is too old to be used, and its claim was ended: nobody finds out more.
        _ => {
            if asked.state.stage == Stage::Requested {
                let lost = Command::Conclude {
                    conclusion: Conclusion::Unknown { status: None },
                    at: completer.resources.clock.now(),
                };
                let context = context(&asked.metadata);
                let on_behalf = (asked.metadata, &context);
                completer.record::<OperatorAction>(due, (lost, None), on_behalf).await?;
            }
            Ok(openings::forget(&completer.jobs, due).await?)
        }
    }
}

impl Asked {
    async fn go_on(self, completer: &Completer, due: &Due, claim: &ClaimRow) -> anyhow::Result<()> {
        let again = self.row().filter(|_| self.repeatable && due.age < REPEATED_FOR);
        if again.is_none() && self.state.stage == Stage::Unknown {
            alarm(due);
            return Ok(());
        }
        let owner = Ulid::generate();
        let resources = &completer.resources;
        let taken = resources.ledger.take_over_claim(&self.key, owner).await;
        let Some(attempt) = taken.map_err(CommandError::from)? else {
            // The client came back for it.
            return Ok(());
        };
        let fingerprint = claim.fingerprint;
        let keyed = KeyedRequest { key: self.key.clone(), fingerprint, owner, attempt };
        if let Some(mutation) = again {
            self.repeat(completer, due, (mutation, &keyed)).await
        } else {
            let conclusion = Conclusion::Unknown { status: None };
            self.conclude(completer, due, (conclusion, keyed.give_up())).await
        }
    }

    /// Asks the upstream once more, under the key that every attempt has.
    async fn repeat(
        self,
        completer: &Completer,
        due: &Due,
        (mutation, keyed): (&'static Mutation, &KeyedRequest),
    ) -> anyhow::Result<()> {
        let upstream_key = keyed.upstream_key(&completer.resources, UPSTREAM_KEY);
        let sending = Sending {
            mutation,
            target_id: self.action.target_id.as_deref(),
            body: &self.details,
            if_match: None,
            attestation_id: self.state.step_up.as_ref().map(|used| &used.attestation_id),
            idempotency_key: &upstream_key,
        };
        let context = context(&self.metadata);
        let upstream = &completer.resources.upstream;
        let ending = mutations::send(upstream, &due.tenant_id, &context, sending).await.again();
        report(mutation, ending.label());
        let (conclusion, kept) = {
            let path = mutation.route_to(self.action.target_id.as_deref());
            verdict::of(ending, |error| (completer.render)(&self.metadata, &path, error))
        };
        let claim = match kept {
            Ok(response) => keyed.complete(response),
            Err(error) => {
                tracing::warn!(stream = %due.stream, error = %error, "a mutation stays unknown");
                keyed.give_up()
            }
        };
        self.conclude(completer, due, (conclusion, claim)).await
    }

    async fn conclude(
        self,
        completer: &Completer,
        due: &Due,
        (conclusion, claim): (Conclusion, crate::ledger::ClaimWrite),
    ) -> anyhow::Result<()> {
        let at = completer.resources.clock.now();
        let context = context(&self.metadata);
        let written = (Command::Conclude { conclusion, at }, Some(claim));
        completer.record::<OperatorAction>(due, written, (self.metadata, &context)).await
    }

    /// `None` when this version does not pass it on any more.
    fn row(&self) -> Option<&'static Mutation> {
        ROWS.iter().find(|row| row.verb == self.action.verb)
    }
}

fn read(due: &Due, recorded: Vec<Recorded<OperatorActionEvent>>) -> anyhow::Result<Asked> {
    let mut state = OperatorAction::default();
    let mut asked = None;
    for Recorded { event, metadata, .. } in recorded {
        if let OperatorActionEvent::Requested { action, details, repeatable, .. } = &event {
            asked = Some((action.clone(), details.clone(), *repeatable, metadata));
        }
        state.apply(event);
    }
    let unclaimed = || anyhow::anyhow!("{} was requested under no key", due.stream);
    let (action, details, repeatable, metadata) = asked.ok_or_else(unclaimed)?;
    let device_id = metadata.device_id.clone().ok_or_else(unclaimed)?;
    let key = metadata.idempotency_key.as_deref().ok_or_else(unclaimed)?.parse()?;
    let key = ClaimKey { tenant_id: due.tenant_id.clone(), device_id, key };
    Ok(Asked { state, action, details, repeatable, metadata, key })
}
