//! Alerts from beginning to end: raised upstream, acknowledged by a desktop, and what became of it.

use reqwest::Response;
use serde_json::{Value, json};

use super::{
    desktop::{Answer, Desktop},
    service::{Service, World},
    wait,
};

/// Raises an alert upstream and waits until it is in the inbox.
pub async fn raised(world: &World, desktop: &mut Desktop, service: &Service) -> String {
    let alert_id = raise(world, desktop, "Raised").await;
    desktop.alert(service, "raised", |alert| alert["id"] == alert_id.as_str()).await;
    alert_id
}

/// An upstream service raises an alert for the desktop's first property. Answers its id.
pub async fn raise(world: &World, desktop: &Desktop, title: &str) -> String {
    raise_at(world, (desktop.text("tenantId"), desktop.property()), title).await
}

/// An upstream service raises an alert for a tenant's property.
pub async fn raise_at(
    world: &World,
    (tenant_id, property_id): (&str, &str),
    title: &str,
) -> String {
    let event = json!({
        "producer": "notification",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": tenant_id,
        "payload": {
            "propertyId": property_id, "severity": "high", "category": "lock", "title": title,
        },
    });
    let event = simulate(world, "/sim/events", &event).await;
    event["payload"]["alertId"].as_str().unwrap().to_owned()
}

pub async fn acknowledge(
    desktop: &mut Desktop,
    service: &Service,
    alert_id: &str,
    key: &str,
) -> Answer {
    desktop.post(service, &path(alert_id), key, &json!({})).await
}

/// Where an alert is acknowledged.
pub fn path(alert_id: &str) -> String {
    format!("/alerts/{alert_id}/acknowledge")
}

/// How often notification-service acknowledged the alert.
pub async fn effects(world: &World, alert_id: &str) -> usize {
    let effects = upstream(world, "effects").await;
    let path = format!("/api/v1/alerts/{alert_id}/acknowledge");
    let effects = effects["effects"].as_array().unwrap();
    effects.iter().filter(|effect| effect["path"].as_str().unwrap().ends_with(&path)).count()
}

/// Waits until notification-service has acknowledged the alert, once, and the ledger knows.
pub async fn settled(world: &World, alert_id: &str) {
    wait::until("the acknowledgment is forwarded and recorded", || async {
        effects(world, alert_id).await == 1 && events_of(world, alert_id).await.len() == 2
    })
    .await;
}

/// The acknowledgments that reached notification-service, answered or not.
pub async fn calls(world: &World, alert_id: &str) -> Vec<Value> {
    let path = format!("/api/v1/alerts/{alert_id}/acknowledge");
    let calls = upstream(world, "calls").await;
    let calls = calls["calls"].as_array().unwrap().iter();
    calls.filter(|call| call["path"].as_str().unwrap().ends_with(&path)).cloned().collect()
}

/// The kinds of the alert's stream, without their common beginning.
pub async fn events_of(world: &World, alert_id: &str) -> Vec<String> {
    let query = "select substr(kind, 27) from event where stream = $1 order by stream_version";
    let mut connection = world.database.superuser().await;
    let stream = format!("ali:{alert_id}");
    sqlx::query_scalar(query).bind(stream).fetch_all(&mut connection).await.unwrap()
}

/// Lets notification-service go wrong.
pub async fn fault(world: &World, fault: Value) {
    checked(http().put(faults(world)).json(&fault).send().await.unwrap());
}

/// Lets notification-service be well again.
pub async fn heal(world: &World) {
    checked(http().delete(faults(world)).send().await.unwrap());
}

fn faults(world: &World) -> String {
    format!("{}/sim/upstreams/notification-service/faults", world.simulator.url())
}

/// What notification-service keeps of its past.
pub async fn upstream(world: &World, what: &str) -> Value {
    let url = format!("{}/sim/upstreams/notification-service/{what}", world.simulator.url());
    checked(http().get(url).send().await.unwrap()).json().await.unwrap()
}

/// Lets something happen on the simulated platform.
pub async fn simulate(world: &World, path: &str, body: &Value) -> Value {
    let url = format!("{}{path}", world.simulator.url());
    checked(http().post(url).json(body).send().await.unwrap()).json().await.unwrap()
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn checked(answer: Response) -> Response {
    answer.error_for_status().unwrap()
}

pub fn tenant(world: &World, number: usize) -> String {
    world.simulator.tenant_ids()[number].clone()
}
