//! lock-integration-service: locks, and the keys that are issued for them and revoked.

use chrono::{DateTime, SecondsFormat, Utc};
use events::{
    DeviceId, KeyCredentialId, LockId, OperatorId, PropertyId, ReservationId, RoomId, TenantId,
    ledger::lock_action::{KeyKind, LockDemand, LockVendor},
};
use http::{Method, StatusCode};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Answer, Call, CallContext, Service, Upstream, UpstreamError};

/// Pages of a list that are read at most.
const PAGES_MAX: usize = 10;
const PAGE_SIZE: &str = "100";

/// Where a lock is. `GET /api/v1/locks/{id}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    pub property_id: PropertyId,
    pub room_id: RoomId,
    #[serde(deserialize_with = "vendor")]
    pub vendor: LockVendor,
}

/// A key. `GET /api/v1/key-credentials/{id}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credential {
    pub id: KeyCredentialId,
    pub property_id: PropertyId,
    /// `requested`, `pending`, `active`, `suspended`, `revoked` or `failed`.
    pub state: String,
    /// The rooms it opens.
    pub rooms: Vec<RoomId>,
    /// Under which it was asked for, where the service says so.
    #[serde(default)]
    pub idempotency_key: Option<String>,
}

/// What the service is asked to do, on whose word.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    pub demand: &'a LockDemand,
    pub operator_id: &'a OperatorId,
    pub device_id: &'a DeviceId,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
}

/// What the service shows of an action that it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// It was done, to this key.
    Done(KeyCredentialId),
    /// It was not done so far.
    NotDone,
    /// What is shown cannot tell.
    Undecided,
}

/// The lock; `None` when the tenant has none of this id.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn lock(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    lock_id: &LockId,
) -> Result<Option<Lock>, UpstreamError> {
    let path = format!("/api/v1/locks/{lock_id}");
    let call = Call::new(Service::LockIntegration, Method::GET, path, tenant_id, context);
    found(upstream.call(&call).await)
}

/// The key; `None` when the tenant has none of this id.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn credential(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    id: &KeyCredentialId,
) -> Result<Option<Credential>, UpstreamError> {
    let path = format!("/api/v1/key-credentials/{id}");
    let call = Call::new(Service::LockIntegration, Method::GET, path, tenant_id, context);
    found(upstream.call(&call).await)
}

/// Looks among the keys of a reservation for the one that was asked for under a key of ours. That
/// there is none is sure only where each says what it was asked for under.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn search(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    (reservation_id, idempotency_key): (&ReservationId, &str),
) -> Result<Trace, UpstreamError> {
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let path = "/api/v1/key-credentials".to_owned();
        let mut call = Call::new(Service::LockIntegration, Method::GET, path, tenant_id, context);
        call.query.push(("reservationId", reservation_id.to_string()));
        call.query.push(("limit", PAGE_SIZE.to_owned()));
        call.query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: Page = upstream.call(&call).await?.read(Service::LockIntegration)?;
        for credential in page.items {
            match credential.idempotency_key.as_deref() {
                Some(key) if key == idempotency_key => return Ok(Trace::Done(credential.id)),
                Some(_) => (),
                None => return Ok(Trace::Undecided),
            }
        }
        let Some(next) = page.next_cursor else { return Ok(Trace::NotDone) };
        cursor = Some(next);
    }
    Ok(Trace::Undecided)
}

/// Has a key issued or revoked; safe to repeat under the same key. Answers which.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn carry_out(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    order: Order<'_>,
) -> Result<KeyCredentialId, UpstreamError> {
    let path = match order.demand {
        LockDemand::Issue { .. } => "/api/v1/key-credentials".to_owned(),
        LockDemand::Revoke { key_credential_id, .. } => {
            format!("/api/v1/key-credentials/{key_credential_id}/revoke")
        }
    };
    let mut call = Call::new(Service::LockIntegration, Method::POST, path, tenant_id, context);
    call.idempotency_key = Some(order.idempotency_key);
    call.body = Some(body(&order));
    let answer = upstream.call(&call).await?;
    match order.demand {
        LockDemand::Issue { .. } => Ok(data::<Issued>(answer)?.id),
        // That it answered is all there is to know.
        LockDemand::Revoke { key_credential_id, .. } => Ok(key_credential_id.clone()),
    }
}

