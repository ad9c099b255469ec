//! Use cases: what an operator or a worker wants done, one file each.

pub mod acknowledge_alert;
pub mod archive_claims;
pub mod close_session;
pub mod complete_actions;
pub mod consume_attestation;
pub mod decide_suggestion;
pub mod device_sync;
pub mod force_log_out;
pub mod forget_desk;
pub mod idempotency;
pub mod keep_sessions;
pub mod keyed_work;
pub mod lock_action;
pub mod mapped_sessions;
pub mod open_lock_actions;
pub mod open_session;
pub mod preferences;
pub mod proxy_mutation;
pub mod reconcile;
pub mod record_activity;
pub mod record_view;
pub mod refresh_session;
pub mod replay_offline;
pub mod report;
pub mod retention;
mod sampling;
mod session_record;
pub mod shortcuts;
pub mod step_up;

use std::sync::Arc;

use cqrs_es::AggregateError;
use events::{Metadata, PropertyId};
use ulid::Ulid;

use self::idempotency::turn::Turns;
use crate::{
    access::Caller,
    clock::SharedClock,
    ledger::{Append, AppendError, ClaimWrite, Ledger, ReadError},
    secrets::Secrets,
    upstream::{CallContext, Upstream},
};

pub use crate::ledger::StoredResponse;

/// What commands work with. Cheap to clone.
#[derive(Clone)]
pub struct Resources {
    pub ledger: Ledger,
    pub upstream: Upstream,
    pub secrets: Arc<Secrets>,
    pub clock: SharedClock,
    /// Names this process in what it writes.
    pub instance: Arc<str>,
    /// Keys under work in this process.
    pub turns: Turns,
}

/// Who wants something done, and in which request.
#[derive(Clone, Debug)]
pub struct Actor {
    pub caller: Caller,
    /// ULID.
    pub request_id: String,
    /// W3C traceparent.
    pub traceparent: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The same request is being worked on; ask again after a second.
    #[error("the same request is in progress")]
    InProgress,
    /// Too many others write to the same stream, or at all.
    #[error("the ledger is too busy")]
    Busy,
    /// The session was revoked while the request was under way.
    #[error("the session has been revoked")]
    Revoked,
    #[error("the ledger cannot be reached")]
    Unavailable(#[source] anyhow::Error),
}

impl From<ReadError> for CommandError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl From<AppendError> for CommandError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } | AppendError::Overloaded => Self::Busy,
            AppendError::ClaimRefused | AppendError::Fenced => Self::InProgress,
            other => Self::Unavailable(other.into()),
        }
    }
}

impl CommandError {
    /// A failure of the framework, by what the store said of its cause.
    fn from_aggregate<E: std::error::Error + Send + Sync + 'static>(
        error: AggregateError<E>,
    ) -> Self {
        match error {
            AggregateError::AggregateConflict => Self::Busy,
            AggregateError::DatabaseConnectionError(source)
            | AggregateError::DeserializationError(source)
            | AggregateError::UnexpectedError(source) => match source.downcast::<AppendError>() {
                Ok(error) => (*error).into(),
                Err(source) => Self::Unavailable(anyhow::anyhow!(source)),
            },
            AggregateError::UserError(rejection) => Self::Unavailable(rejection.into()),
        }
    }
}

impl Actor {
    /// Writes to a claim, and no event.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn write_claim(
        &self,
        resources: &Resources,
        claim: ClaimWrite,
    ) -> Result<(), CommandError> {
        let append = Append {
            tenant_id: self.caller.tenant_id.clone(),
            writes: Vec::new(),
            claim: Some(claim),
            metadata: self.metadata(&resources.instance, None, None),
        };
        resources.ledger.append(append).await?;
        Ok(())
    }

    /// What stands beside an event that this actor causes.
    pub fn metadata(
        &self,
        instance: &str,
        property_id: Option<&PropertyId>,
        key: Option<Ulid>,
    ) -> Metadata {
        let caller = &self.caller;
        Metadata {
            operator_id: Some(caller.operator_id.clone()),
            device_id: Some(caller.device_id.clone()),
            session_id: Some(caller.session_id.clone()),
            property_id: property_id.cloned(),
            role: caller.roles.first().cloned(),
            locale: caller.locale.clone(),
            app_version: Some(caller.app.version.clone()),
            app_platform: Some(caller.app.platform.to_string()),
            network_mode: Some(caller.app.network_mode.to_string()),
            request_id: Some(self.request_id.clone()),
            trace_id: Some(self.traceparent.clone()),
            causation_id: None,
            correlation_id: Some(self.request_id.clone()),
            idempotency_key: key.map(|key| key.to_string()),
            producer_instance: instance.to_owned(),
            sampling_per_mille: 1000,
        }
    }

    /// What an upstream is told of this actor.
    pub fn call_context(&self, property_id: Option<&PropertyId>) -> CallContext {
        let caller = &self.caller;
        CallContext {
            operator_id: Some(caller.operator_id.clone()),
            device_id: Some(caller.device_id.clone()),
            property_id: property_id.cloned(),
            roles: caller.roles.clone(),
            request_id: self.request_id.clone(),
            traceparent: self.traceparent.clone(),
            locale: caller.locale.clone(),
        }
    }
}
