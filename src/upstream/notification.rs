//! notification-service: the alerts of a property and their acknowledgment.

use chrono::{DateTime, SecondsFormat, Utc};
use events::{AlertId, OperatorId, TenantId};
use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::{
    Call, CallContext, Service, Upstream, UpstreamError,
    page::{self, Page, PageQuery},
    reported::Reported,
};

/// An acknowledgment to report. `POST /api/v1/alerts/{id}/acknowledge`.
#[derive(Clone, Debug)]
pub struct Acknowledgment<'a> {
    pub alert_id: &'a AlertId,
    pub acknowledged_by: &'a OperatorId,
    pub acknowledged_at: DateTime<Utc>,
    pub comment: Option<&'a str>,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// The alerts of a property, newest first. `GET /api/v1/alerts`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn alerts(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    query: PageQuery<'_>,
) -> Result<Page, UpstreamError> {
    let path = "/api/v1/alerts".to_owned();
    let call = Call::new(Service::Notification, Method::GET, path, tenant_id, context);
    page::read(upstream, call, query).await
}

/// Reports an acknowledgment; safe to repeat under the same key.
///
/// # Errors
/// See [`UpstreamError`]; the report should be made again, except after [`UpstreamError::Problem`].
pub async fn acknowledge(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    acknowledgment: Acknowledgment<'_>,
) -> Result<Reported, UpstreamError> {
    let path = format!("/api/v1/alerts/{}/acknowledge", acknowledgment.alert_id);
    let mut call = Call::new(Service::Notification, Method::POST, path, tenant_id, context);
    let at = acknowledgment.acknowledged_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let mut body = json!({
        "acknowledgedBy": acknowledgment.acknowledged_by,
        "acknowledgedAt": at,
    });
    if let Some(comment) = acknowledgment.comment {
        body["comment"] = comment.into();
    }
    call.body = Some(body);
    call.idempotency_key = Some(acknowledgment.idempotency_key);
    call.deadline = acknowledgment.deadline;
    Reported::of(upstream.call(&call).await)
}
