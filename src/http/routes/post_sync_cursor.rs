//! `POST /sync/cursor`: the caller's device has taken a stream in up to a cursor.

use axum::{extract::State, response::Response};
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        device_sync::cursor::{self, Standing, Wish},
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

const ROUTE: &str = "POST /sync/cursor";

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(as = AdvanceSyncCursor)]
pub struct Request {
    #[garde(custom(fulfils(is_opaque)))]
    #[schema(min_length = 1, max_length = 64)]
    stream: String,
    /// Opaque.
    #[garde(length(chars, min = 1, max = 512), custom(fulfils(has_no_control)))]
    #[schema(min_length = 1, max_length = 512)]
    cursor: String,
    /// Where the device thinks it stands; null or absent: nowhere yet.
    #[serde(default)]
    #[garde(length(chars, min = 1, max = 512))]
    #[schema(min_length = 1, max_length = 512)]
    expected_cursor: Option<String>,
}

#[utoipa::path(
    post,
    path = "/sync/cursor",
    operation_id = "advanceSyncCursor",
    summary = "Moves one cursor of the device, if it stands where it is expected to",
    tag = "sync",
    params(
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Standing, description = "All cursors as they stand now"),
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
    let Request { stream, cursor: to, expected_cursor: from } = request;
    let wish = Wish { stream, from, to };
    let (commands, render) = (app.commands().clone(), keyed::render(&entrant.context));
    let moving = async move { cursor::advance(&commands, &actor, (&wish, &keyed), &render).await };
    let outcome = keyed::to_its_end(&app, moving).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

fn has_no_control(cursor: &str) -> bool {
    !cursor.chars().any(char::is_control)
}
