//! `GET /dashboard`: the widgets of one property, as they become ready.

use std::{collections::BTreeMap, convert::Infallible};

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    app::App,
    http::{
        X_CACHE,
        accept::accepted,
        caller::{Entrant, property},
        codes::Code,
        dashboard::{
            Dashboard,
            frames::{Document, End, Frame, Widget},
            html,
        },
        extract::Query,
        problem::Problem,
    },
};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NDJSON: &str = "application/x-ndjson";
const HTML: &str = "text/html";
const JSON: &str = "application/json";

#[utoipa::path(
    get,
    path = "/dashboard",
    operation_id = "dashboard",
    summary = "The dashboard of one property, widget by widget",
    tag = "screens",
    params(
        ("propertyId" = Option<String>, Query,
            description = "Else that of X-Property-Id, else the caller's only one"),
        ("X-Property-Id" = Option<String>, Header, description = "The property the desktop shows"),
    ),
    responses(
        (status = 200,
            description = "One JSON frame a line: `skeleton` at once, then a `widget` as soon as it \
                is ready, then `end`; as HTML a page that paints while it loads; as JSON one \
                document",
            headers(("X-Cache" = String,
                description = "hit: all from fresh snapshots; stale: some older; miss: some asked \
                    for now")),
            content((Frame = "application/x-ndjson"), (String = "text/html"),
                (Document = "application/json"))),
        (status = 406, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = accepted(&headers, &[NDJSON, HTML, JSON]).ok_or(Code::NotAcceptable)?;
    let property_id = property(&entrant, query.get("propertyId").map(String::as_str))?;
    let dashboard = Dashboard::of(&app, &entrant, property_id).await;
    let mut response = match form {
        JSON => Json(dashboard.document().await).into_response(),
        HTML => page(&dashboard),
        _ => frames(&dashboard),
    };
    let headers = response.headers_mut();
    headers.insert(X_CACHE, HeaderValue::from_static(dashboard.cache_word()));
    // A proxy that collects before it passes on would undo what this is for.
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Language"));
    Ok(response)
}

fn frames(dashboard: &Dashboard) -> Response {
    let skeleton = line(&Frame::Skeleton(dashboard.skeleton()));
    let body = widgets_then_end(
        dashboard,
        |widget| line(&Frame::Widget(widget)),
        |end| line(&Frame::End(end)),
    );
    streamed(HeaderValue::from_static(NDJSON), (skeleton, body))
}

fn page(dashboard: &Dashboard) -> Response {
    let (language, nonce) = (dashboard.language(), STANDARD.encode(rand::random::<[u8; 16]>()));
    let head = html::head(dashboard, &dashboard.skeleton(), &nonce);
    let body = widgets_then_end(
        dashboard,
        move |widget| html::fragment(language, &widget).into(),
        move |end| html::foot(language, &end).into(),
    );
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = streamed(content_type, (head.into(), body));
    // Pictures may come from elsewhere; nothing else does, and nothing runs.
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; img-src https:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).expect("base64 fits into a header");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}

/// The widgets as they become ready, written out, and how it went after the last one.
fn widgets_then_end(
    dashboard: &Dashboard,
    write: impl Fn(Widget) -> Bytes + Send + 'static,
    write_end: impl FnOnce(End) -> Bytes + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let widgets = dashboard.widgets().boxed();
    let state = (widgets, Vec::new(), Some((dashboard.clone(), write_end)));
    stream::unfold((state, write), |((mut widgets, mut seen, last), write)| async move {
        if let Some(widget) = widgets.next().await {
            seen.push((widget.id, widget.status));
            return Some((write(widget), ((widgets, seen, last), write)));
        }
        let (dashboard, write_end) = last?;
        let end = write_end(dashboard.end(&seen));
        Some((end, ((widgets, seen, None), write)))
    })
}

fn streamed(
    content_type: HeaderValue,
    (first, rest): (Bytes, impl Stream<Item = Bytes> + Send + 'static),
) -> Response {
    let body = stream::once(async { first }).chain(rest).map(Ok::<Bytes, Infallible>);
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn line(frame: &Frame) -> Bytes {
    let mut line = serde_json::to_vec(frame).expect("a frame is made of texts, numbers and maps");
    line.push(b'\n');
    line.into()
}
