//! What desktops keep with us, through the binary: their state and hints, preferences and shortcuts,
//! activity, the way to sync-service and what comes back from it.

mod activity;
mod devices;
mod offline;
mod preferences;
mod shortcuts;
mod sync;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    desktop::{Answer, Desktop},
    service::{Service, World},
};

async fn start() -> (World, Service, Desktop) {
    let world = World::start().await;
    let service = world.service().await;
    let desktop = sign_in(&world, json!({})).await;
    (world, service, desktop)
}

/// An operator of the first tenant, on a new device.
async fn sign_in(world: &World, options: Value) -> Desktop {
    let tenant_id = world.simulator.tenant_ids()[0].clone();
    Desktop::sign_in(world, &tenant_id, options).await
}

/// The same operator on another device.
async fn second_device(world: &World, desktop: &Desktop) -> Desktop {
    sign_in(world, json!({ "operatorId": desktop.text("operatorId") })).await
}

async fn put(
    desktop: &mut Desktop,
    service: &Service,
    (path, key): (&str, &str),
    (body, if_match): (&Value, Option<&str>),
) -> Answer {
    let mut headers: Vec<(&str, &[u8])> =
        vec![("content-type", b"application/json"), ("x-idempotency-key", key.as_bytes())];
    if let Some(tag) = if_match {
        headers.push(("if-match", tag.as_bytes()));
    }
    let body = body.to_string();
    desktop.send_bytes(service, (Method::PUT, path), &headers, body.as_bytes()).await
}

/// Kind, stream, data and metadata of the events whose kind ends so, in their order.
async fn recorded(world: &World, kind: &str) -> Vec<(String, Value, Value)> {
    let mut connection = world.database.superuser().await;
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "select stream, body::text, metadata::text from event_json where kind like $1 \
         order by position",
    )
    .bind(format!("%.{kind}.v1"))
    .fetch_all(&mut connection)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(stream, body, metadata)| {
            let json = |text: &str| serde_json::from_str(text).unwrap();
            (stream, json(&body), json(&metadata))
        })
        .collect()
}

async fn break_upstream(world: &World, service: &str, faults: Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sim/upstreams/{service}/faults", world.simulator.url());
    http.put(url).json(&faults).send().await.unwrap().error_for_status().unwrap();
}

async fn heal_upstream(world: &World, service: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sim/upstreams/{service}/faults", world.simulator.url());
    http.delete(url).send().await.unwrap().error_for_status().unwrap();
}

/// What a service has done, whose path ends so.
async fn effects(world: &World, service: &str, path: &str) -> usize {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sim/upstreams/{service}/effects", world.simulator.url());
    let effects: Value = http.get(url).send().await.unwrap().json().await.unwrap();
    let effects = effects["effects"].as_array().unwrap();
    effects.iter().filter(|effect| effect["path"].as_str().unwrap().ends_with(path)).count()
}

/// Asks until the service has an answer other than that its upstream is away.
async fn until_answered(mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    let give_up_at = tokio::time::Instant::now() + std::time::Duration::from_secs(40);
    loop {
        let answer = ask().await;
        if !answer.status.is_server_error() {
            return answer;
        }
        assert!(tokio::time::Instant::now() < give_up_at, "{}", answer.body);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
