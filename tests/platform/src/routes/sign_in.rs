//! `POST /sim/sign-in`: registers a device and a membership, and issues bound tokens.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Body;
use crate::{
    identifier,
    identity::{Membership, RegisteredDevice, Session},
    issuer,
    platform::Platform,
    problem::Problem,
    tokens,
    world::{World, tenancy::Tenant},
};

const TTL_SECONDS: i64 = 900;
/// What an operator the world does not know may do, when nothing is asked for.
const DEFAULT_ROLES: [&str; 2] = ["front_desk", "property_manager"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    tenant_id: String,
    /// Minted when absent.
    operator_id: Option<String>,
    /// The device's public key; the token is bound to its thumbprint.
    device_jwk: Value,
    /// Minted when absent.
    device_id: Option<String>,
    roles: Option<Vec<String>>,
    property_ids: Option<Vec<String>>,
    locale: Option<String>,
    /// May be negative, for a token that has expired already.
    ttl_seconds: Option<i64>,
    /// Overrides any claim; null removes it.
    claims: Option<Map<String, Value>>,
}

pub async fn handle(
    State(platform): State<Arc<Platform>>,
    Body(request): Body<Request>,
) -> Result<Json<Value>, Problem> {
    if !identifier::is_tenant_id(&request.tenant_id) {
        return Err(Problem::invalid("tenantId must be tnt_ and a ULID in upper case"));
    }
    let jkt = issuer::thumbprint(&request.device_jwk)
        .map_err(|error| Problem::invalid(error.to_string()))?;
    let mut world = platform.world();
    let tenant = world
        .tenant(&request.tenant_id)
        .ok_or_else(|| Problem::not_found(format!("no tenant {}", request.tenant_id)))?
        .clone();
    let operator_id = request.operator_id.clone().unwrap_or_else(|| identifier::fresh("usr"));
    let membership = membership(&world, &tenant, &operator_id, &request);
    world.identity.set_membership(&tenant.id, &operator_id, membership.clone());
    let device = RegisteredDevice {
        id: request.device_id.unwrap_or_else(|| identifier::fresh("dev")),
        operator_id,
        jkt,
        status: "active",
    };
    let mut session = Session::new(&tenant.id, &device);
    world.identity.register(&tenant.id, device);
    session.locale = request.locale.unwrap_or_else(|| tenant.locale.to_owned());
    session.ttl_seconds = request.ttl_seconds.unwrap_or(TTL_SECONDS);
    session.claims = request.claims.map_or(Value::Null, Value::Object);
    let session = world.identity.open(session);
    Ok(Json(tokens::document(&platform.issuer(), &session, &membership)))
}

/// What is asked for; else what the operator already has; else the default.
fn membership(world: &World, tenant: &Tenant, operator_id: &str, request: &Request) -> Membership {
    let known = world.identity.membership(&tenant.id, operator_id);
    let roles = request
        .roles
        .clone()
        .or_else(|| known.map(|membership| membership.roles.clone()))
        .unwrap_or_else(|| DEFAULT_ROLES.map(str::to_owned).to_vec());
    let property_ids = request
        .property_ids
        .clone()
        .or_else(|| known.map(|membership| membership.property_ids.clone()))
        .unwrap_or_else(|| tenant.property_ids());
    Membership { roles, property_ids }
}
