//! Mutations under a key: what their routes do before and after the command.

use axum::{body::Body, response::Response};
use events::Metadata;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ulid::Ulid;

use super::{
    BASE_PATH,
    codes::Code,
    problem::{PROBLEM_JSON, Problem},
    request_context::{RequestContext, TRACEPARENT, X_REQUEST_ID},
};
use crate::{
    access::{Caller, idempotency_key},
    app::App,
    commands::{
        StoredResponse,
        idempotency::{KeyedRequest, Outcome},
    },
    upstream::UpstreamError,
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
pub fn to_its_end<C, T, E>(
    app: &App,
    command: C,
) -> impl Future<Output = Result<T, Problem>> + Send + use<C, T, E>
where
    C: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    // Commands are large; from here on it is on the heap.
    let running = app.tracker().spawn(command);
    async {
        let ended = running.await;
        ended.map_err(|panicked| Problem::new(Code::Internal).cause(panicked))?.map_err(Into::into)
    }
}

/// Runs a keyed command to its end, unless this process is at work on the same request.
///
/// # Errors
/// 409 when it is; else as [`to_its_end`].
pub fn in_turn<C, T, E>(
    app: &App,
    request: &KeyedRequest,
    command: C,
) -> impl Future<Output = Result<T, Problem>> + Send + use<C, T, E>
where
    C: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Into<Problem> + Send + 'static,
{
    let running = request.take_turn(app.commands()).map(|turn| {
        to_its_end(app, async move {
            let ended = command.await;
            drop(turn);
            ended
        })
    });
    async { running?.await }
}

/// Writes an upstream's refusal out as this request's client sees it, so that a command can keep the
/// bytes. What is not there and what is not the caller's look the same.
pub fn render(
    context: &RequestContext,
) -> impl Fn(&UpstreamError) -> StoredResponse + Send + Sync + 'static {
    let context = context.clone();
    move |error| {
        let is_missing = error.problem_with(StatusCode::NOT_FOUND).is_some();
        let problem =
            if is_missing { Problem::new(Code::ResourceNotFound) } else { Problem::from(error) };
        let document = problem.document(&context);
        let language = context.language().tag().to_owned();
        let content_type = PROBLEM_JSON.to_str().expect("a media type is text").to_owned();
        StoredResponse {
            status: problem.status().as_u16(),
            headers: vec![
                (header::CONTENT_TYPE.to_string(), content_type),
                (header::CONTENT_LANGUAGE.to_string(), language),
            ],
            body: serde_json::to_vec(&document).expect("strings and numbers always serialise"),
        }
    }
}

/// The same for a client that has gone: in its language, and named as its request was.
pub fn render_later(metadata: &Metadata, path: &str, error: &UpstreamError) -> StoredResponse {
    let named = [
        (X_REQUEST_ID, &metadata.request_id),
        (TRACEPARENT, &metadata.trace_id),
        (header::ACCEPT_LANGUAGE, &metadata.locale),
    ];
    let headers = named
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_ref()?.parse().ok()?)))
        .collect();
    render(&RequestContext::new(&headers, &format!("{BASE_PATH}{path}")))(error)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::upstream::{Service, UpstreamProblem};

    #[test]
    fn a_kept_refusal_says_who_refused_and_what_is_missing_says_nothing() {
        let context = RequestContext::new(&HeaderMap::new(), "/x");
        let render = render(&context);

        let conflict = render(&refusal(409, "MELMASTOON.BILLING.FOLIO_CLOSED"));
        let missing = render(&refusal(404, "MELMASTOON.BILLING.FOLIO_OF_ANOTHER_PROPERTY"));

        let read = |response: &StoredResponse| -> Value {
            serde_json::from_slice(&response.body).unwrap()
        };
        assert_eq!(conflict.status, 409);
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(conflict.headers[0], header("content-type", "application/problem+json"));
        assert_eq!(conflict.headers[1], header("content-language", "en"));
        assert_eq!(read(&conflict)["code"], "MELMASTOON.BILLING.FOLIO_CLOSED");
        assert_eq!(read(&conflict)["source"], "billing-service");
        assert_eq!(missing.status, 404);
        assert_eq!(read(&missing)["code"], "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND");
        assert!(read(&missing).get("source").is_none());
    }

    fn refusal(status: u16, code: &str) -> UpstreamError {
        UpstreamError::Problem(Box::new(UpstreamProblem {
            service: Service::Billing,
            status: StatusCode::from_u16(status).unwrap(),
            code: Some(code.to_owned()),
            title: None,
            detail: Some("the folio".to_owned()),
            errors: Vec::new(),
            retry_after: None,
            body: json!({}),
        }))
    }
}
