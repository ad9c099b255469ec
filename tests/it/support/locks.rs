//! Keys of doors from beginning to end: asked for by a desktop, and what lock-integration-service
//! and the ledger made of it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    desktop::{Answer, Desktop, key},
    platform::{self, look},
    service::{Service, World},
};

const SERVICE: &str = "lock-integration-service";

/// A door at a property: its lock, its room, and a stay that a key could be for.
#[derive(Clone, Debug)]
pub struct Door {
    pub lock: String,
    pub room: String,
    pub reservation: String,
}

impl Door {
    /// The `number`-th lock of a property, with a reservation there.
    pub async fn of(world: &World, property_id: &str, number: usize) -> Self {
        Self::among(&look(world, "/sim/world").await, property_id, number)
    }

    /// The same in a world that was looked at before.
    pub fn among(known: &Value, property_id: &str, number: usize) -> Self {
        let here = |name: &str| -> Vec<Value> {
            let items = known[name].as_array().unwrap().iter();
            items.filter(|item| item["propertyId"] == property_id).cloned().collect()
        };
        let (locks, reservations) = (here("locks"), here("reservations"));
        let lock = &locks[number % locks.len()];
        let reservation = &reservations[number % reservations.len()];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            lock: text(&lock["id"]),
            room: text(&lock["roomId"]),
            reservation: text(&reservation["id"]),
        }
    }

    pub fn issue_path(&self) -> String {
        format!("/locks/{}/issue-key", self.lock)
    }

    pub fn revoke_path(&self) -> String {
        format!("/locks/{}/revoke-key", self.lock)
    }

    pub fn wish(&self) -> Value {
        json!({
            "reservationId": self.reservation,
            "rooms": [self.room],
            "validFrom": "2026-11-22T12:00:00Z",
            "validUntil": "2026-11-24T12:00:00+04:30",
            "preferredKinds": ["rfid_card", "pin_code"],
        })
    }
}

/// Has a key issued; answers its id.
pub async fn issued(desktop: &mut Desktop, service: &Service, door: &Door) -> String {
    let answer = desktop.post(service, &door.issue_path(), &key(), &door.wish()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["keyCredentialId"].as_str().unwrap().to_owned()
}

/// Steps up for a lock; answers the attestation's id.
pub async fn stepped_up(desktop: &mut Desktop, service: &Service, lock_id: &str) -> String {
    let wish = json!({
        "scope": "lock.revoke", "factor": "totp", "code": "000000", "resource": lock_id,
    });
    let answer = desktop.post(service, "/auth/mfa/step-up", &key(), &wish).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["attestationId"].as_str().unwrap().to_owned()
}

/// Asks for a key to be revoked, with an attestation or without.
pub async fn revoke(
    (desktop, service): (&mut Desktop, &Service),
    door: &Door,
    (key, credential): (&str, &str),
    attestation: Option<&str>,
) -> Answer {
    let body = json!({ "keyCredentialId": credential, "reason": "lost" }).to_string();
    let mut headers: Vec<(&str, &[u8])> =
        vec![("x-idempotency-key", key.as_bytes()), ("content-type", b"application/json")];
    headers.extend(attestation.map(|it| ("x-mfa-attestation", it.as_bytes())));
    let path = door.revoke_path();
    desktop.send_bytes(service, (Method::POST, &path), &headers, body.as_bytes()).await
}

/// The requests to change something that reached lock-integration-service.
pub async fn calls(world: &World) -> Vec<Value> {
    let calls = platform::kept(world, (SERVICE, "calls"), "").await.into_iter();
    calls.filter(|call| call["method"] == "POST").collect()
}

/// What lock-integration-service has done.
pub async fn effects(world: &World) -> Vec<Value> {
    platform::kept(world, (SERVICE, "effects"), "").await
}

/// The kinds of the ledger of locks, without their common beginning, by stream; in order.
pub async fn recorded(world: &World) -> Vec<(String, String)> {
    let query = "select stream, substr(kind, 39) from event where ledger = 'lock-audit' \
                 order by position";
    let mut connection = world.database.superuser().await;
    sqlx::query_as(query).fetch_all(&mut connection).await.unwrap()
}

/// The kinds of one stream.
pub async fn kinds(world: &World, stream: &str) -> Vec<String> {
    let recorded = recorded(world).await.into_iter();
    recorded.filter(|(of, _)| of == stream).map(|(_, kind)| kind).collect()
}

/// Lets lock-integration-service go wrong.
pub async fn fault(world: &World, fault: Value) {
    platform::fault(world, SERVICE, &fault).await;
}

/// Lets lock-integration-service be well again.
pub async fn heal(world: &World) {
    platform::heal(world, SERVICE).await;
}

/// Actions without an outcome, as the worker knows them.
pub async fn open(world: &World) -> i64 {
    let mut connection = world.database.superuser().await;
    let query = "select count(*) from open_action";
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

/// Lets every open action have been requested so long ago, and be due.
pub async fn age(world: &World, minutes: f64) {
    let age = "update open_action set next_try_at = now(), \
               requested_at = now() - $1 * interval '1 minute'";
    let mut superuser = world.database.superuser().await;
    sqlx::query(age).bind(minutes).execute(&mut superuser).await.unwrap();
}

/// The data of the last event of the ledger of locks.
pub async fn last_word(world: &World) -> Value {
    let query = "select convert_from(body, 'utf8') from event \
                 where ledger = 'lock-audit' order by position desc limit 1";
    let mut superuser = world.database.superuser().await;
    let body: String = sqlx::query_scalar(query).fetch_one(&mut superuser).await.unwrap();
    serde_json::from_str(&body).unwrap()
}

/// Loses what lock-integration-service has said so far.
pub async fn forget(world: &World) {
    let mut superuser = world.database.superuser().await;
    let forget = "delete from inbox_event where producer = 'lock'";
    sqlx::raw_sql(forget).execute(&mut superuser).await.unwrap();
}

/// What lock-integration-service says of the only open action, under the key it was asked with.
pub async fn says(world: &World, tenant_id: &str, (what, credential): (&str, &str)) {
    let mut superuser = world.database.superuser().await;
    let upstream_key: String = sqlx::query_scalar("select upstream_key from open_action")
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    let insert = "insert into inbox_event (tenant_id, producer, event_id, position, subject, \
        property_id, occurred_at, received_at, payload) \
        select $1, 'lock', 'e1', coalesce(max(position), 0) + 1, \
            'melmastoon.lock.credential.' || $2 || '.v1', null, now(), now(), \
            jsonb_build_object('keyCredentialId', $3, 'idempotencyKey', $4) from inbox_event";
    sqlx::query(insert)
        .bind(tenant_id)
        .bind(what)
        .bind(credential)
        .bind(&upstream_key)
        .execute(&mut superuser)
        .await
        .unwrap();
}
