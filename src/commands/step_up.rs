//! An operator proves a second factor: iam-service confirms it, and the ledger gets an attestation
//! that one action may use.
//!
//! The key is claimed with the attestation, in one append: whoever repeats the request before that
//! asks iam-service again under the same upstream key, whoever repeats it later gets the same
//! attestation. A failure of iam-service leaves nothing behind.

use events::{
    AttestationId, LedgerEvent, StreamId,
    ledger::mfa_attestation::{MfaAttestationEvent, StepUpFactor, StepUpScope},
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    Actor, CommandError, Resources,
    idempotency::{KeyedRequest, Outcome},
};
use crate::{
    aggregates::{
        MfaAttestation,
        mfa_attestation::{Bearer, Command, Denial, Issuance, LIFETIME, Purpose},
    },
    ledger::{Append, AppendError, NewEvent, StoredResponse, StreamWrite},
    upstream::{
        UpstreamError,
        iam_step_up::{self, Answer, Confirmation, StepUp},
    },
};

/// A refused step-up, as it is kept for those who repeat it.
const REFUSED_STATUS: u16 = 403;

/// What the operator wants to be confirmed for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub scope: StepUpScope,
    /// The one object the action is about, opaque; `None`: any.
    pub resource: Option<String>,
    pub factor: StepUpFactor,
    /// Told to iam-service and to nobody else.
    pub code: SecretString,
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
#[schema(as = MfaAttestation)]
pub struct Attestation {
    /// `mfa_` and a ULID; sent as `X-Mfa-Attestation` with the one action it is for.
    #[schema(value_type = String)]
    pub attestation_id: AttestationId,
    /// `lock.revoke`, `folio.refund` or `folio.large-charge`.
    pub scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    pub expires_at: chrono::DateTime<chrono::Utc>,
}

