//! The routes of version 1, one file each.

pub mod get_ai_suggestions;
pub mod get_alerts;
pub mod get_audit_open_lock_actions;
pub mod get_board;
pub mod get_bootstrap;
pub mod get_dashboard;
pub mod get_device_sync_status;
pub mod get_devices;
pub mod get_jwks;
pub mod get_live;
pub mod get_live_poll;
pub mod get_offline_queue_hints;
pub mod get_preferences;
pub mod get_session;
pub mod get_shortcuts;
pub mod get_sync_cursor;
pub mod get_tenant_shortcuts;
pub mod post_activity;
pub mod post_ai_suggestion_decide;
pub mod post_alert_acknowledge;
pub mod post_auth_mfa_step_up;
pub mod post_auth_refresh;
pub mod post_auth_sign_out;
pub mod post_device_heartbeat;
pub mod post_internal_job;
pub mod post_lock_issue_key;
pub mod post_lock_revoke_key;
pub mod post_mutation;
pub mod post_sync_cursor;
pub mod post_sync_handshake;
pub mod put_offline_queue_hint;
pub mod put_preferences;
pub mod put_shortcuts;
pub mod put_tenant_shortcuts;

use axum::{Router, middleware, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{authenticate, health::Readiness, layers};
use crate::app::App;

/// The routes for which a caller has to be known.
fn authenticated() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_bootstrap::handle))
        .routes(routes!(get_session::handle))
        .routes(routes!(get_dashboard::handle))
        .merge(get_board::router())
        .routes(routes!(get_alerts::handle))
        .routes(routes!(post_alert_acknowledge::handle))
        .routes(routes!(get_ai_suggestions::handle))
        .routes(routes!(post_ai_suggestion_decide::handle))
        .routes(routes!(post_auth_mfa_step_up::handle))
        .merge(post_mutation::router())
        .routes(routes!(post_lock_issue_key::handle))
        .routes(routes!(post_lock_revoke_key::handle))
        .routes(routes!(get_audit_open_lock_actions::handle))
        .routes(routes!(get_live_poll::handle))
        .routes(routes!(get_live::handle))
        .route("/sse/stream", get(get_live::handle))
        .merge(of_the_desk())
}

/// What desktops keep with us.
fn of_the_desk() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_preferences::handle))
        .routes(routes!(put_preferences::handle))
        .routes(routes!(get_shortcuts::handle))
        .routes(routes!(put_shortcuts::handle))
        .routes(routes!(get_tenant_shortcuts::handle))
        .routes(routes!(put_tenant_shortcuts::handle))
        .routes(routes!(get_devices::handle))
        .routes(routes!(post_device_heartbeat::handle))
        .routes(routes!(get_device_sync_status::handle))
        .routes(routes!(post_sync_handshake::handle))
        .routes(routes!(get_sync_cursor::handle))
        .routes(routes!(post_sync_cursor::handle))
        .routes(routes!(put_offline_queue_hint::handle))
        .routes(routes!(get_offline_queue_hints::handle))
        .routes(routes!(post_activity::handle))
}

/// The routes that let their callers in by rules of their own.
fn admitting() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(post_auth_refresh::handle))
        .routes(routes!(post_auth_sign_out::handle))
}

/// The routes at the root, open to all or with rules of their own.
fn at_the_root() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get_jwks::handle))
        .routes(routes!(post_internal_job::handle))
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
