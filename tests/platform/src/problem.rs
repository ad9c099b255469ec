//! What a caller did wrong, as `application/problem+json`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

/// A refusal. JSON: `{type, title, status, code, detail, …extra}`.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    extra: Map<String, Value>,
}

impl Problem {
    /// `code` is `MELMASTOON.<DOMAIN>.<CODE>`; `detail` names the mistake.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self { status, code: code.into(), detail: detail.into(), extra: Map::new() }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MELMASTOON.GENERAL.VALIDATION_FAILED", detail)
    }

    /// 404: unknown, or another tenant's.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND", what)
    }

    /// 409: the state of the resource does not allow it.
    pub fn conflict(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// Adds a member of its own to the document.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.extra.insert(member.into(), value);
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The document as it goes onto the wire.
    pub fn document(&self) -> Value {
        let mut document = Map::from_iter([
            ("type".into(), json!(self.type_uri())),
            ("title".into(), json!(self.status.canonical_reason().unwrap_or("Error"))),
            ("status".into(), json!(self.status.as_u16())),
            ("code".into(), json!(self.code)),
            ("detail".into(), json!(self.detail)),
        ]);
        document.extend(self.extra.clone());
        Value::Object(document)
    }

    fn type_uri(&self) -> String {
        let path = self.code.trim_start_matches("MELMASTOON.").replace('.', "/").to_lowercase();
        format!("https://errors.melmastoon.ghasi.io/{path}")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.document().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.extra.get("error").is_some_and(|error| error == "use_dpop_nonce") {
            headers.insert("dpop-nonce", HeaderValue::from_static("a-nonce-of-the-upstream"));
        }
        response
    }
}
