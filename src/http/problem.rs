//! The one shape of an error: `application/problem+json` with a code, a localised message and the
//! request's names.

mod upstream;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    codes::{Code, domain_and_slug},
    messages,
    request_context::RequestContext,
};
use crate::access::version_floor::VersionBlocked;

pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error on its way to the client. As a response it is a mere marker: the outermost layer, which
/// knows the request, writes the document and logs the cause.
#[derive(Debug)]
pub struct Problem {
    pub code: Code,
    /// Safe to show, in English; never from a cause.
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
    pub retry_after: Option<Duration>,
    /// `WWW-Authenticate`, `DPoP-Nonce`, `Allow` …
    pub headers: Box<HeaderMap>,
    /// What a desktop that is too old needs to know.
    pub upgrade: Option<Box<Upgrade>>,
    /// An upstream's own refusal, which replaces code and status.
    pub passed: Option<Box<Passed>>,
    /// Logged once with its whole chain, never shown.
    pub cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// What an upstream refused with.
#[derive(Clone, Debug)]
pub struct Passed {
    /// `reservation-service` …
    pub source: &'static str,
    pub status: StatusCode,
    /// `MELMASTOON.<DOMAIN>.<CODE>`.
    pub code: String,
    pub title: Option<String>,
}

/// Which version a desktop has to have, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upgrade {
    /// The oldest version that is let in on this platform.
    pub version_floor: String,
    pub update_url: Option<String>,
}

/// What is wrong with one member of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Path of the member, as in `items[3].amountMicro`; a header's or parameter's name.
    pub field: String,
    /// `REQUIRED`, `TOO_SHORT`, `TOO_LONG`, `TOO_SMALL`, `TOO_LARGE`, `INVALID` or one of the
    /// route's own.
    pub code: String,
}

/// The document as clients see it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub struct Document {
    /// `https://errors.melmastoon.ghasi.io/<domain>/<code>`.
    #[serde(rename = "type")]
    pub type_: String,
    pub title: String,
    pub status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The path that was asked for.
    pub instance: String,
    /// `MELMASTOON.<DOMAIN>.<CODE>`.
    pub code: String,
    /// For the operator, in the language of `Content-Language`.
    pub user_message: String,
    /// `errors.<domain>.<code>`.
    pub user_message_key: String,
    pub errors: Vec<FieldError>,
    /// W3C trace id, 32 hexadecimal digits.
    pub trace_id: String,
    /// ULID.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retriable: bool,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// The upstream service whose refusal this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// With `SYNC.VERSION_BLOCKED`: the oldest version that is let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_floor: Option<String>,
    /// With `SYNC.VERSION_BLOCKED`: where newer versions are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_url: Option<String>,
}

impl From<&VersionBlocked> for Upgrade {
    fn from(blocked: &VersionBlocked) -> Self {
        Self {
            version_floor: blocked.floor.to_string(),
            update_url: blocked.update_url.as_ref().map(ToString::to_string),
        }
    }
}

/// Carries a problem through the layers.
#[derive(Clone)]
pub(super) struct Marker(pub(super) Arc<Problem>);

