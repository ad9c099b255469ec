//! `PUT /offline-queue/hint`: what this device has queued, for the operator's other devices.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        device_sync::hint::{self, Hint, Wish},
        idempotency::KeyedRequest,
    },
    http::{
        body::Json,
        caller::Entrant,
        keyed,
        openapi::IdempotencyKey,
        problem::Problem,
        validators::{fulfils, is_opaque},
    },
};

const ROUTE: &str = "PUT /offline-queue/hint";
const PENDING_ACTIONS_MAX: u32 = 1_000_000;
const KINDS_MAX: usize = 32;

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = PutOfflineQueueHint)]
pub struct Request {
    #[garde(range(max = PENDING_ACTIONS_MAX))]
    #[schema(maximum = 1_000_000)]
    pending_actions: u32,
    /// When the first of them was done.
    #[serde(default)]
    #[garde(skip)]
    oldest_at: Option<DateTime<Utc>>,
    /// What is queued → how many; at most 32 names of 1–64 characters.
    #[serde(default)]
    #[garde(custom(fulfils(are_kinds)))]
    kinds: BTreeMap<String, u32>,
}

#[utoipa::path(
    put,
    path = "/offline-queue/hint",
    operation_id = "putOfflineQueueHint",
    summary = "Says what this device has queued; kept for seven days, never authoritative",
    tag = "devices",
    params(
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Hint, description = "The hint as the other devices see it"),
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
    let Request { pending_actions, oldest_at, kinds } = request;
    let wish = Wish { pending_actions, oldest_at, kinds };
    let commands = app.commands().clone();
    let putting = async move { hint::put(&commands, &actor, &wish, &keyed).await };
    let outcome = keyed::to_its_end(&app, putting).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

fn are_kinds(kinds: &BTreeMap<String, u32>) -> bool {
    kinds.len() <= KINDS_MAX && kinds.keys().all(|name| is_opaque(name))
}
