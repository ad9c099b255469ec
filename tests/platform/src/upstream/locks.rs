//! lock-integration-service: locks, their health, and the keys issued for them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed, identifier,
    problem::Problem,
    producer::Producer,
    world::{World, locks::KeyCredential},
};

const BATTERY_LOW_PERCENT: u32 = 20;
const KINDS: [&str; 5] = ["mobile_app", "pin_code", "rfid_card", "qr_code", "nfc_tag"];
const REVOKE_REASONS: [&str; 5] = ["checkout", "cancellation", "security", "lost", "replaced"];

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["locks"]) => {
            pages::page(request, world.locks.of_tenant(&request.tenant_id), |lock| {
                if lock.online { "online" } else { "offline" }
            })
        }
        ("GET", ["locks", "health"]) => health(world, request),
        ("GET", ["locks", id]) => {
            let lock = world.locks.get(&request.tenant_id, id);
            let lock = lock.ok_or_else(|| Problem::not_found(format!("no lock {id}")))?;
            Ok(Answer::ok(json!({ "data": lock })))
        }
        ("GET", ["key-credentials"]) => {
            let reservation_id = request.query.get("reservationId");
            let credentials = world.credentials.of_tenant(&request.tenant_id).filter(|it| {
                reservation_id.is_none_or(|reservation_id| it.reservation_id == *reservation_id)
            });
            pages::page(request, credentials, |credential| credential.state)
        }
        ("GET", ["key-credentials", id]) => {
            let credential = world.credentials.get(&request.tenant_id, id);
            let credential = credential.ok_or_else(|| no_credential(id))?;
            Ok(Answer::ok(json!({ "data": credential })))
        }
        ("POST", ["key-credentials"]) => issue(world, request),
        ("POST", ["key-credentials", id, "revoke"]) => revoke(world, request, id),
        _ => Err(request.unknown()),
    }
}

fn health(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let of_property =
        || world.locks.of_tenant(&request.tenant_id).filter(|lock| lock.property_id == property.id);
    let low = of_property().filter(|lock| lock.battery_percent < BATTERY_LOW_PERCENT);
    let low: Vec<&str> = low.map(|lock| lock.id.as_str()).collect();
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "locks": of_property().count(),
        "offline": of_property().filter(|lock| !lock.online).count(),
        "batteryLow": low,
        "asOf": request.at,
    } })))
}

/// Who asks for a key, from which device, and with which second factor:
/// `{operator_id, device_id, mfa_attestation}` in the member `auditEnvelope` (or `audit`).
fn check_audit_envelope(request: &Request, needs_attestation: bool) -> Result<(), Problem> {
    let envelope = request.body.get("auditEnvelope").or_else(|| request.body.get("audit"));
    let envelope = envelope.ok_or_else(|| incomplete("auditEnvelope"))?;
    for member in ["operator_id", "device_id"] {
        if envelope[member].as_str().is_none_or(str::is_empty) {
            return Err(incomplete(&format!("auditEnvelope.{member}")));
        }
    }
    let attestation = envelope.get("mfa_attestation");
    if attestation.is_none_or(|attestation| needs_attestation && attestation.is_null()) {
        return Err(incomplete("auditEnvelope.mfa_attestation"));
    }
    Ok(())
}

fn incomplete(member: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "MELMASTOON.LOCK.AUDIT_ENVELOPE_INCOMPLETE",
        format!("the body lacks {member}"),
    )
    .with("errors", json!([{ "field": member, "code": "required" }]))
}

/// Body `{reservationId, rooms[], validFrom, validUntil, preferredKinds[], auditEnvelope}`.
fn issue(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    check_audit_envelope(request, false)?;
    let reservation_id = request.text("reservationId")?;
    let stay = world.reservations.get(&request.tenant_id, reservation_id);
    let stay =
        stay.ok_or_else(|| Problem::not_found(format!("no reservation {reservation_id}")))?;
    if request.header("x-property-id").is_some_and(|property_id| property_id != stay.property_id) {
        return Err(Problem::not_found(format!("no reservation {reservation_id} in the property")));
    }
    for member in ["validFrom", "validUntil"] {
        let time = chrono::DateTime::parse_from_rfc3339(request.text(member)?);
        time.map_err(|_| Problem::invalid(format!("{member} must be an RFC 3339 time")))?;
    }
    let rooms = request.body["rooms"].as_array().filter(|rooms| !rooms.is_empty());
    let rooms = rooms.ok_or_else(|| Problem::invalid("the body lacks the list rooms"))?;
    let kind = request.body["preferredKinds"][0].as_str().unwrap_or("rfid_card");
    if !KINDS.contains(&kind) {
        let message = format!("preferredKinds must be of {}", KINDS.join(", "));
        return Err(Problem::invalid(message));
    }
    let credential = KeyCredential {
        id: identifier::fresh("key"),
        tenant_id: request.tenant_id.clone(),
        property_id: stay.property_id.clone(),
        reservation_id: reservation_id.into(),
        kind: kind.into(),
        rooms: json!(rooms),
        valid_from: request.body["validFrom"].clone(),
        valid_until: request.body["validUntil"].clone(),
        state: "active",
        vendor: vendor(world, request),
        idempotency_key: request.upstream_key.clone(),
    };
    world.credentials.insert(credential.clone());
    Ok(changed(request, &credential, "issued", &Value::Null).status(StatusCode::CREATED))
}

/// Of the lock of the first room.
fn vendor(world: &World, request: &Request) -> &'static str {
    let mut locks = world.locks.of_tenant(&request.tenant_id);
    let lock = locks.find(|lock| request.body["rooms"][0] == lock.room_id.as_str());
    lock.map_or("generic-wiegand", |lock| lock.vendor)
}

/// Body `{reason, auditEnvelope}`; the attestation must be there.
fn revoke(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    check_audit_envelope(request, true)?;
    let reason = request.text("reason")?;
    if !REVOKE_REASONS.contains(&reason) {
        let message = format!("reason must be one of {}", REVOKE_REASONS.join(", "));
        return Err(Problem::invalid(message));
    }
    let credential = world.credentials.get_mut(&request.tenant_id, id);
    let credential = credential.ok_or_else(|| no_credential(id))?;
    if credential.state == "revoked" {
        return Err(Problem::conflict(
            "MELMASTOON.LOCK.CREDENTIAL_REVOKED",
            "the key is revoked already",
        ));
    }
    credential.state = "revoked";
    let credential = credential.clone();
    Ok(changed(request, &credential, "revoked", &json!(reason)))
}

fn changed(request: &Request, credential: &KeyCredential, past: &str, reason: &Value) -> Answer {
    let payload = json!({
        "keyCredentialId": credential.id,
        "propertyId": credential.property_id,
        "reservationId": credential.reservation_id,
        "holderKind": "guest",
        "kind": credential.kind,
        "rooms": credential.rooms,
        "reason": reason,
        "idempotencyKey": request.upstream_key,
        "at": request.at,
    });
    let subject = format!("melmastoon.lock.credential.{past}.v1");
    let event = feed::event(Producer::Lock, &subject, &request.tenant_id, payload);
    Answer::ok(json!({ "data": credential })).event(event)
}

fn no_credential(id: &str) -> Problem {
    Problem::not_found(format!("no key credential {id}"))
}
