//! tenant-service keeps what each operator prefers.

use events::{OperatorId, TenantId};
use http::{HeaderValue, Method, header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Answer, Call, CallContext, Service, Upstream, UpstreamError};

/// An operator's preferences as the service has them.
/// `GET · PUT /api/v1/tenants/{id}/operators/{operatorId}/preferences`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Empty for an operator who has set none.
    pub members: Map<String, Value>,
    /// Quotes and all.
    pub entity_tag: Option<String>,
}

/// What to write. All of it: a member that is left out is gone.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub members: &'a Map<String, Value>,
    /// The version that must be the current one.
    pub if_match: Option<&'a HeaderValue>,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
}

#[derive(Deserialize)]
struct Data {
    /// Null where none were ever set.
    data: Option<Map<String, Value>>,
}

/// # Errors
/// See [`UpstreamError`].
pub async fn read(
    upstream: &Upstream,
    (tenant_id, operator_id): (&TenantId, &OperatorId),
    context: &CallContext,
) -> Result<Preferences, UpstreamError> {
    let path = path(tenant_id, operator_id);
    let call = Call::new(Service::Tenant, Method::GET, path, tenant_id, context);
    of_answer(upstream.call(&call).await?)
}

/// # Errors
/// See [`UpstreamError`]; another version than `if_match` is a 412.
pub async fn write(
    upstream: &Upstream,
    (tenant_id, operator_id): (&TenantId, &OperatorId),
    context: &CallContext,
    write: Write<'_>,
) -> Result<Preferences, UpstreamError> {
    let path = path(tenant_id, operator_id);
    let mut call = Call::new(Service::Tenant, Method::PUT, path, tenant_id, context);
    call.idempotency_key = Some(write.idempotency_key);
    if let Some(tag) = write.if_match {
        call.headers.insert(header::IF_MATCH, tag.clone());
    }
    call.body = Some(Value::Object(write.members.clone()));
    of_answer(upstream.call(&call).await?)
}

fn path(tenant_id: &TenantId, operator_id: &OperatorId) -> String {
    format!("/api/v1/tenants/{tenant_id}/operators/{operator_id}/preferences")
}

fn of_answer(answer: Answer) -> Result<Preferences, UpstreamError> {
    let entity_tag = answer.etag.clone();
    let members = answer.read::<Data>(Service::Tenant)?.data.unwrap_or_default();
    Ok(Preferences { members, entity_tag })
}
