//! What a test lets happen on the simulated platform, and what it finds there.

use std::time::Duration;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::service::World;

const PATIENCE: Duration = Duration::from_secs(20);

/// Has something done by the platform.
pub async fn simulate(world: &World, path: &str, body: &Value) -> Value {
    read(http().post(url(world, path)).json(body)).await
}

/// What the platform shows at this path.
pub async fn look(world: &World, path: &str) -> Value {
    read(http().get(url(world, path))).await
}

/// An upstream says that something happened, and lets it happen at its own place. Answers the
/// event.
pub async fn happened(world: &World, tenant_id: &str, subject: &str, payload: Value) -> Value {
    let producer = subject.split('.').nth(1).unwrap();
    let event = json!({
        "producer": producer, "subject": subject, "tenantId": tenant_id, "payload": payload,
    });
    simulate(world, "/sim/events", &event).await
}

/// An operator's sessions end, for this reason.
pub async fn revoke(world: &World, (tenant_id, operator_id): (&str, &str), reason: &str) {
    let wish = json!({ "tenantId": tenant_id, "operatorId": operator_id, "reason": reason });
    simulate(world, "/sim/revoke", &wish).await;
}

/// What an upstream keeps of its past, `calls` or `effects`, of the paths that end so.
pub async fn kept(world: &World, (upstream, what): (&str, &str), path: &str) -> Vec<Value> {
    let kept = look(world, &format!("/sim/upstreams/{upstream}/{what}")).await;
    let kept = kept[what].as_array().unwrap().iter();
    kept.filter(|one| one["path"].as_str().unwrap().ends_with(path)).cloned().collect()
}

/// Lets an upstream go wrong.
pub async fn fault(world: &World, upstream: &str, fault: &Value) {
    checked(http().put(faults(world, upstream)).json(fault)).await;
}

/// Lets an upstream be well again.
pub async fn heal(world: &World, upstream: &str) {
    checked(http().delete(faults(world, upstream))).await;
}

/// One of the platform's tenants.
pub fn tenant(world: &World, number: usize) -> String {
    world.simulator.tenant_ids()[number].clone()
}

fn faults(world: &World, upstream: &str) -> String {
    url(world, &format!("/sim/upstreams/{upstream}/faults"))
}

fn url(world: &World, path: &str) -> String {
    format!("{}{path}", world.simulator.url())
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

async fn read(request: RequestBuilder) -> Value {
    checked(request).await.json().await.unwrap()
}

async fn checked(request: RequestBuilder) -> reqwest::Response {
    request.send().await.unwrap().error_for_status().unwrap()
}
