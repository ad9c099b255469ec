//! notification-service: the alerts of a property and their acknowledgment.

use chrono::{DateTime, SecondsFormat, Utc};
use events::{AlertId, OperatorId, PropertyId, TenantId};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Call, CallContext, Service, Upstream, UpstreamError};

/// One page of alerts, newest first.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertPage {
    /// As the service wrote them.
    pub items: Vec<Value>,
    /// Opaque; absent on the last page.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// Which alerts are wanted. `GET /api/v1/alerts`.
#[derive(Clone, Debug)]
pub struct AlertQuery<'a> {
    pub property_id: &'a PropertyId,
    pub cursor: Option<String>,
    /// 1–100.
    pub limit: u32,
}

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

/// What the service made of an acknowledgment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It stands as reported.
    Recorded,
    /// Another one stood before it; reporting again changes nothing.
    Already,
    /// The service does not know the alert.
    Unknown,
}

/// # Errors
/// See [`UpstreamError`].
pub async fn alerts(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    query: AlertQuery<'_>,
) -> Result<AlertPage, UpstreamError> {
    let path = "/api/v1/alerts".to_owned();
    let mut call = Call::new(Service::Notification, Method::GET, path, tenant_id, context);
    call.query.push(("propertyId", query.property_id.to_string()));
    call.query.push(("limit", query.limit.to_string()));
    call.query.extend(query.cursor.map(|cursor| ("cursor", cursor)));
    upstream.call(&call).await?.read(Service::Notification)
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
) -> Result<Acknowledged, UpstreamError> {
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
    match upstream.call(&call).await {
        Ok(_) => Ok(Acknowledged::Recorded),
        Err(error) if stands_already(&error) => Ok(Acknowledged::Already),
        Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => {
            Ok(Acknowledged::Unknown)
        }
        Err(error) => Err(error),
    }
}

/// A conflict that is about the alert, not about our own key being under way.
fn stands_already(error: &UpstreamError) -> bool {
    error.problem_with(StatusCode::CONFLICT).is_some_and(|problem| {
        !problem.code.as_deref().is_some_and(|code| code.contains("IDEMPOTENCY"))
    })
}
