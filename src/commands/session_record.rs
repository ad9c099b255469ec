//! Writing down what happens in a session, by its rules, however many write at once.

use cqrs_es::{AggregateError, CqrsFramework};
use events::{Metadata, StreamId};

use super::{CommandError, Resources};
use crate::{
    access::session::{Due, Session},
    aggregates::{
        OperatorSession,
        operator_session::{Command, Rejection},
    },
    ledger::{ClaimWrite, event_store::TenantStore},
};

/// How often a command is decided anew after losing a race for its stream.
const ATTEMPTS_MAX: u32 = 4;

/// In what request something happened.
#[derive(Clone, Debug, Default)]
pub struct Occasion {
    /// ULID; empty where nobody asked.
    pub request_id: String,
    /// W3C traceparent; empty where nobody asked.
    pub traceparent: String,
    /// The upstream event it follows from.
    pub causation_id: Option<String>,
    pub idempotency_key: Option<String>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    Done,
    /// The rules do not let it happen; nothing was written.
    Rejected(Rejection),
}

/// Decides and records `command` in the stream of `session`; a claim goes with it.
///
/// # Errors
/// See [`CommandError`]; `InProgress` when the claim's key is taken.
pub async fn record(
    resources: &Resources,
    session: &Session,
    occasion: &Occasion,
    (command, claim): (Command, Option<ClaimWrite>),
) -> Result<Recorded, CommandError> {
    let stream = StreamId::session(&session.session_id);
    for _ in 0..ATTEMPTS_MAX {
        let store = TenantStore::<OperatorSession>::new(
            &resources.ledger,
            &resources.clock,
            session.tenant_id.clone(),
            metadata(resources, session, occasion),
        );
        let store = match &claim {
            Some(claim) => store.with_claim(claim.clone()),
            None => store,
        };
        let done =
            CqrsFramework::new(store, vec![], ()).execute(stream.as_str(), command.clone()).await;
        match done {
            Ok(()) => return Ok(Recorded::Done),
            Err(AggregateError::AggregateConflict) => (),
            Err(AggregateError::UserError(rejection)) => return Ok(Recorded::Rejected(rejection)),
            Err(error) => return Err(CommandError::from_aggregate(error)),
        }
    }
    Err(CommandError::Busy)
}

/// Decides and records `command` for a session that the session tier does not have any more. Who
/// loses the race for its stream leaves it to whoever won, who has ended it.
///
/// # Errors
/// See [`CommandError`].
pub async fn record_lost(
    resources: &Resources,
    lost: &Due,
    occasion: &Occasion,
    command: Command,
) -> Result<(), CommandError> {
    let metadata = Metadata {
        device_id: Some(lost.device_id.clone()),
        session_id: Some(lost.session_id.clone()),
        causation_id: occasion.causation_id.clone(),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    };
    let store = TenantStore::<OperatorSession>::new(
        &resources.ledger,
        &resources.clock,
        lost.tenant_id.clone(),
        metadata,
    );
    let stream = StreamId::session(&lost.session_id);
    match CqrsFramework::new(store, vec![], ()).execute(stream.as_str(), command).await {
        Ok(()) | Err(AggregateError::UserError(_) | AggregateError::AggregateConflict) => Ok(()),
        Err(error) => Err(CommandError::from_aggregate(error)),
    }
}

fn metadata(resources: &Resources, session: &Session, occasion: &Occasion) -> Metadata {
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Metadata {
        operator_id: Some(session.operator_id.clone()),
        device_id: Some(session.device_id.clone()),
        session_id: Some(session.session_id.clone()),
        role: session.roles.first().cloned(),
        locale: session.locale.clone(),
        app_version: Some(session.app.version.clone()),
        app_platform: Some(session.app.platform.to_string()),
        network_mode: Some(session.app.network_mode.to_string()),
        request_id: said(&occasion.request_id),
        trace_id: said(&occasion.traceparent),
        causation_id: occasion.causation_id.clone(),
        correlation_id: said(&occasion.request_id),
        idempotency_key: occasion.idempotency_key.clone(),
        producer_instance: resources.instance.to_string(),
        sampling_per_mille: 1000,
        ..Metadata::default()
    }
}
