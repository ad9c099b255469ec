//! Mutations under a key: what their routes do before and after the command.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use ulid::Ulid;

use super::{codes::Code, problem::Problem};
use crate::{
    access::{Caller, idempotency_key},
    app::App,
    commands::idempotency::{KeyedRequest, Outcome},
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const X_LEDGER_POSITION: HeaderName = HeaderName::from_static("x-ledger-position");

/// The key a mutation comes under.
///
/// # Errors
/// 400: missing, twice, no ULID, or too old.
pub fn key(app: &App, headers: &HeaderMap) -> Result<Ulid, Problem> {
    idempotency_key::parse(headers, app.clock().now())
        .map_err(|error| Problem::new(Code::named(error.code()).unwrap_or(Code::Internal)))
}

/// Runs a command in a task of its own: a client that hangs up leaves no half command behind.
///
/// # Errors
/// The command's, as clients see it; 500 when it panicked.
pub async fn to_its_end<T, E>(
    app: &App,
    command: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let ended = app.tracker().spawn(command).await;
    ended.map_err(|panicked| Problem::new(Code::Internal).cause(panicked))?.map_err(Into::into)
}

/// Runs a keyed command to its end, unless this process is at work on its key.
///
/// # Errors
/// 409 and 422 when it is; else as [`to_its_end`].
pub async fn in_turn<T, E>(
    app: &App,
    request: &KeyedRequest,
    command: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Problem>
where
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let turn = request.take_turn(app.commands())?;
    to_its_end(app, async move {
        let ended = command.await;
        drop(turn);
        ended
    })
    .await
}

/// The answer of a command, the same bytes for everybody who repeats the request.
pub fn response(app: &App, caller: &Caller, outcome: Outcome) -> Response {
    let Outcome { response: stored, position, replayed } = outcome;
    let mut response = Response::new(Body::from(stored.body));
    *response.status_mut() =
        StatusCode::from_u16(stored.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            headers.insert(name, value);
        }
    }
    if replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(position) = position {
        let token = app.seal().position(&caller.tenant_id, position);
        let token = HeaderValue::from_str(&token).expect("base64url fits into a header");
        headers.insert(X_LEDGER_POSITION, token);
    }
    response
}
