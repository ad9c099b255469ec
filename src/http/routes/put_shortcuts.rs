//! `PUT /shortcuts`: the caller gives actions of the desktop other keys, or none.

use axum::{extract::State, response::Response};
use events::ledger::operator_activity::Level;
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        shortcuts::{self, Overrides, ShortcutError, Shortcuts, Wish},
    },
    http::{body::Json, caller::Entrant, codes::Code, if_match, keyed, problem::Problem},
};

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PutShortcuts)]
pub struct Request {
    /// Action → keys such as `Ctrl+Shift+K` or `F5`, or null for none. All there shall be: an
    /// action that is left out has the keys it came with.
    #[garde(skip)]
    #[schema(value_type = std::collections::BTreeMap<String, Option<String>>)]
    overrides: Overrides,
}

#[utoipa::path(
    put,
    path = "/shortcuts",
    operation_id = "putShortcuts",
    summary = "Replaces the operator's own keys",
    tag = "desk",
    params(
        ("X-Idempotency-Key" = String, Header,
            description = "ULID of this wish; the same key has one effect and one answer"),
        ("If-Match" = Option<String>, Header,
            description = "`ETag` of the version that this one replaces; without it, any"),
    ),
    request_body = Request,
    responses(
        (status = 200, body = Shortcuts, description = "The map that stands",
            headers(
                ("ETag" = String, description = "Its version, for If-Match"),
                ("X-Ledger-Position" = String,
                    description = "Send it back as X-Min-Position to read your own write"),
                ("Idempotency-Replayed" = String,
                    description = "true when this is the answer to an earlier request"),
            )),
        (status = 400, response = crate::http::openapi::Problem),
        (status = 401, response = crate::http::openapi::Problem),
        (status = 409, response = crate::http::openapi::Problem),
        (status = 412, response = crate::http::openapi::Problem),
        (status = 422, response = crate::http::openapi::Problem),
        (status = 503, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    put(&app, &entrant, (&headers, request), Level::Operator).await
}

/// Replaces the overrides of a level.
pub(super) async fn put(
    app: &App,
    entrant: &Entrant,
    (headers, request): (&HeaderMap, Request),
    level: Level,
) -> Result<Response, Problem> {
    let key = keyed::key(app, headers)?;
    let if_match = if_match::read(headers)?.map(str::to_owned);
    check(&request.overrides)?;
    let actor = entrant.actor();
    let path = match level {
        Level::Tenant => "/shortcuts/tenant",
        Level::Operator => "/shortcuts",
    };
    let route = format!("PUT {path} if-match={}", if_match.as_deref().unwrap_or_default());
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &route, &json!(request));
    let wish = Wish { level, overrides: request.overrides, if_match };
    let commands = app.commands().clone();
    let writing = async move { shortcuts::write(&commands, &actor, (&wish, &keyed)).await };
    let outcome = keyed::to_its_end(app, writing).await?;
    Ok(keyed::response(app, &entrant.caller, outcome))
}

impl From<ShortcutError> for Problem {
    fn from(error: ShortcutError) -> Self {
        match error {
            ShortcutError::Command(error) => error.into(),
            ShortcutError::Changed => Self::new(Code::PreconditionFailed),
            ShortcutError::Taken(action) => {
                Self::new(Code::ValidationFailed).field(format!("overrides.{action}"), "TAKEN")
            }
        }
    }
}

/// Actions that there are, and keys that can be.
fn check(overrides: &Overrides) -> Result<(), Problem> {
    let mut problem = Problem::new(Code::ValidationFailed);
    for (action, keys) in overrides {
        // A name that is not ours may be anything and is not repeated.
        if !shortcuts::is_action(action) {
            problem = problem.field("overrides", "UNKNOWN_ACTION");
        } else if keys.as_deref().is_some_and(|keys| !shortcuts::is_keys(keys)) {
            problem = problem.field(format!("overrides.{action}"), "INVALID");
        }
    }
    if problem.errors.is_empty() { Ok(()) } else { Err(problem) }
}
