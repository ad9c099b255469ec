//! `GET /.well-known/jwks.json`: the public keys of the tokens that sync-service takes.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// A key that is announced before it is used is known everywhere after this time.
const CACHE_CONTROL: &str = "public, max-age=300";

/// RFC 7517.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JwkSet)]
pub struct KeySet {
    /// `{kty, crv, x, y, kid, alg, use}` each.
    keys: Vec<serde_json::Value>,
}

#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    summary = "The public keys of sync session tokens",
    tag = "sync",
    responses((status = 200, body = KeySet, description = "A JWK set (RFC 7517)")),
)]
pub(super) async fn handle(State(app): State<App>) -> Response {
    let keys = app.sync_keys().published();
    ([(header::CACHE_CONTROL, CACHE_CONTROL)], Json(KeySet { keys })).into_response()
}
