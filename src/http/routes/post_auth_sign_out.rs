//! `POST /auth/sign-out`: ends the session of the device that asks, for good.
//!
//! Who is signed out already has what it asks for: a repetition is answered as the first request
//! was.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderName, HeaderValue, StatusCode};

use crate::{
    access::{AccessRequest, Admission, Caller, PendingSession, Reason},
    app::App,
    commands::{
        Actor, CommandError,
        close_session::{self, Places},
    },
    http::{authenticate::problem, keyed, problem::Problem, request_context::RequestContext},
    upstream::CallContext,
};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

#[utoipa::path(
    post,
    path = "/auth/sign-out",
    operation_id = "signOut",
    summary = "Ends the session, its live streams and its tokens",
    tag = "session",
    params(
        ("X-Idempotency-Key" = String, Header, description = "ULID of this wish"),
    ),
    responses(
        (status = 204, description = "The session has ended, now or before"),
        (status = 409, response = crate::http::openapi::Problem),
        (status = 422, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    context: RequestContext,
    request: Request,
) -> Result<Response, Problem> {
    // A body cannot be shared between threads, so only what comes before it is lent out.
    let (parts, _body) = request.into_parts();
    let access_request = AccessRequest {
        method: &parts.method,
        raw_path: context.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let key = keyed::key(&app, &parts.headers);
    let admitted = match app.gate().admit(&access_request).await {
        Err(refusal) if matches!(refusal.reason, Reason::SessionRevoked) => None,
        admitted => Some(admitted.map_err(problem)?),
    };
    let key = key?;
    let Some(admitted) = admitted else { return Ok(no_content(None)) };
    let nonce = match &admitted {
        Admission::Known(caller) => caller.fresh_nonce.clone(),
        Admission::Opening(pending) => pending.fresh_nonce().map(str::to_owned),
    };
    keyed::to_its_end(&app, end(app.clone(), context, admitted, key)).await?;
    Ok(no_content(nonce.as_deref()))
}

async fn end(
    app: App,
    context: RequestContext,
    admitted: Admission,
    key: ulid::Ulid,
) -> Result<(), CommandError> {
    let places =
        Places { sessions: app.sessions().clone(), session_tier: app.session_tier().clone() };
    match admitted {
        Admission::Known(caller) => {
            let actor = actor(caller, &context);
            close_session::run(app.commands(), &places, &actor, key).await
        }
        Admission::Opening(pending) => {
            let context = call_context(&pending, &context);
            let whose = (pending.tenant_id(), pending.sid());
            close_session::run_unopened(app.commands(), &places, whose, &context).await
        }
    }
}

fn actor(caller: Caller, context: &RequestContext) -> Actor {
    Actor {
        caller,
        request_id: context.request_id().to_owned(),
        traceparent: context.traceparent(),
    }
}

fn call_context(pending: &PendingSession, context: &RequestContext) -> CallContext {
    CallContext {
        operator_id: Some(pending.operator_id().clone()),
        device_id: Some(pending.device_id().clone()),
        request_id: context.request_id().to_owned(),
        traceparent: context.traceparent(),
        ..CallContext::default()
    }
}

fn no_content(nonce: Option<&str>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    response
}
