//! iam-service: refresh, sessions, step-up and the device registry.

use axum::http::StatusCode;
use chrono::Duration;
use serde_json::{Value, json};

use super::exchange::{Answer, Request};
use crate::{
    feed, identifier,
    identity::{Refresh, Session},
    platform::Platform,
    problem::Problem,
    producer::Producer,
    tokens,
    world::World,
};

/// The one-time code that is always right.
const STEP_UP_CODE: &str = "000000";
const ATTESTATION_MINUTES: i64 = 5;

pub fn answer(
    platform: &Platform,
    world: &mut World,
    request: &Request,
) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("POST", ["auth", "refresh"]) => refresh(platform, world, request),
        ("POST", ["auth", "step-up"]) => attest_step_up(world, request),
        ("POST", ["sessions", "validate"]) => session(world, request, request.text("sessionId")?),
        ("GET", ["sessions", id]) => session(world, request, id),
        ("POST", ["sessions", id, "revoke"]) => revoke_session(world, request, id),
        ("GET", ["devices"]) => Ok(devices(world, request)),
        ("POST", ["devices", id, "revoke"]) => revoke_device(world, request, id),
        _ => Err(request.unknown()),
    }
}

/// Body `{refreshToken, jkt?, deviceId?}`; answers as sign-in does. `jkt` and `deviceId`, where
/// asserted, must be those the session is bound to.
fn refresh(platform: &Platform, world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let refresh_token = request.text("refreshToken")?;
    let known = world.identity.session_of_token(refresh_token);
    let known = known.ok_or_else(|| invalid_grant("the refresh token is not known"))?;
    check_binding(request, known)?;
    if world.identity.is_suspended(&known.tenant_id, &known.operator_id) {
        return Err(invalid_grant("the operator or the tenant is suspended"));
    }
    match world.identity.rotate(refresh_token) {
        Refresh::Rotated(session) => {
            let membership = world
                .identity
                .membership(&session.tenant_id, &session.operator_id)
                .ok_or_else(|| invalid_grant("the operator is no member any more"))?;
            Ok(Answer::ok(tokens::document(&platform.issuer(), &session, membership)))
        }
        Refresh::Reused(session) => {
            let problem = invalid_grant("the refresh token was used before; its family is revoked");
            Ok(Answer::ok(problem.document())
                .status(problem.status())
                .event(feed::session_revoked(&session, "refresh_replay")))
        }
        Refresh::Invalid => Err(invalid_grant("the session is revoked")),
    }
}

fn check_binding(request: &Request, session: &Session) -> Result<(), Problem> {
    let asserted = [
        ("X-Tenant-Id", Some(request.tenant_id.as_str()), &session.tenant_id),
        ("jkt", request.optional_text("jkt"), &session.jkt),
        ("deviceId", request.optional_text("deviceId"), &session.device_id),
    ];
    for (name, asserted, actual) in asserted {
        if asserted.is_some_and(|asserted| !asserted.is_empty() && asserted != actual) {
            return Err(invalid_grant(&format!("the refresh token is bound to another {name}")));
        }
    }
    Ok(())
}

/// RFC 6749 §5.2.
fn invalid_grant(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "MELMASTOON.IAM.INVALID_GRANT", detail)
        .with("error", json!("invalid_grant"))
}

/// Body `{operatorId, deviceId, scope, factor, code, resource?}`; answers the attestation's
/// claims.
fn attest_step_up(world: &World, request: &Request) -> Result<Answer, Problem> {
    let (operator_id, device_id) = (request.text("operatorId")?, request.text("deviceId")?);
    let (scope, factor) = (request.text("scope")?, request.text("factor")?);
    if world.identity.membership(&request.tenant_id, operator_id).is_none() {
        return Err(Problem::not_found(format!("no operator {operator_id}")));
    }
    if request.text("code")? != STEP_UP_CODE {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "MELMASTOON.IAM.STEP_UP_REFUSED",
            "the code is not right",
        ));
    }
    Ok(Answer::ok(json!({
        "attestationId": identifier::fresh("iat"),
        "sub": operator_id,
        "tenantId": request.tenant_id,
        "deviceId": device_id,
        "scope": scope,
        "resource": request.body.get("resource").cloned().unwrap_or(Value::Null),
        "factor": factor,
        "acr": "urn:melmastoon:acr:mfa-recent",
        "amr": [factor],
        "authTime": request.at,
        "expiresAt": request.at + Duration::minutes(ATTESTATION_MINUTES),
    })))
}

fn session(world: &World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let session = world
        .identity
        .session_named(&request.tenant_id, id)
        .ok_or_else(|| Problem::not_found(format!("no session {id}")))?;
    Ok(Answer::ok(json!({
        "sessionId": id,
        "tenantId": request.tenant_id,
        "operatorId": session.operator_id,
        "deviceId": session.device_id,
        "jkt": session.jkt,
        "active": !session.revoked,
    })))
}

fn revoke_session(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let reason = request.optional_text("reason").unwrap_or("user").to_owned();
    let revoked = world.identity.revoke(&request.tenant_id, |session| session.id == id);
    let session = revoked.first().ok_or_else(|| Problem::not_found(format!("no session {id}")))?;
    Ok(Answer::ok(json!({ "sessionId": id, "active": false }))
        .event(feed::session_revoked(session, &reason)))
}

fn devices(world: &World, request: &Request) -> Answer {
    let operator_id = request.query.get("operatorId");
    let items: Vec<_> = world
        .identity
        .devices(&request.tenant_id)
        .filter(|device| operator_id.is_none_or(|id| *id == device.operator_id))
        .collect();
    Answer::ok(json!({ "items": items, "nextCursor": null }))
}

fn revoke_device(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let device = world.identity.device_mut(&request.tenant_id, id);
    let device = device.ok_or_else(|| Problem::not_found(format!("no device {id}")))?;
    device.status = "revoked";
    let device = device.clone();
    world.identity.revoke(&request.tenant_id, |session| session.device_id == id);
    let payload = json!({ "deviceId": id, "userId": device.operator_id, "at": request.at });
    let subject = "melmastoon.iam.device.revoked.v1";
    let revoked = feed::event(Producer::Iam, subject, &request.tenant_id, payload);
    Ok(Answer::ok(json!(device)).event(revoked))
}
