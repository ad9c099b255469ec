//! What desktops keep with us, through the binary: their state and hints, preferences and shortcuts,
//! activity, the way to sync-service and what comes back from it.

mod activity;
mod devices;
mod offline;
mod preferences;
mod shortcuts;
mod sync;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    desktop::{Answer, Desktop},
    service::{Service, World},
    wait,
};

/// How long a circuit may take to close again.
const CIRCUIT_PATIENCE: Duration = Duration::from_secs(40);

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

/// Asks until the service has an answer other than that its upstream is away.
async fn until_answered(mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    wait::within(CIRCUIT_PATIENCE, "the upstream is back", async || {
        Some(ask().await).filter(|answer| !answer.status.is_server_error())
    })
    .await
}
