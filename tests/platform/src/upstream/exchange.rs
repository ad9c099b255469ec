//! One request to an upstream, read and checked, and its answer.

use std::collections::HashMap;

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::Service;
use crate::{clock, envelope::Event, problem::Problem};

/// Paths (after version) that are asked by POST and change nothing.
const QUESTIONS: [(Service, &str); 3] = [
    (Service::Iam, "sessions/validate"),
    (Service::Tenant, "authz/check"),
    (Service::Sync, "sync/handshake"),
];

/// A request that carries what every upstream demands.
pub struct Request {
    pub service: Service,
    pub method: Method,
    /// As received, without the service's name: `/api/v1/…`.
    pub path: String,
    pub query: HashMap<String, String>,
    pub headers: HeaderMap,
    /// Empty only where the upstream finds the tenant itself (iam's refresh).
    pub tenant_id: String,
    /// Present on every mutation.
    pub upstream_key: Option<String>,
    /// Null when there is no body.
    pub body: Value,
    pub at: DateTime<Utc>,
}

impl Request {
    /// Reads a request and checks its headers.
    ///
    /// # Errors
    /// 400 that names the header missing or the mistake in the body.
    pub fn read(
        service: Service,
        (method, uri, headers): (Method, &Uri, HeaderMap),
        path: String,
        body: &[u8],
    ) -> Result<Self, Problem> {
        let query = Query::<HashMap<String, String>>::try_from_uri(uri)
            .map_err(|error| Problem::invalid(format!("the query cannot be read: {error}")))?;
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body)
                .map_err(|error| Problem::invalid(format!("the body is not JSON: {error}")))?
        };
        let mut request = Self {
            service,
            method,
            path,
            query: query.0,
            headers,
            tenant_id: String::new(),
            upstream_key: None,
            body,
            at: clock::now(),
        };
        request.check_headers()?;
        Ok(request)
    }

    fn check_headers(&mut self) -> Result<(), Problem> {
        let token = self.header("authorization").and_then(|text| text.strip_prefix("Bearer "));
        if token.is_none_or(|token| token.trim().is_empty()) {
            return Err(missing_header("Authorization: Bearer <id token>"));
        }
        let finds_tenant_itself =
            self.service == Service::Iam && self.route_text() == "auth/refresh";
        match self.header("x-tenant-id") {
            Some(tenant_id) => self.tenant_id = tenant_id.to_owned(),
            None if finds_tenant_itself => {}
            None => return Err(missing_header("X-Tenant-Id")),
        }
        if self.is_mutation() {
            let key = self.header("idempotency-key").or_else(|| self.header("x-idempotency-key"));
            let key = key.ok_or_else(|| missing_header("Idempotency-Key"))?;
            self.upstream_key = Some(key.to_owned());
        }
        Ok(())
    }

    /// Whether it is meant to change something.
    pub fn is_mutation(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
            && !QUESTIONS.contains(&(self.service, self.route_text().as_str()))
    }

    /// A header's text; none when empty.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
    }

    /// Method and path segments after `/api/v1` (or `/v1`), to match on.
    pub fn route(&self) -> (&str, Vec<&str>) {
        let mut segments: Vec<&str> =
            self.path.split('/').filter(|segment| !segment.is_empty()).collect();
        for prefix in ["api", "v1"] {
            if segments.first() == Some(&prefix) {
                segments.remove(0);
            }
        }
        (self.method.as_str(), segments)
    }

    fn route_text(&self) -> String {
        self.route().1.join("/")
    }

    /// What must be equal for two requests under one key to be the same request.
    pub fn fingerprint(&self) -> String {
        format!("{} {} {}", self.method, self.path, self.body)
    }

    /// A text member of the body.
    ///
    /// # Errors
    /// 400 that names it when it is missing, empty or no text.
    pub fn text(&self, member: &str) -> Result<&str, Problem> {
        self.body[member].as_str().filter(|text| !text.is_empty()).ok_or_else(|| {
            Problem::invalid(format!("the body lacks the text member {member}"))
                .with("errors", serde_json::json!([{ "field": member, "code": "required" }]))
        })
    }

    /// A text member that may be absent or null.
    pub fn optional_text(&self, member: &str) -> Option<&str> {
        self.body[member].as_str()
    }

    /// Whether an item of this property is among those the request is about: all, unless it names a
    /// property.
    pub fn concerns(&self, property_id: &str) -> bool {
        self.header("x-property-id").is_none_or(|named| named == property_id)
    }

    /// # Errors
    /// 412 when `If-Match` names another version.
    pub fn check_version(&self, version: u32) -> Result<(), Problem> {
        let current = entity_tag(version);
        if self.header("if-match").is_none_or(|tag| tag == "*" || tag == current) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "MELMASTOON.GENERAL.PRECONDITION_FAILED",
            format!("it is at {current}"),
        ))
    }

    /// # Errors
    /// 400 that names `X-Mfa-Attestation` when it is missing.
    pub fn check_attestation(&self) -> Result<(), Problem> {
        let attestation = self.header("x-mfa-attestation");
        attestation.map(|_| ()).ok_or_else(|| missing_header("X-Mfa-Attestation"))
    }

    /// 404 for a path the service does not have.
    pub fn unknown(&self) -> Problem {
        Problem::not_found(format!("{} has no {} {}", self.service.name(), self.method, self.path))
    }
}

fn missing_header(name: &str) -> Problem {
    let field = name.split(':').next().unwrap_or(name);
    Problem::new(
        StatusCode::BAD_REQUEST,
        "MELMASTOON.GENERAL.HEADER_MISSING",
        format!("the header {name} is missing"),
    )
    .with("errors", serde_json::json!([{ "field": field, "code": "required" }]))
}

/// What a service answers, and what it tells the others.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    /// The version in the `ETag`, as `"v<n>"`.
    pub version: Option<u32>,
    /// Published once the answer stands.
    pub events: Vec<Event>,
}

impl Answer {
    pub fn ok(body: Value) -> Self {
        Self { status: StatusCode::OK, body, version: None, events: Vec::new() }
    }

    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = Some(version);
        self
    }

    #[must_use]
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }
}

/// The entity tag of a version.
pub fn entity_tag(version: u32) -> String {
    format!("\"v{version}\"")
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let content_type =
            if self.status.is_success() { "application/json" } else { "application/problem+json" };
        let mut response = (self.status, self.body.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(version) = self.version {
            let tag = HeaderValue::from_str(&entity_tag(version));
            headers.insert(header::ETAG, tag.expect("digits and quotes are legal in a header"));
        }
        response
    }
}
