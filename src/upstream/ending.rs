//! What the end of a call says about a mutation: done, refused, not done, or nobody knows.

use std::time::Duration;

use http::StatusCode;

use super::{Answer, Service, UpstreamError};

/// When a mutation may be tried again that was not sent for a reason that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a mutation ended.
#[derive(Debug)]
pub enum Ending<T = Answer> {
    Done(T),
    /// The service read it and said no: the same request gets the same answer.
    Refused(UpstreamError),
    /// Nothing was sent, or it was turned away unread: the same request may go better later.
    NotDone(UpstreamError),
    /// It was sent, and whether it was done is unknown. Only the same upstream key finds out.
    Unknown(UpstreamError),
}

impl<T> Ending<T> {
    /// What `result` of the call says about the mutation.
    pub fn of(result: Result<T, UpstreamError>) -> Self {
        let error = match result {
            Ok(answer) => return Self::Done(answer),
            Err(error) => error,
        };
        let service = error.service();
        match error {
            UpstreamError::Problem(problem) if problem.is_verdict() => {
                Self::Refused(UpstreamError::Problem(problem))
            }
            UpstreamError::Problem(problem) if problem.is_under_way() => {
                Self::Unknown(lost(UpstreamError::Problem(problem)))
            }
            // Its time was over before it was sent, or no connection could be made.
            UpstreamError::Timeout { .. } | UpstreamError::Failed { status: None, .. } => {
                Self::NotDone(UpstreamError::Unavailable { service, retry_after: RETRY_AFTER })
            }
            UpstreamError::Problem(_)
            | UpstreamError::Unavailable { .. }
            | UpstreamError::Identity { .. }
            | UpstreamError::InvalidCall { .. }
            // It did not accept who we are.
            | UpstreamError::Failed { status: Some(StatusCode::UNAUTHORIZED), .. } => {
                Self::NotDone(error)
            }
            UpstreamError::Failed { .. } | UpstreamError::OutcomeUnknown { .. } => {
                Self::Unknown(error)
            }
        }
    }

    /// The same where an earlier attempt may have been sent: what was not done now may have been
    /// done then.
    #[must_use]
    pub fn again(self) -> Self {
        match self {
            Self::NotDone(error) => Self::Unknown(lost(error)),
            other => other,
        }
    }

    /// For metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Done(_) => "completed",
            Self::Refused(_) => "refused",
            Self::NotDone(_) => "not_sent",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What `result` of [`super::Upstream::call`] says about the mutation that `service` was called for.
pub fn of_mutation(service: Service, result: Result<Answer, UpstreamError>) -> Ending {
    Ending::of(result.and_then(|answer| match answer.status {
        status if status.is_success() => Ok(answer),
        // A redirect is followed by nobody, and says nothing.
        status => Err(UpstreamError::Failed { service, status: Some(status), source: None }),
    }))
}

/// The same of an attempt that may not have been the first: it is unknown what became of it.
pub fn lost(last: UpstreamError) -> UpstreamError {
    UpstreamError::OutcomeUnknown { service: last.service(), last: Box::new(last) }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::Value;

    use super::*;
    use crate::upstream::UpstreamProblem;

    const SERVICE: Service = Service::Billing;

    #[test]
    fn an_answer_is_done_and_a_redirect_is_not() {
        let answer = |status| Answer { status, etag: None, body: Value::Null };
        assert_eq!(ending(Ok(answer(StatusCode::CREATED))), "completed");
        assert_eq!(ending(Ok(answer(StatusCode::FOUND))), "unknown");
    }

    #[test]
    fn only_what_the_service_read_is_refused() {
        for (status, code, expected) in [
            (409, Some("MELMASTOON.BILLING.FOLIO_CLOSED"), "refused"),
            (404, None, "refused"),
            (403, None, "not_sent"),
            (429, Some("MELMASTOON.GENERAL.RATE_LIMITED"), "not_sent"),
            (425, None, "not_sent"),
            (408, None, "unknown"),
            (409, Some("MELMASTOON.LOCK.CREDENTIAL_REVOKED"), "refused"),
            (409, Some("MELMASTOON.GENERAL.IDEMPOTENCY_IN_PROGRESS"), "unknown"),
        ] {
            let problem = UpstreamProblem {
                service: SERVICE,
                status: StatusCode::from_u16(status).unwrap(),
                code: code.map(str::to_owned),
                title: None,
                detail: None,
                errors: Vec::new(),
                retry_after: None,
                body: Value::Null,
            };
            let ending = ending(Err(UpstreamError::Problem(Box::new(problem))));
            assert_eq!(ending, expected, "{status} {code:?}");
        }
    }

    #[test]
    fn a_failure_is_unknown_unless_nothing_was_sent() {
        let failed = |status| UpstreamError::Failed { service: SERVICE, status, source: None };
        let timeout = || UpstreamError::Timeout { service: SERVICE };
        let lost = UpstreamError::OutcomeUnknown { service: SERVICE, last: Box::new(timeout()) };
        assert_eq!(ending(Err(failed(Some(StatusCode::BAD_GATEWAY)))), "unknown");
        assert_eq!(ending(Err(failed(Some(StatusCode::OK)))), "unknown");
        assert_eq!(ending(Err(failed(Some(StatusCode::UNAUTHORIZED)))), "not_sent");
        assert_eq!(ending(Err(failed(None))), "not_sent");
        assert_eq!(ending(Err(timeout())), "not_sent");
        assert_eq!(ending(Err(lost)), "unknown");
    }

    #[test]
    fn what_is_not_done_now_may_have_been_done_before() {
        let unavailable =
            || UpstreamError::Unavailable { service: SERVICE, retry_after: RETRY_AFTER };
        for (error, expected) in [
            (unavailable(), "unknown"),
            (UpstreamError::Failed { service: SERVICE, status: None, source: None }, "unknown"),
            (UpstreamError::InvalidCall { service: SERVICE }, "unknown"),
        ] {
            let text = format!("{error:?}");
            let ending = of_mutation(SERVICE, Err(error)).again();
            assert_eq!(ending.label(), expected, "{text}");
            let is_lost = matches!(ending, Ending::Unknown(UpstreamError::OutcomeUnknown { .. }));
            assert!(is_lost, "{text}");
        }
    }

    fn ending(result: Result<Answer, UpstreamError>) -> &'static str {
        of_mutation(SERVICE, result).label()
    }
}
