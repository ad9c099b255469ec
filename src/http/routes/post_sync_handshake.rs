//! `POST /sync/handshake`: a device comes back and gets a token for sync-service.

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
        device_sync::handshake::{self, Session, Wish},
        idempotency::KeyedRequest,
        keyed_work::WorkError,
    },
    http::{body::Json, caller::Entrant, keyed, openapi::IdempotencyKey, problem::Problem},
};

const ROUTE: &str = "POST /sync/handshake";

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = SyncHandshake)]
pub struct Request {
    /// When the device last exchanged data; absent for the first time.
    #[serde(default)]
    #[garde(skip)]
    last_sync_at: Option<DateTime<Utc>>,
}

#[utoipa::path(
    post,
    path = "/sync/handshake",
    operation_id = "syncHandshake",
    summary = "Opens an exchange of data with sync-service",
    tag = "sync",
    params(
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Session,
            description = "A token good for ten minutes, and where the device stands"),
        (status = 502, response = crate::http::openapi::Problem),
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
    let wish = Wish { last_sync_at: request.last_sync_at };
    let (commands, keys) = (app.commands().clone(), app.sync_keys().clone());
    let render = keyed::render(&entrant.context);
    let shaking =
        async move { handshake::run((&commands, &keys), &actor, (wish, &keyed), &render).await };
    let outcome = keyed::to_its_end(&app, shaking).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

impl From<WorkError> for Problem {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Command(error) => error.into(),
            WorkError::Upstream(error) => error.into(),
        }
    }
}
