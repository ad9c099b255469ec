//! The way every request to an upstream takes: recorded, hit by faults, checked, done once.

use std::sync::Arc;

use axum::{
    body::{Bytes, to_bytes},
    extract::{Path, Request as HttpRequest, State},
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{
    Service, answer,
    exchange::{Answer, Request},
    faults::{self, Interference},
    record::{Call, Effect, Known},
};
use crate::{
    clock,
    platform::{Platform, locked},
    problem::Problem,
    server::cut_connection,
};

const BODY_BYTES_MAX: usize = 1 << 20;

/// `ANY /{service}/{…path}`.
pub async fn handle(
    State(platform): State<Arc<Platform>>,
    Path((service, path)): Path<(String, String)>,
    request: HttpRequest,
) -> Response {
    let service = match Service::parse(&service) {
        Ok(service) => service,
        Err(problem) => return problem.into_response(),
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        let detail = format!("the body exceeds {BODY_BYTES_MAX} bytes or broke off");
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "MELMASTOON.GENERAL.PAYLOAD_TOO_LARGE",
            detail,
        )
        .into_response();
    };
    let path = format!("/{path}");
    let upstream = platform.upstream(service);
    locked(&upstream.calls).record(received(&parts, &path, &body));
    match faults::interfere(&platform, upstream, service, parts.method == Method::GET).await {
        Some(Interference::Fail(problem)) => return problem.into_response(),
        Some(Interference::Cut) => return cut_connection(),
        None => {}
    }
    let request = Request::read(service, (parts.method, &parts.uri, parts.headers), path, &body);
    let outcome = request.and_then(|request| {
        let answered = carry_out(&platform, &request)?;
        let cut = request.is_mutation() && upstream.faults.borrow().drop_after_effect;
        Ok(if cut { cut_connection() } else { answered.into_response() })
    });
    outcome.unwrap_or_else(IntoResponse::into_response)
}

fn received(parts: &Parts, path: &str, body: &Bytes) -> Call {
    let text =
        |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
    };
    Call {
        method: parts.method.to_string(),
        path: path.to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)))
            .collect(),
        body,
        at: clock::now(),
    }
}

/// Answers the request; a mutation at most once per (tenant, key), whoever races.
fn carry_out(platform: &Platform, request: &Request) -> Result<Answer, Problem> {
    let Some(key) = &request.upstream_key else {
        return answer(platform, &mut platform.world(), request);
    };
    // Held over the work, so that two requests under one key cannot both find it new.
    let mut effects = locked(&platform.upstream(request.service).effects);
    match effects.find(&request.tenant_id, key, &request.fingerprint()) {
        Known::Answered(answer) => return Ok(answer),
        Known::Other => {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED",
                format!("the idempotency key {key} stands for another request"),
            ));
        }
        Known::New => {}
    }
    let answer = answer(platform, &mut platform.world(), request)?;
    platform.publish_in_background(&answer.events);
    if answer.status.is_success() {
        let effect = Effect {
            upstream_key: key.clone(),
            method: request.method.to_string(),
            path: request.path.clone(),
            tenant_id: request.tenant_id.clone(),
            body: request.body.clone(),
            at: clock::now(),
        };
        effects.record(effect, request.fingerprint(), answer.clone());
    }
    Ok(answer)
}
