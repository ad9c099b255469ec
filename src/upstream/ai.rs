//! ai-orchestrator-service: the suggestions for a property and the decisions on them.

use chrono::{DateTime, SecondsFormat, Utc};
use events::{OperatorId, SuggestionId, TenantId, ledger::suggestion_decision::Decision};
use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    Call, CallContext, Service, Upstream, UpstreamError,
    page::{self, Page, PageQuery},
    reported::Reported,
};

/// A decision to report. `POST /api/v1/ai/suggestions/{id}/decision`.
#[derive(Clone, Debug)]
pub struct ReportedDecision<'a> {
    pub suggestion_id: &'a SuggestionId,
    pub decision: Decision,
    pub modification: Option<&'a Map<String, Value>>,
    pub reason_code: Option<&'a str>,
    pub decided_by: &'a OperatorId,
    pub decided_at: DateTime<Utc>,
    pub comment: Option<&'a str>,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

/// The suggestions for a property, newest first. `GET /api/v1/ai/suggestions`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn suggestions(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    query: PageQuery<'_>,
) -> Result<Page, UpstreamError> {
    let path = "/api/v1/ai/suggestions".to_owned();
    let call = Call::new(Service::AiOrchestrator, Method::GET, path, tenant_id, context);
    page::read(upstream, call, query).await
}

/// Reports a decision; safe to repeat under the same key.
///
/// # Errors
/// See [`UpstreamError`]; the report should be made again, except after [`UpstreamError::Problem`].
pub async fn decide(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    decision: ReportedDecision<'_>,
) -> Result<Reported, UpstreamError> {
    let path = format!("/api/v1/ai/suggestions/{}/decision", decision.suggestion_id);
    let mut call = Call::new(Service::AiOrchestrator, Method::POST, path, tenant_id, context);
    let mut body = json!({
        "decision": decision.decision,
        "decidedBy": decision.decided_by,
        "decidedAt": decision.decided_at.to_rfc3339_opts(SecondsFormat::Micros, true),
    });
    if let Some(modification) = decision.modification {
        body["modification"] = modification.clone().into();
    }
    for (member, text) in [("reasonCode", decision.reason_code), ("comment", decision.comment)] {
        if let Some(text) = text {
            body[member] = text.into();
        }
    }
    call.body = Some(body);
    call.idempotency_key = Some(decision.idempotency_key);
    call.deadline = decision.deadline;
    Reported::of(upstream.call(&call).await)
}