#[derive(Debug, thiserror::Error)]
pub enum StepUpError {
    #[error(transparent)]
    Command(#[from] CommandError),
    /// iam-service said no, now or to an earlier request under the same key.
    #[error("iam-service refused the factor")]
    Refused,
    /// The factor was not confirmed, and was not refused either.
    #[error("iam-service did not confirm the factor")]
    Upstream(#[from] UpstreamError),
}

/// Runs to its end even when the client hangs up: call it in a task of its own.
///
/// # Errors
/// See [`StepUpError`]; the same key may ask again.
pub async fn run(resources: &Resources, request: Request<'_>) -> Result<Outcome, StepUpError> {
    let outcome = request.run(resources).await?;
    if outcome.response.status == REFUSED_STATUS {
        return Err(StepUpError::Refused);
    }
    Ok(outcome)
}

impl Request<'_> {
    async fn run(&self, resources: &Resources) -> Result<Outcome, StepUpError> {
        if let Some(known) = self.keyed.answered(resources).await? {
            return Ok(known);
        }
        let (event, response) = self.ask(resources).await?;
        match self.record(resources, &event, response.clone()).await {
            Ok(position) => Ok(Outcome::new(response, Some(position))),
            // The same request was faster: its answer is the one that counts.
            Err(AppendError::ClaimRefused) => {
                let known = self.keyed.answered(resources).await?;
                Ok(known.ok_or(CommandError::InProgress)?)
            }
            Err(error) => Err(CommandError::from(error).into()),
        }
    }

    /// Asks iam-service; what to record and to answer.
    async fn ask(
        &self,
        resources: &Resources,
    ) -> Result<(MfaAttestationEvent, StoredResponse), StepUpError> {
        let caller = &self.actor.caller;
        let upstream_key = self.keyed.upstream_key(resources, "step-up-upstream-key");
        let step_up = StepUp {
            operator_id: &caller.operator_id,
            device_id: &caller.device_id,
            scope: self.wish.scope.name(),
            resource: self.wish.resource.as_deref(),
            factor: self.wish.factor.name(),
            code: &self.wish.code,
            idempotency_key: &upstream_key,
        };
        let context = self.actor.call_context(None);
        let answer =
            iam_step_up::attest(&resources.upstream, &caller.tenant_id, &context, step_up).await;
        let outcome = match &answer {
            Ok(Answer::Confirmed(_)) => "issued",
            Ok(Answer::Refused(_)) => "refused",
            Err(_) => "failed",
        };
        report(self.wish.scope, outcome);
        let (command, response) = match answer? {
            Answer::Confirmed(confirmation) => self.issuance(resources, confirmation),
            Answer::Refused(problem) => {
                let code = problem.code.clone().unwrap_or_default();
                (self.denial(resources, code), StoredResponse::json(REFUSED_STATUS, &json!({})))
            }
        };
        let event = MfaAttestation::default().decide(command).ok().flatten();
        Ok((event.expect("a new attestation takes its first command"), response))
    }

    fn issuance(&self, resources: &Resources, said: Confirmation) -> (Command, StoredResponse) {
        let at = resources.clock.now();
        let expires_at = said.expires_at.map_or(at + LIFETIME, |end| end.min(at + LIFETIME));
        let attestation_id = AttestationId::new(Ulid::generate());
        let response = Attestation {
            attestation_id: attestation_id.clone(),
            scope: self.wish.scope.name().to_owned(),
            resource: self.wish.resource.clone(),
            expires_at,
        };
        let issuance = Issuance {
            attestation_id,
            bearer: self.bearer(),
            purpose: self.purpose(),
            factor: self.wish.factor,
            at,
            expires_at,
            iam_attestation_id: said.attestation_id,
        };
        (Command::Issue(issuance), StoredResponse::json(200, &response))
    }

    fn denial(&self, resources: &Resources, code: String) -> Command {
        Command::Refuse(Denial {
            attestation_id: AttestationId::new(Ulid::generate()),
            bearer: self.bearer(),
            purpose: self.purpose(),
            factor: self.wish.factor,
            at: resources.clock.now(),
            code,
        })
    }

    fn bearer(&self) -> Bearer {
        bearer(self.actor)
    }

    fn purpose(&self) -> Purpose {
        Purpose { scope: self.wish.scope, resource: self.wish.resource.clone() }
    }

    /// The event and the answer to its key, in one append.
    async fn record(
        &self,
        resources: &Resources,
        event: &MfaAttestationEvent,
        response: StoredResponse,
    ) -> Result<i64, AppendError> {
        let (MfaAttestationEvent::SteppedUp { attestation_id, .. }
        | MfaAttestationEvent::Refused { attestation_id, .. }
        | MfaAttestationEvent::Consumed { attestation_id, .. }) = event;
        let key = self.keyed.key.key;
        let append = Append {
            tenant_id: self.actor.caller.tenant_id.clone(),
            writes: vec![StreamWrite {
                stream: StreamId::attestation(attestation_id),
                ledger: MfaAttestationEvent::LEDGER,
                expected_version: 0,
                events: vec![new_event(event, resources)?],
            }],
            claim: Some(self.keyed.start_and_complete(self.actor, response)),
            metadata: self.actor.metadata(&resources.instance, None, Some(key)),
        };
        Ok(resources.ledger.append(append).await?.position)
    }
}

/// Who steps up, and who uses it: the two have to be the same.
pub(super) fn bearer(actor: &Actor) -> Bearer {
    Bearer {
        operator_id: actor.caller.operator_id.clone(),
        device_id: actor.caller.device_id.clone(),
        key_thumbprint: actor.caller.jkt.clone(),
    }
}

pub(super) fn report(scope: StepUpScope, outcome: &'static str) {
    metrics::counter!(
        "bff_backoffice_mfa_attestation_total", "scope" => scope.name(), "outcome" => outcome
    )
    .increment(1);
}

fn new_event(event: &MfaAttestationEvent, resources: &Resources) -> Result<NewEvent, AppendError> {
    NewEvent::new(event, None, resources.clock.now())
        .map_err(|_| AppendError::Invalid("an event does not serialise"))
}
