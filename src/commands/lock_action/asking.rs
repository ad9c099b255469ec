//! What lock-integration-service is asked, and what its answer means for the ledger.

use std::time::Duration;

use events::{
    DeviceId, KeyCredentialId, OperatorId, TenantId,
    ledger::lock_action::{LockFailure, LockFinding},
};
use http::StatusCode;

use super::LockActionError;
use crate::{
    aggregates::lock_action::{Command, Failure, Outcome, Wanted},
    clock::SharedClock,
    commands::CommandError,
    upstream::{
        CallContext, Service, Upstream, UpstreamError, UpstreamProblem,
        lock_integration::{self, Order},
    },
};

/// When an action may be tried again that was not sent for a reason that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// On whose word an action is done.
#[derive(Clone, Debug)]
pub struct Voucher<'a> {
    pub tenant_id: &'a TenantId,
    pub operator_id: &'a OperatorId,
    pub device_id: &'a DeviceId,
    pub context: CallContext,
}

/// What was said to an order.
#[derive(Debug)]
pub enum Said {
    Done(KeyCredentialId),
    /// It said no, for good.
    Refused(UpstreamError),
    /// It was certainly not done, and may be asked for again.
    NotSent(UpstreamError),
    /// It may have been done.
    Unknown(UpstreamError),
}

/// Asks once. The key makes repetitions harmless.
pub async fn ask(upstream: &Upstream, wanted: &Wanted, voucher: &Voucher<'_>) -> Said {
    let order = Order {
        demand: &wanted.demand,
        operator_id: voucher.operator_id,
        device_id: voucher.device_id,
        idempotency_key: &wanted.upstream_key,
    };
    let answer =
        lock_integration::carry_out(upstream, voucher.tenant_id, &voucher.context, order).await;
    let said = match answer {
        Ok(key_credential_id) => Said::Done(key_credential_id),
        Err(error) => judged(error),
    };
    metrics::counter!(
        "bff_backoffice_lock_action_total",
        "action" => wanted.demand.kind().name(), "outcome" => said.label()
    )
    .increment(1);
    said
}

fn judged(error: UpstreamError) -> Said {
    let service = Service::LockIntegration;
    match &error {
        UpstreamError::Problem(problem) => match problem.status {
            // Turned away unread.
            StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Said::NotSent(error),
            StatusCode::REQUEST_TIMEOUT => Said::Unknown(lost(error)),
            StatusCode::CONFLICT if is_about_the_key(problem) => Said::Unknown(lost(error)),
            StatusCode::NOT_FOUND => Said::Refused(error),
            // Not the service's own word.
            _ if problem.code.is_none() => Said::NotSent(error),
            _ => Said::Refused(error),
        },
        // Its time was over before it was sent, or there was no connection.
        UpstreamError::Timeout { .. } | UpstreamError::Failed { status: None, .. } => {
            Said::NotSent(UpstreamError::Unavailable { service, retry_after: RETRY_AFTER })
        }
        UpstreamError::Unavailable { .. }
        | UpstreamError::Identity { .. }
        | UpstreamError::InvalidCall { .. }
        | UpstreamError::Failed { status: Some(StatusCode::UNAUTHORIZED), .. } => {
            Said::NotSent(error)
        }
        UpstreamError::OutcomeUnknown { .. } | UpstreamError::Failed { .. } => Said::Unknown(error),
    }
}

fn lost(last: UpstreamError) -> UpstreamError {
    let last = Box::new(last);
    UpstreamError::OutcomeUnknown { service: Service::LockIntegration, last }
}

/// Another attempt under the same key is under way.
fn is_about_the_key(problem: &UpstreamProblem) -> bool {
    problem.code.as_deref().is_some_and(|code| code.contains("IDEMPOTENCY"))
}

impl Said {
    /// What the ledger is to record of it.
    pub fn command(&self, clock: &SharedClock) -> Command {
        let at = clock.now();
        let found_by = LockFinding::Repeated;
        let outcome = match self {
            Self::Done(key_credential_id) => Outcome::Done(key_credential_id.clone()),
            Self::Refused(error) => Outcome::Failed(failure(LockFailure::Refused, error)),
            Self::NotSent(error) => Outcome::Failed(failure(LockFailure::NotSent, error)),
            Self::Unknown(_) => return Command::LoseSight { at },
        };
        Command::Settle { outcome, found_by, at }
    }

    /// What was not sent now may have been sent by an earlier attempt.
    #[must_use]
    pub fn again(self) -> Self {
        match self {
            Self::NotSent(error) => Self::Unknown(lost(error)),
            other => other,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "completed",
            Self::Refused(_) => "refused",
            Self::NotSent(_) => "not_sent",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl From<Said> for LockActionError {
    /// Why there is no answer yet.
    fn from(said: Said) -> Self {
        match said {
            Said::Done(_) => CommandError::InProgress.into(),
            Said::Refused(error) | Said::NotSent(error) | Said::Unknown(error) => error.into(),
        }
    }
}

fn failure(reason: LockFailure, error: &UpstreamError) -> Failure {
    let (status, code) = match error {
        UpstreamError::Problem(problem) => {
            (Some(problem.status.as_u16()), problem.code.clone().unwrap_or_default())
        }
        UpstreamError::Failed { status, .. } => (status.map(|it| it.as_u16()), String::new()),
        _ => (None, String::new()),
    };
    Failure { reason, status, code }
}

/// A recorded failure as it was met, for the answer that is made from it.
pub fn remembered(failure: &Failure) -> UpstreamError {
    let service = Service::LockIntegration;
    let status = failure.status.and_then(|status| StatusCode::from_u16(status).ok());
    match (failure.reason, status) {
        (LockFailure::Refused, Some(status)) => UpstreamError::Problem(Box::new(UpstreamProblem {
            service,
            status,
            code: Some(failure.code.clone()).filter(|code| !code.is_empty()),
            title: None,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            body: serde_json::Value::Null,
        })),
        _ => UpstreamError::Failed { service, status, source: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_did_not_leave_is_called_not_sent() {
        let service = Service::LockIntegration;
        let failed = |status| UpstreamError::Failed { service, status, source: None };
        let refused = |status, code: &str| {
            remembered(&Failure {
                reason: LockFailure::Refused,
                status: Some(status),
                code: code.to_owned(),
            })
        };
        let unavailable = UpstreamError::Unavailable { service, retry_after: RETRY_AFTER };
        for (error, label) in [
            (unavailable, "not_sent"),
            (failed(None), "not_sent"),
            (failed(Some(StatusCode::UNAUTHORIZED)), "not_sent"),
            (failed(Some(StatusCode::BAD_GATEWAY)), "unknown"),
            (failed(Some(StatusCode::OK)), "unknown"),
            (refused(409, "MELMASTOON.LOCK.CREDENTIAL_REVOKED"), "refused"),
            (refused(409, "MELMASTOON.GENERAL.IDEMPOTENCY_IN_PROGRESS"), "unknown"),
            (refused(404, ""), "refused"),
            (refused(408, ""), "unknown"),
            (refused(429, ""), "not_sent"),
            (refused(403, ""), "not_sent"),
        ] {
            let text = format!("{error:?}");
            assert_eq!(judged(error).label(), label, "{text}");
        }
    }
}
