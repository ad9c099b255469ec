//! The route table: the issuer's keys, the controls under `/sim`, the upstreams under their names.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

mod events;
mod keys;
mod revoke;
mod sign_in;
mod upstreams;

use crate::{platform::Platform, problem::Problem, upstream::gateway};

const CONTROL_BODY_BYTES_MAX: usize = 10 << 20;

/// Everything the simulator answers.
pub fn router(platform: Arc<Platform>) -> Router {
    Router::new()
        .route("/.well-known/jwks.json", get(keys::jwks))
        .route("/sim/keys/rotate", post(keys::rotate))
        .route("/sim/sign-in", post(sign_in::handle))
        .route("/sim/world", get(world))
        .route(
            "/sim/upstreams/{service}/faults",
            put(upstreams::put_faults).get(upstreams::get_faults).delete(upstreams::delete_faults),
        )
        .route("/sim/upstreams/{service}/calls", get(upstreams::calls))
        .route("/sim/upstreams/{service}/effects", get(upstreams::effects))
        .route("/sim/events", post(events::handle))
        .route("/sim/revoke", post(revoke::handle))
        .route("/sim/health", get(health))
        .route("/{service}/{*path}", any(gateway::handle))
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(CONTROL_BODY_BYTES_MAX))
        .with_state(platform)
}

async fn world(State(platform): State<Arc<Platform>>) -> Json<Value> {
    Json(platform.world().document())
}

async fn health(State(platform): State<Arc<Platform>>) -> Json<Value> {
    Json(json!({ "status": "up", "pubsub": platform.publisher().is_ok() }))
}

async fn unknown(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::not_found(format!("the simulator has no {method} {path}"))
}

/// A JSON body, or a problem that says what is wrong with it.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let bytes = axum::body::Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Problem::invalid(rejection.body_text()).into_response())?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::invalid(format!("the body: {error}")).into_response())
    }
}
