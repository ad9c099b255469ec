//! `/openapi.json` and a page at `/docs` that reads it; everything is ours, nothing comes from
//! elsewhere.

use axum::{Router, response::IntoResponse, routing::get};
use bytes::Bytes;
use http::{HeaderValue, header};
use utoipa::openapi::OpenApi;

const PAGE: &str = include_str!("assets/docs.html");
const SCRIPT: &str = include_str!("assets/docs.js");
const STYLE: &str = include_str!("assets/docs.css");
/// Nothing inline, nothing from elsewhere, nobody's frame.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The document's routes and the page's.
pub(super) fn router<S>(document: &OpenApi) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let json = serde_json::to_vec(document).expect("the document is made of strings and maps");
    let json = Bytes::from(json);
    Router::new()
        .route("/openapi.json", get(async move || file("application/json", json.clone())))
        .route("/docs", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/docs/app.js", get(async || file("text/javascript; charset=utf-8", SCRIPT)))
        .route("/docs/app.css", get(async || file("text/css; charset=utf-8", STYLE)))
}

fn file(content_type: &'static str, content: impl IntoResponse) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    ];
    (headers, content)
}
