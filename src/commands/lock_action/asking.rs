//! What lock-integration-service is asked, and what its answer means for the ledger.

use chrono::{DateTime, Utc};
use events::{
    DeviceId, KeyCredentialId, OperatorId, TenantId,
    ledger::lock_action::{LockFailure, LockFinding},
};
use http::StatusCode;

use crate::{
    aggregates::lock_action::{Command, Failure, Outcome, Wanted},
    upstream::{
        CallContext, Service, Upstream, UpstreamError, UpstreamProblem,
        ending::Ending,
        lock_integration::{self, Order},
    },
};

/// On whose word an action is done.
#[derive(Clone, Debug)]
pub struct Voucher<'a> {
    pub tenant_id: &'a TenantId,
    pub operator_id: &'a OperatorId,
    pub device_id: &'a DeviceId,
    pub context: CallContext,
}

/// What was said to an order.
pub type Said = Ending<KeyCredentialId>;

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
    let said = Ending::of(answer);
    metrics::counter!(
        "bff_backoffice_lock_action_total",
        "action" => wanted.demand.kind().name(), "outcome" => said.label()
    )
    .increment(1);
    said
}

/// What the ledger is to record of it.
pub fn command(said: &Said, at: DateTime<Utc>) -> Command {
    let found_by = LockFinding::Repeated;
    let outcome = match said {
        Ending::Done(key_credential_id) => Outcome::Done(key_credential_id.clone()),
        Ending::Refused(error) => Outcome::Failed(failure(LockFailure::Refused, error)),
        Ending::NotDone(error) => Outcome::Failed(failure(LockFailure::NotSent, error)),
        Ending::Unknown(_) => return Command::LoseSight { at },
    };
    Command::Settle { outcome, found_by, at }
}

fn failure(reason: LockFailure, error: &UpstreamError) -> Failure {
    let (status, code) = error.said();
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
        let retry_after = std::time::Duration::from_secs(1);
        let unavailable = UpstreamError::Unavailable { service, retry_after };
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
            assert_eq!(Said::of(Err(error)).label(), label, "{text}");
        }
    }

    #[test]
    fn only_what_the_service_refused_is_remembered_in_its_words() {
        let met = |reason, status| remembered(&Failure { reason, status, code: "C".to_owned() });
        for (reason, status, code) in [
            (LockFailure::Refused, Some(409), "C"),
            (LockFailure::Refused, None, ""),
            (LockFailure::NotSent, Some(503), ""),
            (LockFailure::NotApplied, None, ""),
        ] {
            assert_eq!(met(reason, status).said(), (status, code.to_owned()), "{reason:?}");
        }
    }
}