impl Problem {
    pub fn new(code: Code) -> Self {
        Self {
            code,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            headers: Box::default(),
            upgrade: None,
            passed: None,
            cause: None,
        }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn field(mut self, field: impl Into<String>, code: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), code: code.into() });
        self
    }

    /// Rounded up to seconds.
    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Added to those that are there: two challenges are two values.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    #[must_use]
    pub fn upgrade(mut self, upgrade: Upgrade) -> Self {
        self.upgrade = Some(Box::new(upgrade));
        self
    }

    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.passed.as_ref().map_or_else(|| self.code.status(), |passed| passed.status)
    }

    /// `MELMASTOON.<DOMAIN>.<CODE>`.
    pub fn full_code(&self) -> String {
        self.passed.as_ref().map_or_else(|| self.code.full(), |passed| passed.code.clone())
    }

    /// The document for one request.
    pub fn document(&self, context: &RequestContext) -> Document {
        let row = self.code.row();
        let code = self.full_code();
        let name = code.strip_prefix("MELMASTOON.").unwrap_or(&code);
        let (domain, slug) = domain_and_slug(name);
        let status = self.status();
        let (title, user_message_key, retriable) = match &self.passed {
            None => (row.title.to_owned(), messages::key(self.code), row.retriable),
            Some(passed) => (
                passed.title.clone().unwrap_or_else(|| "Refused by an upstream service".to_owned()),
                messages::UPSTREAM_REFUSED.to_owned(),
                status == StatusCode::TOO_MANY_REQUESTS,
            ),
        };
        Document {
            type_: format!("https://errors.melmastoon.ghasi.io/{domain}/{slug}"),
            title,
            status: status.as_u16(),
            detail: self.detail.clone(),
            instance: context.path().to_owned(),
            user_message: messages::text(context.language(), &user_message_key),
            user_message_key,
            errors: self.errors.clone(),
            trace_id: context.trace_id().to_owned(),
            request_id: context.request_id().to_owned(),
            retriable,
            retry_after: self.retry_after.map(whole_seconds),
            source: self.passed.as_ref().map(|passed| passed.source.to_owned()),
            runbook: (self.code == Code::ResourceNotFound && self.passed.is_none())
                .then(|| "general/resource-not-found".to_owned()),
            version_floor: self.upgrade.as_ref().map(|it| it.version_floor.clone()),
            update_url: self.upgrade.as_ref().and_then(|it| it.update_url.clone()),
            code,
        }
    }

    /// The whole response for one request: for the outermost layer, and for answers that are kept.
    pub fn render(&self, context: &RequestContext) -> Response {
        let document = self.document(context);
        let bytes = serde_json::to_vec(&document).expect("strings and numbers always serialise");
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.extend(HeaderMap::clone(&self.headers));
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        let language = HeaderValue::from_static(context.language().tag());
        headers.insert(header::CONTENT_LANGUAGE, language);
        if let Some(retry_after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(retry_after).into());
        }
        response
    }

    /// Logs a failure of ours with its whole chain; a refusal is no failure.
    pub(super) fn log(&self, context: &RequestContext) {
        let status = self.status().as_u16();
        let (request_id, code) = (context.request_id(), self.full_code());
        let route = context.route();
        let causes = self.cause.as_deref().map(|cause| Chain(cause).to_string());
        let causes = causes.as_deref().unwrap_or_default();
        if 500 <= status {
            tracing::error!(request_id, code, status, route, causes, "request failed");
        } else if self.cause.is_some() {
            tracing::info!(request_id, code, status, route, causes, "request refused");
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(Marker(Arc::new(self)));
        response
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self::new(code)
    }
}

/// An error and its sources, outermost first.
struct Chain<'a>(&'a (dyn Error + Send + Sync));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(0 < duration.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_has_the_platforms_members() {
        let problem = Problem::new(Code::ValidationFailed)
            .field("comment", "TOO_LONG")
            .cause("the cause nobody sees");

        let document = json!(problem.document(&context("ps")));

        assert_eq!(
            document["type"],
            "https://errors.melmastoon.ghasi.io/general/validation-failed"
        );
        assert_eq!(document["code"], "MELMASTOON.GENERAL.VALIDATION_FAILED");
        assert_eq!(document["status"], 400);
        assert_eq!(document["instance"], "/api/x");
        assert_eq!(document["userMessageKey"], "errors.general.validation-failed");
        assert_eq!(document["userMessage"], "مهرباني وکړئ هغه څه وګورئ چې داخل کړي مو دي.");
        assert_eq!(document["errors"], json!([{"field": "comment", "code": "TOO_LONG"}]));
        assert_eq!(document["retriable"], false);
        assert_eq!(document["retryAfter"], Value::Null);
        assert_eq!(document["requestId"], "01HZX3V7Q8M4N5P6R7S8T9W0XY");
        assert!(!document.to_string().contains("nobody"));
    }

    #[test]
    fn waiting_is_announced_in_whole_seconds_rounded_up() {
        let problem = Problem::new(Code::RateLimited).retry_after(Duration::from_millis(1100));
        let response = problem.render(&context("fr"));
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-language"], "fr");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(problem.document(&context("fr")).retry_after, Some(2));
    }

    fn context(language: &'static str) -> RequestContext {
        let headers = HeaderMap::from_iter([
            (header::ACCEPT_LANGUAGE, HeaderValue::from_static(language)),
            (
                HeaderName::from_static("x-request-id"),
                HeaderValue::from_static("01HZX3V7Q8M4N5P6R7S8T9W0XY"),
            ),
        ]);
        RequestContext::new(&headers, "/api/x")
    }
}
