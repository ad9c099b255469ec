//! An action that needs a step-up takes the attestation along: its consumption is a second stream in
//! the action's first append, so that both happen or neither.
//!
//! Of two actions with one attestation, one finds its stream at version 1; the other one's append is
//! a conflict, and asking again says `Used`. A repetition of the action under its own key finds its
//! own consumption and goes on, whether or not the effect had happened. In a command:
//!
//! ```ignore
//! if let Some(known) = keyed.known(resources).await? { … }            // a repetition: answer it
//! let demand = Demand { presented, purpose, key: keyed.key.key };
//! let attested = consume_attestation::check(&ledger, &clock, actor, &demand).await?;
//! let store = TenantStore::new(…).with_claim(keyed.start(actor)).with_writes(attested.writes());
//! ```

use events::{
    AttestationId, LedgerEvent, StreamId,
    ledger::mfa_attestation::{MfaAttestationEvent, StepUpFactor},
};
use ulid::Ulid;

use super::{Actor, CommandError, step_up};
use crate::{
    aggregates::{
        MfaAttestation,
        mfa_attestation::{Command, Issuance, Purpose, Rejection, Use},
    },
    clock::SharedClock,
    ledger::{Ledger, NewEvent, StreamWrite},
};

/// What an action has to show.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// `X-Mfa-Attestation` as the client sent it.
    pub presented: Option<&'a str>,
    /// What the action does, and to which object.
    pub purpose: Purpose,
    /// The action's `X-Idempotency-Key`.
    pub key: Ulid,
}

/// A step-up that is good for the action.
#[derive(Clone, Debug)]
pub struct Attested {
    pub attestation_id: AttestationId,
    pub factor: StepUpFactor,
    /// iam-service's own id of it, for the upstream that does the action.
    pub iam_attestation_id: Option<String>,
    write: Option<StreamWrite>,
}

/// Why an action may not be done.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    #[error("the action needs an attestation")]
    Required,
    /// Nobody learns whether it exists and belongs to somebody else.
    #[error("there is no such attestation")]
    Invalid,
    #[error("the attestation is too old")]
    Expired,
    #[error("the attestation was used for another action")]
    Used,
    #[error("the attestation is for something else")]
    ScopeMismatch,
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl Attested {
    /// What the action's first append has to carry, together with its claim. Nothing when the same
    /// key has consumed the attestation before.
    pub fn writes(&self) -> Vec<StreamWrite> {
        self.write.clone().into_iter().collect()
    }
}

/// Looks the attestation up, in the caller's tenant, and judges it. Nothing is consumed before the
/// append that carries [`Attested::writes`]; when that is a conflict, ask again.
///
/// # Errors
/// See [`AttestationError`].
pub async fn check(
    ledger: &Ledger,
    clock: &SharedClock,
    actor: &Actor,
    demand: &Demand<'_>,
) -> Result<Attested, AttestationError> {
    let judged = judge(ledger, clock, actor, demand).await;
    step_up::report(demand.purpose.scope, outcome(&judged));
    judged
}

async fn judge(
    ledger: &Ledger,
    clock: &SharedClock,
    actor: &Actor,
    demand: &Demand<'_>,
) -> Result<Attested, AttestationError> {
    let presented = demand.presented.ok_or(AttestationError::Required)?;
    let id: AttestationId = presented.parse().map_err(|_| AttestationError::Invalid)?;
    let stream = StreamId::attestation(&id);
    let tenant_id = &actor.caller.tenant_id;
    let recorded = ledger.read_stream::<MfaAttestationEvent>(tenant_id, &stream).await;
    let mut attestation = MfaAttestation::default();
    let mut version = 0;
    for recorded in recorded.map_err(CommandError::from)? {
        version = recorded.stream_version;
        cqrs_es::Aggregate::apply(&mut attestation, recorded.event);
    }
    let at = clock.now();
    let event = attestation.decide(Command::Consume(Use {
        bearer: step_up::bearer(actor),
        purpose: demand.purpose.clone(),
        key: demand.key.to_string(),
        at,
    }))?;
    let write = event
        .map(|event| NewEvent::new(&event, None, at))
        .transpose()
        .map_err(anyhow::Error::from)
        .map_err(CommandError::Unavailable)?
        .map(|event| StreamWrite {
            stream,
            ledger: MfaAttestationEvent::LEDGER,
            expected_version: version,
            events: vec![event],
        });
    let Issuance { attestation_id, factor, iam_attestation_id, .. } =
        attestation.issuance().cloned().ok_or(AttestationError::Invalid)?;
    Ok(Attested { attestation_id, factor, iam_attestation_id, write })
}

impl From<Rejection> for AttestationError {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Unknown | Rejection::AlreadyDecided => Self::Invalid,
            Rejection::ScopeMismatch => Self::ScopeMismatch,
            Rejection::Used => Self::Used,
            Rejection::Expired => Self::Expired,
        }
    }
}

impl AttestationError {
    /// As the client is told and the ledger has it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Required => "MELMASTOON.AUTH.MFA_REQUIRED",
            Self::Invalid => "MELMASTOON.AUTH.MFA_INVALID",
            Self::Expired => "MELMASTOON.AUTH.MFA_EXPIRED",
            Self::Used => "MELMASTOON.AUTH.MFA_USED",
            Self::ScopeMismatch => "MELMASTOON.AUTH.MFA_SCOPE_MISMATCH",
            Self::Command(_) => "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE",
        }
    }
}

/// For the metric.
fn outcome(judged: &Result<Attested, AttestationError>) -> &'static str {
    match judged {
        Ok(Attested { write: Some(_), .. }) => "accepted",
        Ok(Attested { write: None, .. }) => "resumed",
        Err(AttestationError::Required) => "missing",
        Err(AttestationError::Invalid) => "invalid",
        Err(AttestationError::Expired) => "expired",
        Err(AttestationError::Used) => "used",
        Err(AttestationError::ScopeMismatch) => "scope_mismatch",
        Err(AttestationError::Command(_)) => "failed",
    }
}
