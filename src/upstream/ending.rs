//! What the end of a call says about a mutation: done, refused, not done, or nobody knows.

use std::time::Duration;

use super::{Answer, Service, UpstreamError};

/// When a mutation may be tried again that was not sent for a reason that passes.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How a mutation ended.
#[derive(Debug)]
pub enum Ending {
    Done(Answer),
    /// The service read it and said no: the same request gets the same answer.
    Refused(UpstreamError),
    /// Nothing was sent, or it was turned away unread: the same request may go better later.
    NotDone(UpstreamError),
    /// It was sent, and whether it was done is unknown. Only the same upstream key finds out.
    Unknown(UpstreamError),
}

/// What `result` of [`super::Upstream::call`] says about the mutation that `service` was called for.
pub fn of_mutation(service: Service, result: Result<Answer, UpstreamError>) -> Ending {
    let error = match result {
        Ok(answer) if answer.status.is_success() => return Ending::Done(answer),
        // A redirect is followed by nobody, and says nothing.
        Ok(answer) => {
            let status = Some(answer.status);
            return Ending::Unknown(UpstreamError::Failed { service, status, source: None });
        }
        Err(error) => error,
    };
    match error {
        UpstreamError::Problem(problem) if problem.is_verdict() => {
            Ending::Refused(UpstreamError::Problem(problem))
        }
        UpstreamError::Problem(problem) if problem.is_under_way() => {
            let last = Box::new(UpstreamError::Problem(problem));
            Ending::Unknown(UpstreamError::OutcomeUnknown { service, last })
        }
        // Its time was over before it was sent, or no connection could be made.
        UpstreamError::Timeout { .. } | UpstreamError::Failed { status: None, .. } => {
            Ending::NotDone(UpstreamError::Unavailable { service, retry_after: RETRY_AFTER })
        }
        UpstreamError::Failed { .. } | UpstreamError::OutcomeUnknown { .. } => {
            Ending::Unknown(error)
        }
        UpstreamError::Problem(_)
        | UpstreamError::Unavailable { .. }
        | UpstreamError::Identity { .. }
        | UpstreamError::InvalidCall { .. } => Ending::NotDone(error),
    }
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
        assert_eq!(ending(Ok(answer(StatusCode::CREATED))), "done");
        assert_eq!(ending(Ok(answer(StatusCode::FOUND))), "unknown");
    }

    #[test]
    fn only_what_the_service_read_is_refused() {
        for (status, code, expected) in [
            (409, Some("MELMASTOON.BILLING.FOLIO_CLOSED"), "refused"),
            (404, None, "refused"),
            (403, None, "not done"),
            (429, Some("MELMASTOON.GENERAL.RATE_LIMITED"), "not done"),
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
        assert_eq!(ending(Err(failed(None))), "not done");
        assert_eq!(ending(Err(timeout())), "not done");
        assert_eq!(ending(Err(lost)), "unknown");
    }

    fn ending(result: Result<Answer, UpstreamError>) -> &'static str {
        match of_mutation(SERVICE, result) {
            Ending::Done(_) => "done",
            Ending::Refused(_) => "refused",
            Ending::NotDone(_) => "not done",
            Ending::Unknown(_) => "unknown",
        }
    }
}
