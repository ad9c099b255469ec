//! `GET /live` (alias `/sse/stream`): server-sent events of one device.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        accept::accepted,
        caller::Entrant,
        codes::Code,
        event_stream::{self, Session},
        extract::Query,
        live::{live_problem, subscriber},
        problem::{Problem, Upgrade},
    },
};

const EVENT_STREAM: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One frame of the stream.
#[derive(ToSchema)]
#[schema(as = LiveFrame)]
#[expect(dead_code, reason = "the derive reads its shape; streams are written by the hub")]
pub struct Frame {
    /// Send it back as Last-Event-ID to go on after it. Refresh hints and frames of the connection
    /// have none: the last id that was heard stays.
    id: Option<String>,
    /// `ai`, `alerts`, `dashboard-refresh-hints` or `session`.
    event: String,
    /// A JSON object with `kind`.
    data: String,
}

#[utoipa::path(
    get,
    path = "/live",
    operation_id = "live",
    summary = "Server-sent events of one device; `/sse/stream` is the same",
    tag = "live",
    params(
        ("channels" = Option<String>, Query, description = "Comma-separated: ai, alerts, \
            dashboard-refresh-hints, session; default all"),
        ("Last-Event-ID" = Option<String>, Header,
            description = "The id of the last event heard: goes on after it"),
    ),
    responses(
        (status = 200, body = Frame, content_type = "text/event-stream",
            description = "Server-sent events; one stream a device, a newer one supersedes it. \
                dashboard-refresh-hints have no id and are not repeated to who comes back: fetch \
                the screen then. A device whose last three streams broke within a minute of their \
                opening and five minutes of each other hears nothing but `session` with \
                `{kind: poll, retryAfter}`: poll with the same cursor, and try a stream again \
                after so many seconds"),
        (status = 204, description = "None of the channels is for this caller's roles: there will be \
            nothing to come back for"),
        (status = 406, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if accepted(&headers, &[EVENT_STREAM]).is_none() {
        return Err(Code::NotAcceptable.into());
    }
    let cursor =
        headers.get(LAST_EVENT_ID).map(|id| ("Last-Event-ID", id.to_str().unwrap_or("not ASCII")));
    let subscriber = subscriber(&app, &entrant, &query, cursor).await?;
    if subscriber.channels.is_empty() {
        return Ok(nothing_to_come_back_for());
    }
    let body = if let Some(wait) = app.hub().polls_for(&subscriber).await {
        event_stream::advice_to_poll(wait, app.gate().nonce_for(&entrant.caller))
    } else {
        let subscription = app.hub().subscribe(subscriber).await.map_err(live_problem)?;
        event_stream::body(subscription, session(&app, &entrant))
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    let uncached = HeaderValue::from_static("no-store, no-transform");
    headers.insert(header::CACHE_CONTROL, uncached);
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// A client of server-sent events stops at this answer for good (HTML §9.2.3).
fn nothing_to_come_back_for() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn session(app: &App, entrant: &Entrant) -> Session {
    let caller = Arc::new(entrant.caller.clone());
    let left = (caller.token_expires_at - app.clock().now()).to_std().unwrap_or_default();
    let hello = json!({ "sessionId": caller.session_id, "deviceId": caller.device_id });
    let (gate, listener) = (app.gate().clone(), Arc::clone(&caller));
    let stands = Arc::new(move || -> BoxFuture<'static, Option<bool>> {
        let (gate, listener) = (gate.clone(), Arc::clone(&listener));
        Box::pin(async move {
            let stands = gate.stands(&listener).await.ok()?;
            // With fewer rights than it began with, the desktop comes back for another stream.
            (!stands || gate.keeps_rights(&listener).await).then_some(stands)
        })
    });
    let gate = app.gate().clone();
    let nonce = Arc::new(move || gate.nonce_for(&caller));
    Session {
        stands,
        nonce,
        version_blocked: version_blocked(app, entrant),
        expires_at: Instant::now() + left,
        hello,
    }
}

/// Comes when the floor of the desktop's platform rises above its version.
fn version_blocked(app: &App, entrant: &Entrant) -> BoxFuture<'static, Value> {
    let (gate, desktop) = (app.gate().clone(), entrant.caller.app.clone());
    Box::pin(async move {
        let blocked = gate.version_blocked(&desktop).await;
        json!(Upgrade::from(&blocked))
    })
}
