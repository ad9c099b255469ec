//! tenant-service: the tenant's profile and who may act in it.

use events::{OperatorId, PropertyId, TenantId};
use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Call, CallContext, Service, Upstream, UpstreamError, money::Money};

/// What an operator is in a tenant. `GET /api/v1/tenants/{id}/memberships/{operatorId}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    pub roles: Vec<String>,
    /// Empty: none.
    pub property_ids: Vec<PropertyId>,
    /// Neither suspended nor removed.
    pub active: bool,
}

/// A tenant's profile. `GET /api/v1/tenants/{id}`; members that the service leaves out are `None`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tenant {
    pub id: TenantId,
    #[serde(default)]
    pub name: Option<String>,
    /// `sharia` or `standard`.
    #[serde(default)]
    pub compliance_profile: Option<String>,
    /// BCP 47.
    #[serde(default)]
    pub locale: Option<String>,
    #[serde(default)]
    pub theme_bundle_url: Option<String>,
    #[serde(default)]
    pub theme_version: Option<serde_json::Value>,
    /// From this amount on a charge needs an attestation.
    #[serde(default)]
    pub large_charge_threshold: Option<Money>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MembershipData {
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    property_ids: Vec<PropertyId>,
    status: String,
}

/// What the operator is in the tenant; `None` when nothing.
///
/// # Errors
/// See [`UpstreamError`]; none of them means that the operator may not act.
pub async fn membership(
    upstream: &Upstream,
    tenant_id: &TenantId,
    operator_id: &OperatorId,
) -> Result<Option<Membership>, UpstreamError> {
    let path = format!("/api/v1/tenants/{tenant_id}/memberships/{operator_id}");
    let found: Option<MembershipData> = read(upstream, tenant_id, path).await?;
    Ok(found.map(|data| Membership {
        roles: data.roles,
        property_ids: data.property_ids,
        active: data.status == "active",
    }))
}

/// The tenant's profile; `None` when the service does not know it.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn tenant(
    upstream: &Upstream,
    tenant_id: &TenantId,
) -> Result<Option<Tenant>, UpstreamError> {
    read(upstream, tenant_id, format!("/api/v1/tenants/{tenant_id}")).await
}

async fn read<T: DeserializeOwned>(
    upstream: &Upstream,
    tenant_id: &TenantId,
    path: String,
) -> Result<Option<T>, UpstreamError> {
    let context = CallContext::internal();
    let call = Call::new(Service::Tenant, Method::GET, path, tenant_id, &context);
    match upstream.call(&call).await {
        Ok(answer) => answer.read::<Data<T>>(Service::Tenant).map(|found| Some(found.data)),
        Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
