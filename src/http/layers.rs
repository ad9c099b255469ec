//! What happens around every request, from the outside in: names, panics, paths, time, size.

mod guarded_body;
mod path;

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, header};
use metrics::{counter, gauge, histogram};
use tokio::time::Instant;

pub use self::guarded_body::BodyTooSlow;
use self::guarded_body::GuardedBody;
use super::{
    BASE_PATH,
    codes::Code,
    is_cacheable,
    problem::{Marker, Problem},
    request_context::RequestContext,
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Second belt for a cache that stores in spite of `no-store`.
const VARY_BY_CALLER: HeaderValue = HeaderValue::from_static("authorization");
const NO_SNIFF: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
/// Below the base path: streams and long polls, which bound themselves.
const LONG_LIVED: [&str; 2] = ["/live", "/sse/stream"];

/// The bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of a request's body.
    pub body_size_max: usize,
    /// From the first byte of the body that is waited for to its last.
    pub body_read_timeout: Duration,
    /// Until the head of the answer; streams and long polls excepted.
    pub request_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            body_size_max: 256 * 1024,
            body_read_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(20),
        }
    }
}

/// Puts the layers around all routes.
pub(super) fn wrap(routes: Router, settings: Settings) -> Router {
    // The last one added is the outermost. Paths are rewritten before the inner router sees them.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::from_fn_with_state(settings, bound))
        .layer(middleware::from_fn(path::canonical))
        .layer(middleware::from_fn(catch_panic))
        .layer(middleware::from_fn(name))
}

/// Innermost, after routing: lets the outermost layer know which route it was.
pub(super) async fn note_route(request: Request, next: Next) -> Response {
    let context = request.extensions().get::<RequestContext>();
    if let (Some(context), Some(route)) = (context, request.extensions().get::<MatchedPath>()) {
        context.set_route(route.as_str());
    }
    next.run(request).await
}

/// Outermost: gives the request its names, writes problems out, logs and counts.
async fn name(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _in_flight = InFlight::enter();
    let context = RequestContext::new(request.headers(), request.uri().path());
    let method = method_label(request.method());
    request.extensions_mut().insert(context.clone());

    let mut response = next.run(request).await;

    let marker = response.extensions_mut().remove::<Marker>();
    if let Some(Marker(problem)) = &marker {
        problem.log(&context);
        let bare = response;
        response = problem.render(&context);
        keep_headers(&bare, &mut response);
    }
    let headers = response.headers_mut();
    context.echo(headers);
    headers.insert(NO_SNIFF.0, NO_SNIFF.1);
    if !is_cacheable(headers) {
        headers.insert(header::CACHE_CONTROL, NO_STORE);
    }
    headers.append(header::VARY, VARY_BY_CALLER);
    account(&context, method, response.status().as_u16(), started);
    if let Some(Marker(problem)) = marker {
        let code = if problem.passed.is_some() { "UPSTREAM" } else { problem.code.row().name };
        let route = context.route().to_owned();
        counter!("bff_backoffice_errors_total", "route" => route, "error_code" => code)
            .increment(1);
    }
    response
}

/// What inner layers put on an answer belongs to the problem as well: a nonce, what is left of a
/// rate, and the methods of a path, which the router names on the answer it makes for a wrong one.
fn keep_headers(bare: &Response, rendered: &mut Response) {
    for (name, value) in bare.headers() {
        if *name != header::CONTENT_LENGTH {
            rendered.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
    }
}

/// The access log and the rate, error and duration series. Nothing personal: a route, not a path.
fn account(context: &RequestContext, method: &'static str, status: u16, started: Instant) {
    let elapsed = started.elapsed();
    let route = context.route();
    let request_id = context.request_id();
    let trace_id = context.trace_id();
    let duration_ms = elapsed.as_secs_f64() * 1000.0;
    tracing::info!(method, route, status, duration_ms, request_id, trace_id, "answered");
    let class = match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    let labels = [
        ("route", route.to_owned()),
        ("method", method.to_owned()),
        ("status_class", class.to_owned()),
    ];
    counter!("bff_backoffice_request_total", &labels).increment(1);
    histogram!("bff_backoffice_request_duration_seconds", &labels).record(elapsed.as_secs_f64());
}

/// A bug in one route costs one request.
async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        // The panic hook has logged where; the payload may hold anything.
        Err(_payload) => {
            counter!("bff_backoffice_panics_total").increment(1);
            Problem::new(Code::Internal).cause("a route panicked").into_response()
        }
    }
}

/// Bounds the body and the time until an answer begins.
async fn bound(State(settings): State<Settings>, request: Request, next: Next) -> Response {
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let size_max = u64::try_from(settings.body_size_max).unwrap_or(u64::MAX);
    if declared.is_some_and(|length| size_max < length) {
        return Problem::new(Code::PayloadTooLarge).into_response();
    }
    let long_lived = is_long_lived(request.uri().path());
    let mutation = !matches!(*request.method(), Method::GET | Method::HEAD);
    let request = request.map(|body| Body::new(GuardedBody::new(body, settings)));
    if long_lived {
        return next.run(request).await;
    }
    tokio::time::timeout(settings.request_timeout, next.run(request)).await.unwrap_or_else(|_| {
        let code = if mutation { Code::OutcomeUnknown } else { Code::UpstreamTimeout };
        Problem::new(code).retry_after(Duration::from_secs(1)).into_response()
    })
}

/// Whether a route below the base path bounds the time of its answer itself.
pub(super) fn is_long_lived(path: &str) -> bool {
    path.strip_prefix(BASE_PATH).is_some_and(|path| {
        LONG_LIVED.iter().any(|prefix| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    })
}

/// Clients may invent methods; series may not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// Counts requests whose answer has not begun, also those whose client hangs up.
struct InFlight;

impl InFlight {
    fn enter() -> Self {
        gauge!("bff_backoffice_request_inflight").increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!("bff_backoffice_request_inflight").decrement(1.0);
    }
}
