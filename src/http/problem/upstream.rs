//! What a client is told when a service we called did not answer, or said no.

use std::time::Duration;

use http::StatusCode;

use super::{FieldError, Passed, Problem};
use crate::{
    http::codes::Code,
    upstream::{UpstreamError, UpstreamProblem},
};

/// When to ask again about a mutation whose outcome is unknown.
const OUTCOME_RETRY_AFTER: Duration = Duration::from_secs(2);

impl From<UpstreamError> for Problem {
    fn from(error: UpstreamError) -> Self {
        Self::from(&error).cause(error)
    }
}

/// Without its cause.
impl From<&UpstreamError> for Problem {
    fn from(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Problem(problem) => refused(problem),
            UpstreamError::Unavailable { retry_after, .. } => {
                Self::new(Code::UpstreamUnavailable).retry_after(*retry_after)
            }
            UpstreamError::Timeout { .. } => Self::new(Code::UpstreamTimeout),
            UpstreamError::OutcomeUnknown { .. } => {
                Self::new(Code::OutcomeUnknown).retry_after(OUTCOME_RETRY_AFTER)
            }
            UpstreamError::Failed { .. } => Self::new(Code::UpstreamFailed),
            UpstreamError::Identity { .. } => Self::new(Code::DependencyUnavailable),
            UpstreamError::InvalidCall { .. } => Self::new(Code::ResourceNotFound),
        }
    }
}

fn refused(problem: &UpstreamProblem) -> Problem {
    // A status without a code of the platform's says nothing we could stand for, but for "not
    // there".
    let Some(code) = &problem.code else {
        let code = if problem.status == StatusCode::NOT_FOUND {
            Code::ResourceNotFound
        } else {
            Code::UpstreamFailed
        };
        return Problem::new(code);
    };
    let mut passed = Problem::new(Code::UpstreamFailed);
    passed.detail.clone_from(&problem.detail);
    passed.retry_after = problem.retry_after;
    passed.errors = problem
        .errors
        .iter()
        .map(|(field, code)| FieldError { field: field.clone(), code: code.clone() })
        .collect();
    passed.passed = Some(Box::new(Passed {
        source: problem.service.name(),
        status: problem.status,
        code: code.clone(),
        title: problem.title.clone(),
    }));
    passed
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::{Value, json};

    use super::*;
    use crate::{http::request_context::RequestContext, upstream::Service};

    #[test]
    fn an_upstreams_refusal_keeps_its_code_in_our_envelope() {
        let error = refusal(Some("MELMASTOON.HOUSEKEEPING.ROOM_STATE_CONFLICT"), 422);

        let problem = Problem::from(error);
        let document = json!(problem.document(&RequestContext::new(&HeaderMap::new(), "/")));

        assert_eq!(problem.status().as_u16(), 422);
        assert_eq!(document["code"], "MELMASTOON.HOUSEKEEPING.ROOM_STATE_CONFLICT");
        assert_eq!(
            document["type"],
            "https://errors.melmastoon.ghasi.io/housekeeping/room-state-conflict"
        );
        assert_eq!(document["source"], "housekeeping-service");
        assert_eq!(document["userMessage"], "This action was refused.");
    }

    #[test]
    fn a_refusal_without_a_code_is_a_failure_unless_nothing_is_there() {
        assert_eq!(Problem::from(refusal(None, 404)).status().as_u16(), 404);
        assert_eq!(Problem::from(refusal(None, 409)).status().as_u16(), 502);
    }

    #[test]
    fn an_unknown_outcome_is_said_to_be_one() {
        let service = Service::Billing;
        let last = Box::new(UpstreamError::Timeout { service });
        let problem = Problem::from(UpstreamError::OutcomeUnknown { service, last });
        assert_eq!(problem.code, Code::OutcomeUnknown);
        assert!(problem.retry_after.is_some());
    }

    fn refusal(code: Option<&str>, status: u16) -> UpstreamError {
        UpstreamError::Problem(Box::new(UpstreamProblem {
            service: Service::Housekeeping,
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
            title: None,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            body: Value::Null,
        }))
    }
}