/// The same for every repetition, byte for byte: the service compares.
fn body(order: &Order<'_>) -> Value {
    let (attestation, mut body) = match order.demand {
        LockDemand::Issue { reservation_id, rooms, valid_from, valid_until, preferred_kinds } => {
            let kinds: Vec<&str> =
                preferred_kinds.iter().map(|kind| KeyKind::name(*kind)).collect();
            let body = json!({
                "reservationId": reservation_id,
                "rooms": rooms,
                "validFrom": time(valid_from),
                "validUntil": time(valid_until),
                "preferredKinds": kinds,
            });
            (Value::Null, body)
        }
        LockDemand::Revoke { reason, attestation_id, iam_attestation_id, .. } => {
            // What it can ask iam-service about, where iam-service has given it a name.
            let attestation = iam_attestation_id.as_deref().unwrap_or(attestation_id.as_str());
            (attestation.into(), json!({ "reason": reason.name() }))
        }
    };
    body["auditEnvelope"] = json!({
        "operator_id": order.operator_id,
        "device_id": order.device_id,
        "mfa_attestation": attestation,
    });
    body
}

#[derive(Deserialize)]
struct Issued {
    id: KeyCredentialId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    items: Vec<Listed>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: KeyCredentialId,
    #[serde(default)]
    idempotency_key: Option<String>,
}

fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn found<T: DeserializeOwned>(
    answer: Result<Answer, UpstreamError>,
) -> Result<Option<T>, UpstreamError> {
    match answer {
        Ok(answer) => data(answer).map(Some),
        Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The document, in `data` or by itself.
fn data<T: DeserializeOwned>(mut answer: Answer) -> Result<T, UpstreamError> {
    if let Some(data) = answer.body.get_mut("data").filter(|data| data.is_object()) {
        answer.body = data.take();
    }
    answer.read(Service::LockIntegration)
}

fn vendor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LockVendor, D::Error> {
    let name = String::deserialize(deserializer)?;
    Ok(LockVendor::from_name(&name).unwrap_or(LockVendor::Other))
}

#[cfg(test)]
mod tests {
    use events::ledger::lock_action::RevokeReason;

    use super::*;

    #[test]
    fn a_revocation_names_the_step_up_as_iam_knows_it() {
        let demand = |iam: Option<&str>| LockDemand::Revoke {
            key_credential_id: "key_1".parse().unwrap(),
            reason: RevokeReason::Lost,
            attestation_id: "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
            iam_attestation_id: iam.map(str::to_owned),
        };
        for (iam, expected) in [(Some("iat_1"), "iat_1"), (None, "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY")]
        {
            let (operator_id, device_id) = ("usr_1".parse().unwrap(), "dev_1".parse().unwrap());
            let body = body(&Order {
                demand: &demand(iam),
                operator_id: &operator_id,
                device_id: &device_id,
                idempotency_key: "k",
            });
            assert_eq!(
                body["auditEnvelope"],
                json!({
                    "operator_id": "usr_1", "device_id": "dev_1", "mfa_attestation": expected,
                })
            );
            assert_eq!(body["reason"], "lost");
        }
    }

    #[test]
    fn an_unknown_vendor_is_another_one() {
        let lock = json!({ "propertyId": "ppt_1", "roomId": "rom_1", "vendor": "dormakaba" });
        let lock: Lock = serde_json::from_value(lock).unwrap();
        assert_eq!(lock.vendor, LockVendor::Other);
    }
}
