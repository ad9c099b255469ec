//! Suggestions from beginning to end: proposed by the orchestrator, decided by a desktop, and what
//! became of it.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    desktop::{Answer, Desktop},
    platform::{kept, look, simulate},
    service::{Service, World},
    wait,
};

/// The orchestrator proposes something for the desktop's first property. Answers its id.
pub async fn propose(world: &World, desktop: &Desktop, details: Value) -> String {
    propose_at(world, (desktop.text("tenantId"), desktop.property()), details).await
}

/// Proposes something at a property of a tenant; answers its id.
pub async fn propose_at(
    world: &World,
    (tenant_id, property_id): (&str, &str),
    details: Value,
) -> String {
    let mut payload = json!({ "propertyId": property_id, "category": "rate_change" });
    payload.as_object_mut().unwrap().extend(details.as_object().unwrap().clone());
    let event = happen_at(world, tenant_id, "suggestion.proposed.v1", payload).await;
    event["payload"]["suggestionId"].as_str().unwrap().to_owned()
}

/// Something happens to a suggestion at the orchestrator.
pub async fn happen(world: &World, desktop: &Desktop, what: &str, payload: Value) -> Value {
    happen_at(world, desktop.text("tenantId"), what, payload).await
}

async fn happen_at(world: &World, tenant_id: &str, what: &str, payload: Value) -> Value {
    let event = json!({
        "producer": "ai_orchestrator",
        "subject": format!("melmastoon.ai_orchestrator.{what}"),
        "tenantId": tenant_id,
        "payload": payload,
    });
    simulate(world, "/sim/events", &event).await
}

/// Proposes something and waits until it is in the inbox.
pub async fn proposed(world: &World, desktop: &mut Desktop, service: &Service) -> String {
    let id = propose(world, desktop, json!({ "title": "Raise the rate" })).await;
    listed(desktop, service, &id, |_| true).await;
    id
}

/// Asks for suggestions until one of this id fulfils the condition.
pub async fn listed(
    desktop: &mut Desktop,
    service: &Service,
    id: &str,
    condition: impl Fn(&Value) -> bool,
) -> Value {
    wait::until_some("the suggestion is listed so", async || {
        let items = list(desktop, service, "?limit=100").await;
        items.into_iter().find(|item| item["id"] == id && condition(item))
    })
    .await
}

pub async fn list(desktop: &mut Desktop, service: &Service, query: &str) -> Vec<Value> {
    let answer = desktop.get(service, &format!("/ai/suggestions{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

pub async fn decide(
    desktop: &mut Desktop,
    service: &Service,
    (id, key): (&str, &str),
    body: &Value,
) -> Answer {
    desktop.post(service, &path(id), key, body).await
}

/// Where a suggestion is decided on.
pub fn path(id: &str) -> String {
    format!("/ai/suggestions/{id}/decide")
}

/// The decisions on a suggestion that the orchestrator took.
pub async fn effects(world: &World, id: &str) -> Vec<Value> {
    let path = format!("/api/v1/ai/suggestions/{id}/decision");
    kept(world, ("ai-orchestrator-service", "effects"), &path).await
}

/// The kinds of a suggestion's stream without their common beginning, each with its data.
pub async fn events_of(world: &World, id: &str) -> Vec<(String, Value)> {
    let query = "select substr(kind, 27), convert_from(body, 'utf8') from event where stream = $1 \
        order by stream_version";
    let mut connection = world.database.superuser().await;
    let rows: Vec<(String, String)> =
        sqlx::query_as(query).bind(format!("sdl:{id}")).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().map(|(kind, body)| (kind, serde_json::from_str(&body).unwrap())).collect()
}

pub async fn kinds_of(world: &World, id: &str) -> Vec<String> {
    events_of(world, id).await.into_iter().map(|(kind, _)| kind).collect()
}

/// How many keys anything is remembered of.
pub async fn claims(world: &World) -> i64 {
    let mut connection = world.database.superuser().await;
    let query = "select count(*) from idempotency";
    sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap()
}

/// A tenant of this compliance profile.
pub async fn tenant_of(world: &World, profile: &str) -> String {
    let known = look(world, "/sim/world").await;
    let tenants = known["tenants"].as_array().unwrap().iter();
    let mut of_profile = tenants.filter(|tenant| tenant["complianceProfile"] == profile);
    of_profile.next().unwrap()["id"].as_str().unwrap().to_owned()
}
