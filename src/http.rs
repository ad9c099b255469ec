//! HTTP: what every route stands on, and the routes themselves.

pub mod accept;
pub mod attestation;
pub mod authenticate;
pub mod boards;
pub mod body;
pub mod caller;
pub mod codes;
pub mod cors;
pub mod dashboard;
pub mod docs;
pub mod event_stream;
pub mod extract;
pub mod health;
pub mod if_match;
pub mod inbox;
pub mod keyed;
pub mod layers;
pub mod listing;
pub mod live;
pub mod locks;
pub mod messages;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod rate_limit;
pub mod request_context;
pub mod requirements;
pub mod routes;
pub mod seal;
pub mod server;
pub mod strict_json;
pub mod validators;
pub mod views;

use axum::{Router, middleware};
use http::{HeaderName, header};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{codes::Code, health::Readiness, problem::Problem};

/// Whether an answer was read from what is kept: `hit`, `stale` or `miss`.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Where the routes of version 1 live.
pub const BASE_PATH: &str = "/bff/backoffice/v1";

/// The whole public surface: `api` below [`BASE_PATH`], `root` and what is open to all at the root,
/// and the layers around both in their order.
///
/// A route answers errors as [`Problem`]; the outermost layer writes them out.
pub fn router<S>(
    api: OpenApiRouter<S>,
    root: OpenApiRouter<S>,
    state: S,
    readiness: Readiness,
    settings: layers::Settings,
) -> Router
where
    S: Clone + Send + Sync + 'static,
{
    let (routes, document) = assemble(api, root, readiness).split_for_parts();
    let document = openapi::completed(document);
    let routes = routes
        .merge(docs::router(&document))
        .fallback(async || Problem::new(Code::ResourceNotFound))
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed))
        .layer(middleware::from_fn(layers::note_route))
        .with_state(state);
    layers::wrap(routes, settings)
}

/// The `OpenAPI` 3.1 document of the same surface, for the file that is checked in.
pub fn document<S>(api: OpenApiRouter<S>, root: OpenApiRouter<S>) -> utoipa::openapi::OpenApi
where
    S: Clone + Send + Sync + 'static,
{
    openapi::completed(assemble(api, root, Readiness::default()).into_openapi())
}

fn assemble<S>(
    api: OpenApiRouter<S>,
    root: OpenApiRouter<S>,
    readiness: Readiness,
) -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    let health = OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .with_state(readiness);
    OpenApiRouter::with_openapi(openapi::Described::openapi())
        .merge(health)
        .merge(root)
        .nest(BASE_PATH, api)
}

/// For responses that say themselves how long they may be kept.
fn is_cacheable(headers: &http::HeaderMap) -> bool {
    headers.contains_key(header::CACHE_CONTROL)
}
