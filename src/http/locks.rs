//! What the routes of locks share: how their members are read, and how their commands are answered.

use axum::response::Response;
use chrono::{DateTime, Utc};
use events::LockId;
use http::request::Parts;
use serde_json::Value;

use super::{attestation, caller::Entrant, codes::Code, keyed, problem::Problem};
use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        lock_action::{self, LockActionError, Wish},
    },
};

/// Has an action done under the request's key and answers it. `route` names method, path and query.
///
/// # Errors
/// What is wrong with the key, and those of the command.
pub async fn carry_out(
    (app, entrant): (&App, &Entrant),
    (parts, body): (&Parts, &Value),
    wish: Wish,
) -> Result<Response, Problem> {
    let key = keyed::key(app, &parts.headers)?;
    let actor = entrant.actor();
    let route = route(parts, &wish);
    let keyed = KeyedRequest::new(app.commands(), &actor, key, &route, body);
    let presented = attestation::presented(&parts.headers).map(str::to_owned);
    let render = keyed::render(&entrant.context);
    let (commands, request) = (app.commands().clone(), keyed.clone());
    let acting = async move {
        let request = lock_action::Request {
            actor: &actor,
            wish: &wish,
            keyed: &keyed,
            presented: presented.as_deref(),
            render: &render,
        };
        lock_action::run(&commands, request).await
    };
    let outcome = keyed::in_turn(app, &request, acting).await?;
    Ok(keyed::response(app, &entrant.caller, outcome))
}

fn route(parts: &Parts, wish: &Wish) -> String {
    let action = match wish.deed {
        lock_action::Deed::Issue { .. } => "issue-key",
        lock_action::Deed::Revoke { .. } => "revoke-key",
    };
    let query = parts.uri.query().unwrap_or_default();
    format!("POST /locks/{}/{action}?{query}", wish.lock_id)
}

/// The lock that a path names. What cannot be one does not exist.
///
/// # Errors
/// 404.
pub fn lock_id(text: &str) -> Result<LockId, Problem> {
    text.parse().map_err(|_| Code::ResourceNotFound.into())
}

/// Whether a text is a time by RFC 3339.
pub fn is_time(text: &str) -> bool {
    DateTime::parse_from_rfc3339(text).is_ok()
}

/// A time that a validator has accepted.
///
/// # Errors
/// 400, naming the member.
pub fn time(text: &str, field: &str) -> Result<DateTime<Utc>, Problem> {
    let read = DateTime::parse_from_rfc3339(text);
    read.map(|at| at.to_utc())
        .map_err(|_| Problem::new(Code::ValidationFailed).field(field, "INVALID"))
}

impl From<LockActionError> for Problem {
    fn from(error: LockActionError) -> Self {
        match error {
            LockActionError::Command(error) => error.into(),
            LockActionError::NotFound => Self::new(Code::ResourceNotFound),
            LockActionError::OtherRooms => {
                Self::new(Code::ValidationFailed).field("rooms", "WITHOUT_THE_LOCK")
            }
            LockActionError::Attestation(error) => error.into(),
            LockActionError::Upstream(error) => error.into(),
        }
    }
}
