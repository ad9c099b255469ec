//! tenant-service: profile, memberships, operators' preferences and the policy decision point.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::exchange::{Answer, Request, entity_tag};
use crate::{feed, problem::Problem, producer::Producer, world::World};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    if let ["tenants", tenant_id, ..] = path.as_slice()
        && (*tenant_id != request.tenant_id || world.tenant(tenant_id).is_none())
    {
        return Err(Problem::not_found(format!("no tenant {tenant_id}")));
    }
    match (method, path.as_slice()) {
        ("GET", ["tenants", tenant_id]) => {
            let tenant = world.tenant(tenant_id);
            let tenant = tenant.ok_or_else(|| request.unknown())?;
            Ok(Answer::ok(json!({ "data": tenant.profile() })))
        }
        ("GET", ["tenants", _, "memberships", operator_id]) => {
            membership(world, request, operator_id)
        }
        ("GET", ["tenants", _, "operators", operator_id, "preferences"]) => {
            preferences(world, request, operator_id)
        }
        ("PUT", ["tenants", _, "operators", operator_id, "preferences"]) => {
            put_preferences(world, request, operator_id)
        }
        ("POST", ["tenants", _, "theme", "publish"]) => publish_theme(world, request),
        ("POST", ["authz", "check"]) => check(world, request),
        _ => Err(request.unknown()),
    }
}

fn membership(world: &World, request: &Request, operator_id: &str) -> Result<Answer, Problem> {
    let membership = world
        .identity
        .membership(&request.tenant_id, operator_id)
        .ok_or_else(|| no_operator(operator_id))?;
    let is_suspended = world.identity.is_suspended(&request.tenant_id, operator_id);
    Ok(Answer::ok(json!({ "data": {
        "operatorId": operator_id,
        "roles": membership.roles,
        "propertyIds": membership.property_ids,
        "status": if is_suspended { "suspended" } else { "active" },
    } })))
}

fn preferences(world: &World, request: &Request, operator_id: &str) -> Result<Answer, Problem> {
    if world.identity.membership(&request.tenant_id, operator_id).is_none() {
        return Err(no_operator(operator_id));
    }
    let (preferences, version) = world.identity.preferences(&request.tenant_id, operator_id);
    Ok(Answer::ok(json!({ "data": preferences })).version(version))
}

/// The body is the preferences; `If-Match`, where sent, must name the current version.
fn put_preferences(
    world: &mut World,
    request: &Request,
    operator_id: &str,
) -> Result<Answer, Problem> {
    let (_, version) = world.identity.preferences(&request.tenant_id, operator_id);
    if world.identity.membership(&request.tenant_id, operator_id).is_none() {
        return Err(no_operator(operator_id));
    }
    if !request.body.is_object() {
        return Err(Problem::invalid("the body must be an object of preferences"));
    }
    let current = entity_tag(version);
    if request.header("if-match").is_some_and(|tag| tag != "*" && tag != current) {
        return Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "MELMASTOON.GENERAL.PRECONDITION_FAILED",
            format!("the preferences are at {current}"),
        ));
    }
    let version =
        world.identity.set_preferences(&request.tenant_id, operator_id, request.body.clone());
    Ok(Answer::ok(json!({ "data": request.body })).version(version))
}

/// The next version of the tenant's theme; published by theme-config as on the platform.
fn publish_theme(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let tenant = world.tenant_mut(&request.tenant_id).ok_or_else(|| request.unknown())?;
    tenant.theme_version += 1;
    let profile = tenant.profile();
    let payload = json!({
        "themeBundleUrl": profile["themeBundleUrl"],
        "themeVersion": profile["themeVersion"],
        "at": request.at,
    });
    let subject = "melmastoon.theme.published.v1";
    let published = feed::event(Producer::Theme, subject, &request.tenant_id, payload);
    Ok(Answer::ok(json!({ "data": profile })).event(published))
}

/// Body `{operatorId, action, propertyId?}`; members may act on the properties they hold.
fn check(world: &World, request: &Request) -> Result<Answer, Problem> {
    let (operator_id, _) = (request.text("operatorId")?, request.text("action")?);
    let membership = world.identity.membership(&request.tenant_id, operator_id);
    let property_id = request.body.get("propertyId").and_then(Value::as_str);
    let (allowed, reason) = match (membership, property_id) {
        (None, _) => (false, "not_a_member"),
        (Some(membership), Some(id)) if !membership.property_ids.iter().any(|held| held == id) => {
            (false, "outside_property_scope")
        }
        (Some(membership), _) if membership.roles.is_empty() => (false, "no_role"),
        (Some(_), _) => (true, "member"),
    };
    Ok(Answer::ok(json!({ "data": { "allowed": allowed, "reason": reason } })))
}

fn no_operator(operator_id: &str) -> Problem {
    Problem::not_found(format!("no operator {operator_id}"))
}
