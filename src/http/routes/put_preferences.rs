//! `PUT /preferences`: what the caller prefers from now on; tenant-service knows it first.

use axum::{extract::State, response::Response};
use garde::Validate;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::get_preferences::Preferences;
use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        preferences::{self, Wish},
    },
    http::{
        body::Json, caller::Entrant, if_match, keyed, openapi::IdempotencyKey, problem::Problem,
        validators::fulfils,
    },
};

const MEMBERS_MAX: usize = 128;
const NAME_CHARS_MAX: usize = 64;
const SIZE_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutPreferences)]
pub struct Request {
    /// All of them: one that is left out is gone. At most 128 members and 32 KiB.
    #[garde(custom(fulfils(are_members)))]
    #[schema(value_type = std::collections::HashMap<String, Value>)]
    preferences: Map<String, Value>,
}

#[utoipa::path(
    put,
    path = "/preferences",
    operation_id = "putPreferences",
    summary = "Replaces what the operator prefers, on every device",
    tag = "desk",
    params(
        IdempotencyKey,
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the version that this one replaces; without it, any"),
    ),
    request_body = Request,
    responses(
        (status = 200, body = Preferences, description = "The preferences that stand",
            headers(
                ("ETag" = String, description = "Their version, for If-Match"),
            )),
        (status = 412, response = crate::http::openapi::Problem),
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
    let tag = if_match::read(&headers)?;
    let actor = entrant.actor();
    let route = format!("PUT /preferences if-match={}", tag.unwrap_or_default());
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &route, &json!(request));
    let if_match = headers.get(header::IF_MATCH).cloned();
    let wish = Wish { members: request.preferences, if_match };
    let (commands, render) = (app.commands().clone(), keyed::render(&entrant.context));
    let writing =
        async move { preferences::write(&commands, &actor, (&wish, &keyed), &render).await };
    let outcome = keyed::to_its_end(&app, writing).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

fn are_members(members: &Map<String, Value>) -> bool {
    let is_name = |name: &String| {
        (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.contains('\0')
    };
    let text = json!(members).to_string();
    members.len() <= MEMBERS_MAX
        && members.keys().all(is_name)
        && text.len() <= SIZE_BYTES_MAX
        // As JSON writes it: the mirror cannot hold it.
        && !text.contains("\\u0000")
}
