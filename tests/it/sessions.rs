//! The life of a session: opened, refreshed, idle, signed out, revoked.

mod keeping;
mod refresh;
mod revocation;
mod rights;
mod sign_out;
mod streams;

use serde_json::{Value, json};

use crate::support::service::World;

/// The kinds in a tenant's session ledger, in order and without their common beginning.
async fn ledger(world: &World, tenant_id: &str) -> Vec<String> {
    let query = "select substr(kind, 35) from event \
        where tenant_id = $1 and ledger = 'session' order by position";
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar(query).bind(tenant_id).fetch_all(&mut connection).await.unwrap()
}

async fn count(world: &World, tenant_id: &str, kind: &str) -> usize {
    ledger(world, tenant_id).await.iter().filter(|it| *it == kind).count()
}

/// What iam was asked, on this path.
async fn iam_calls(world: &World, path: &str) -> Vec<Value> {
    let calls = upstream(world, "iam-service", "calls").await;
    let calls = calls["calls"].as_array().unwrap().iter();
    calls.filter(|call| call["path"].as_str().unwrap().ends_with(path)).cloned().collect()
}

async fn iam_effects(world: &World, path: &str) -> usize {
    let effects = upstream(world, "iam-service", "effects").await;
    let effects = effects["effects"].as_array().unwrap().iter();
    effects.filter(|effect| effect["path"].as_str().unwrap().ends_with(path)).count()
}

async fn upstream(world: &World, service: &str, what: &str) -> Value {
    let url = format!("{}/sim/upstreams/{service}/{what}", world.simulator.url());
    http().get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

async fn fault(world: &World, fault: Value) {
    let url = format!("{}/sim/upstreams/iam-service/faults", world.simulator.url());
    http().put(url).json(&fault).send().await.unwrap().error_for_status().unwrap();
}

async fn heal(world: &World) {
    let url = format!("{}/sim/upstreams/iam-service/faults", world.simulator.url());
    http().delete(url).send().await.unwrap().error_for_status().unwrap();
}

/// An upstream says that something happened, and lets it happen at its own place.
async fn happened(world: &World, tenant_id: &str, subject: &str, payload: Value) {
    let producer = subject.split('.').nth(1).unwrap();
    let event = json!({
        "producer": producer, "subject": subject, "tenantId": tenant_id, "payload": payload,
    });
    let url = format!("{}/sim/events", world.simulator.url());
    http().post(url).json(&event).send().await.unwrap().error_for_status().unwrap();
}

fn tenant(world: &World, number: usize) -> String {
    world.simulator.tenant_ids()[number].clone()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
