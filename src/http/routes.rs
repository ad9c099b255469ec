//! The routes of version 1, one file each.

pub mod get_ai_suggestions;
pub mod get_alerts;
pub mod get_bootstrap;
pub mod get_live;
pub mod get_live_poll;
pub mod get_session;
pub mod post_ai_suggestion_decide;
pub mod post_alert_acknowledge;
pub mod post_auth_mfa_step_up;
pub mod post_auth_refresh;
pub mod post_auth_sign_out;
pub mod post_internal_job;
pub mod post_lock_issue_key;
pub mod post_lock_revoke_key;
pub mod post_mutation;

use axum::{Router, middleware, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{authenticate, health::Readiness, layers};
use crate::app::App;

/// The routes for which a caller has to be known.
fn authenticated() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_bootstrap::handle))
        .routes(routes!(get_session::handle))
        .routes(routes!(get_alerts::handle))
        .routes(routes!(post_alert_acknowledge::handle))
        .routes(routes!(get_ai_suggestions::handle))
        .routes(routes!(post_ai_suggestion_decide::handle))
        .routes(routes!(post_auth_mfa_step_up::handle))
        .merge(post_mutation::router())
        .routes(routes!(post_lock_issue_key::handle))
        .routes(routes!(post_lock_revoke_key::handle))
        .routes(routes!(get_live_poll::handle))
        .routes(routes!(get_live::handle))
        .route("/sse/stream", get(get_live::handle))
}

/// The routes that let their callers in by rules of their own.
fn admitting() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_auth_refresh::handle))
        .routes(routes!(post_auth_sign_out::handle))
}

/// The routes at the root, which let their callers in by rules of their own as well.
fn at_the_root() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(post_internal_job::handle))
}

/// The service as it listens: routes, documentation, health.
pub fn router(app: App, readiness: Readiness) -> Router {
    let layer = middleware::from_fn_with_state(app.clone(), authenticate::layer);
    let api = authenticated().route_layer(layer).merge(admitting());
    super::router(api, at_the_root(), app, readiness, layers::Settings::default())
}

/// The `OpenAPI` document of all routes.
pub fn document() -> utoipa::openapi::OpenApi {
    super::document(authenticated().merge(admitting()), at_the_root())
}
