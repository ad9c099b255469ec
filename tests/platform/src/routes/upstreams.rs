//! `/sim/upstreams/{service}/…`: faults of a service, and what it received and did.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Body;
use crate::{
    platform::{Platform, locked},
    problem::Problem,
    upstream::{Service, faults::Faults},
};

/// Replaces the service's faults.
pub async fn put_faults(
    State(platform): State<Arc<Platform>>,
    Path(service): Path<String>,
    Body(faults): Body<Faults>,
) -> Result<Json<Faults>, Problem> {
    faults.check()?;
    platform.upstream(Service::parse(&service)?).faults.send_replace(faults.clone());
    Ok(Json(faults))
}

pub async fn get_faults(
    State(platform): State<Arc<Platform>>,
    Path(service): Path<String>,
) -> Result<Json<Faults>, Problem> {
    Ok(Json(platform.upstream(Service::parse(&service)?).faults.borrow().clone()))
}

/// Nothing goes wrong any more; requests that hang go on.
pub async fn delete_faults(
    State(platform): State<Arc<Platform>>,
    Path(service): Path<String>,
) -> Result<StatusCode, Problem> {
    platform.upstream(Service::parse(&service)?).faults.send_replace(Faults::default());
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Selection {
    idempotency_key: Option<String>,
    /// RFC 3339; only what came later.
    after: Option<DateTime<Utc>>,
}

pub async fn calls(
    State(platform): State<Arc<Platform>>,
    Path(service): Path<String>,
    selection: Result<Query<Selection>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let selection = read(selection)?;
    let calls = locked(&platform.upstream(Service::parse(&service)?).calls);
    let calls = calls.list(selection.idempotency_key.as_deref(), selection.after);
    Ok(Json(json!({ "calls": calls })))
}

pub async fn effects(
    State(platform): State<Arc<Platform>>,
    Path(service): Path<String>,
    selection: Result<Query<Selection>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let selection = read(selection)?;
    let effects = locked(&platform.upstream(Service::parse(&service)?).effects);
    let effects = effects.list(selection.idempotency_key.as_deref(), selection.after);
    Ok(Json(json!({ "effects": effects })))
}

fn read(
    selection: Result<Query<Selection>, axum::extract::rejection::QueryRejection>,
) -> Result<Selection, Problem> {
    match selection {
        Ok(Query(selection)) => Ok(selection),
        Err(rejection) => Err(Problem::invalid(format!(
            "idempotencyKey is text and after an RFC 3339 time: {}",
            rejection.body_text()
        ))),
    }
}
