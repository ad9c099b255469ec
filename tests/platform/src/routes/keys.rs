//! `GET /.well-known/jwks.json` and `POST /sim/keys/rotate`: the issuer's signing keys.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    http::header,
    response::IntoResponse,
};
use serde_json::{Value, json};

use crate::platform::Platform;

pub async fn jwks(State(platform): State<Arc<Platform>>) -> impl IntoResponse {
    let keys = platform.issuer().jwks();
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(keys))
}

/// `?drop=true` unpublishes the keys used until now; otherwise they stay.
pub async fn rotate(
    State(platform): State<Arc<Platform>>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let drop_old = query.get("drop").is_some_and(|text| text == "true");
    let kid = platform.issuer().rotate(drop_old);
    Json(json!({ "kid": kid, "dropped": drop_old }))
}
