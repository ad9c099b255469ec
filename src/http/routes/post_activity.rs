//! `POST /activity`: what the caller did at the desktop, up to a hundred things at once.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use events::ledger::operator_activity;
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        record_activity::{self, BATCH_MAX, Recorded},
    },
    http::{
        body::Json, caller::Entrant, codes::Code, keyed, openapi::IdempotencyKey, problem::Problem,
    },
};

const ROUTE: &str = "POST /activity";

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RecordActivity)]
pub struct Request {
    /// In the order in which they were done.
    #[garde(length(min = 1, max = BATCH_MAX))]
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<Item>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Activity)]
pub struct Item {
    /// Of the closed catalogue, such as `board.opened`.
    verb: String,
    /// By the device's clock; at most 24 h ago.
    at: DateTime<Utc>,
    #[serde(default)]
    target: Option<Target>,
    /// Those of the verb: switches, integers, ids and names of the desktop's own; nothing personal.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    properties: BTreeMap<String, Value>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ActivityTarget)]
pub struct Target {
    /// `reservation`, `room` …
    #[serde(rename = "type")]
    kind: String,
    /// Opaque, 1–64 characters.
    id: String,
}

#[utoipa::path(
    post,
    path = "/activity",
    operation_id = "recordActivity",
    summary = "Records what the operator did at the desktop",
    tag = "desk",
    params(
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Recorded, description = "Each item is an event of its own now"),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let key = keyed::key(&app, &headers)?;
    let actor = entrant.actor();
    let keyed = KeyedRequest::new(app.commands(), &actor, key, ROUTE, &json!(request));
    let items = request.items.into_iter().map(Item::told).collect();
    let activities = record_activity::check(items, app.clock().now()).map_err(|mistakes| {
        mistakes.into_iter().fold(Problem::new(Code::ValidationFailed), |problem, mistake| {
            problem.field(format!("items[{}].{}", mistake.item, mistake.member), "INVALID")
        })
    })?;
    let commands = app.commands().clone();
    let recording =
        async move { record_activity::run(&commands, &actor, (activities, &keyed)).await };
    let outcome = keyed::to_its_end(&app, recording).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

impl Item {
    fn told(self) -> record_activity::Item {
        let target = |Target { kind, id }| operator_activity::Target { kind, id };
        record_activity::Item {
            verb: self.verb,
            at: self.at,
            target: self.target.map(target),
            properties: self.properties,
        }
    }
}
