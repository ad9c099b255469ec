//! How a call can end without an answer, and what a service's own refusal says.

use std::{error::Error, time::Duration};

use http::StatusCode;
use serde_json::Value;

use super::{Service, id_token::IdTokenError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing was sent: its circuit is open, or too many calls are under way.
    #[error("{service} is not called now")]
    Unavailable { service: Service, retry_after: Duration },
    /// A read that took too long, or a mutation whose time was over before it was sent.
    #[error("{service} did not answer in time")]
    Timeout { service: Service },
    /// A mutation that was sent and not answered: it may have happened. The same key may ask again.
    #[error("it is unknown whether {service} did what it was asked")]
    OutcomeUnknown {
        service: Service,
        #[source]
        last: Box<UpstreamError>,
    },
    /// It could not be reached, answered 5xx, or answered what cannot be read.
    #[error("{service} failed")]
    Failed {
        service: Service,
        /// Of the answer, when there was one.
        status: Option<StatusCode>,
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It said no: a 4xx that is meant for the caller.
    #[error("{} refused with status {}", .0.service, .0.status)]
    Problem(Box<UpstreamProblem>),
    /// We could not prove who we are.
    #[error("no identity to call {service} with")]
    Identity {
        service: Service,
        #[source]
        source: IdTokenError,
    },
    /// A value does not fit into a path or a header. Nothing was sent.
    #[error("a value does not fit into a request to {service}")]
    InvalidCall { service: Service },
}

/// A 4xx answer, read tolerantly: wrapped in `error` or not, with or without a code.
#[derive(Clone, Debug)]
pub struct UpstreamProblem {
    pub service: Service,
    pub status: StatusCode,
    /// `MELMASTOON.<DOMAIN>.<CODE>`; `None` when the answer has none of that shape.
    pub code: Option<String>,
    pub title: Option<String>,
    /// By the platform's rule safe to show.
    pub detail: Option<String>,
    /// Field and code.
    pub errors: Vec<(String, String)>,
    pub retry_after: Option<Duration>,
    /// The whole body; `Null` when it was no JSON.
    pub body: Value,
}

impl UpstreamError {
    /// Who did not answer.
    pub const fn service(&self) -> Service {
        match self {
            Self::Problem(problem) => problem.service,
            Self::Unavailable { service, .. }
            | Self::Timeout { service }
            | Self::OutcomeUnknown { service, .. }
            | Self::Failed { service, .. }
            | Self::Identity { service, .. }
            | Self::InvalidCall { service } => *service,
        }
    }

    /// Status and code of the answer, where there was one.
    pub fn said(&self) -> (Option<u16>, String) {
        match self {
            Self::Problem(problem) => {
                (Some(problem.status.as_u16()), problem.code.clone().unwrap_or_default())
            }
            Self::Failed { status, .. } => (status.map(|status| status.as_u16()), String::new()),
            Self::OutcomeUnknown { last, .. } => last.said(),
            _ => (None, String::new()),
        }
    }

    /// The service's refusal, when it is one with this status.
    pub fn problem_with(&self, status: StatusCode) -> Option<&UpstreamProblem> {
        match self {
            Self::Problem(problem) if problem.status == status => Some(problem),
            _ => None,
        }
    }
}

impl UpstreamProblem {
    /// The service read the request and says what stands. Otherwise it turned the request away
    /// unread, and the same request may have another answer later.
    pub fn is_verdict(&self) -> bool {
        let turned_away = [StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let is_readable = self.code.is_some() || self.status == StatusCode::NOT_FOUND;
        is_readable && !turned_away.contains(&self.status) && !self.is_under_way()
    }

    /// An attempt under our own key is or may be still worked on; or the service lost patience with
    /// the request, and nobody says how much of it it had read.
    pub fn is_under_way(&self) -> bool {
        self.status == StatusCode::REQUEST_TIMEOUT || self.is_about_the_key()
    }

    /// A conflict of our own key, not of the matter.
    pub(super) fn is_about_the_key(&self) -> bool {
        self.status == StatusCode::CONFLICT
            && self.code.as_deref().is_some_and(|code| code.contains("IDEMPOTENCY"))
    }

    pub(super) fn read(
        service: Service,
        status: StatusCode,
        retry_after: Option<Duration>,
        body: Value,
    ) -> Self {
        let members = body.get("error").filter(|error| error.is_object()).unwrap_or(&body);
        let text = |name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
        let errors = ["errors", "violations"]
            .iter()
            .find_map(|name| members.get(name).and_then(Value::as_array))
            .into_iter()
            .flatten()
            .filter_map(|error| {
                let field = error.get("field")?.as_str()?;
                let code = error.get("code").and_then(Value::as_str).unwrap_or("INVALID");
                Some((field.to_owned(), code.to_owned()))
            })
            .collect();
        Self {
            service,
            status,
            code: text("code").filter(|code| is_platform_code(code)),
            title: text("title"),
            detail: text("detail"),
            errors,
            retry_after,
            body,
        }
    }
}

fn is_platform_code(code: &str) -> bool {
    code.len() <= 128
        && code.strip_prefix("MELMASTOON.").is_some_and(|rest| {
            rest.contains('.')
                && rest.bytes().all(|byte| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"._".contains(&byte)
                })
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_problem_is_read_wrapped_or_not() {
        let members = json!({
            "code": "MELMASTOON.RESERVATION.OVERBOOKING_BLOCKED",
            "title": "Overbooking blocked",
            "errors": [{"field": "roomId", "code": "TAKEN"}, {"other": 1}],
        });
        for body in [members.clone(), json!({"error": members})] {
            let problem =
                UpstreamProblem::read(Service::Reservation, StatusCode::CONFLICT, None, body);
            assert_eq!(problem.code.as_deref(), Some("MELMASTOON.RESERVATION.OVERBOOKING_BLOCKED"));
            assert_eq!(problem.title.as_deref(), Some("Overbooking blocked"));
            assert_eq!(problem.errors, [("roomId".to_owned(), "TAKEN".to_owned())]);
        }
    }

    #[test]
    fn a_code_of_another_shape_is_not_passed_on() {
        for code in [json!("oops"), json!("MELMASTOON."), json!("MELMASTOON.A.<b>"), json!(5)] {
            let problem = UpstreamProblem::read(
                Service::Billing,
                StatusCode::CONFLICT,
                None,
                json!({"code": code}),
            );
            assert_eq!(problem.code, None);
        }
    }
}
