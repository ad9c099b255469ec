//! Alerts from beginning to end: raised upstream, acknowledged by a desktop, and what became of it.

use serde_json::{Value, json};

use super::{
    desktop::{Answer, Desktop},
    platform,
    service::{Service, World},
    wait,
};

const RAISED: &str = "melmastoon.notification.alert.raised.v1";
const UPSTREAM: &str = "notification-service";

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
    let payload = json!({
        "propertyId": property_id, "severity": "high", "category": "lock", "title": title,
    });
    let event = platform::happened(world, tenant_id, RAISED, payload).await;
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

fn upstream_path(alert_id: &str) -> String {
    format!("/api/v1{}", path(alert_id))
}

/// How often notification-service acknowledged the alert.
pub async fn effects(world: &World, alert_id: &str) -> usize {
    platform::kept(world, (UPSTREAM, "effects"), &upstream_path(alert_id)).await.len()
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
    platform::kept(world, (UPSTREAM, "calls"), &upstream_path(alert_id)).await
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
    platform::fault(world, UPSTREAM, &fault).await;
}

/// Lets notification-service be well again.
pub async fn heal(world: &World) {
    platform::heal(world, UPSTREAM).await;
}
