//! One attempt of a call: leave from the circuit, identity, the exchange itself, and what its end
//! means.

use std::{error::Error, time::Duration};

use http::{HeaderMap, StatusCode, header};
use metrics::histogram;
use reqwest::Response;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{Answer, Call, Line, Service, Shared, UpstreamError, UpstreamProblem, breaker::Permit};

/// When a caller turned away by a full bulkhead may ask again.
const BULKHEAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How an attempt ended without an answer.
pub(super) struct Failure {
    pub(super) error: UpstreamError,
    /// Another attempt may do better.
    pub(super) retriable: bool,
    /// A mutation that may have arrived.
    pub(super) maybe_done: bool,
}

/// A body that is longer than allowed, or no JSON.
#[derive(Debug, thiserror::Error)]
enum UnreadableBody {
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    #[error("the body is no JSON")]
    NoJson(#[source] serde_json::Error),
    #[error("the body broke off")]
    Broken(#[source] reqwest::Error),
}

/// What came back.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Result<Value, UnreadableBody>,
}

pub(super) async fn attempt(
    shared: &Shared,
    line: &Line,
    call: &Call<'_>,
) -> Result<Answer, Failure> {
    let service = call.service;
    let started = Instant::now();
    let own_timeout = service.row().timeout(call.is_mutation());
    let left = call.deadline.map_or(own_timeout, |deadline| deadline - started);
    if left.is_zero() {
        return Err(Failure::final_(UpstreamError::Timeout { service }));
    }
    let budget = own_timeout.min(left);
    let url = address(&line.base_url, call);
    let (Some(url), Some(headers)) = (url, call.request_headers()) else {
        return Err(Failure::final_(UpstreamError::InvalidCall { service }));
    };

    let Ok(Ok(_place)) = timeout(budget, line.bulkhead.acquire()).await else {
        return Err(Failure::final_(UpstreamError::Unavailable {
            service,
            retry_after: BULKHEAD_RETRY_AFTER,
        }));
    };
    let permit = line.breaker.permit().map_err(|refused| {
        let retry_after = refused.retry_after;
        Failure::final_(UpstreamError::Unavailable { service, retry_after })
    })?;
    let token = match timeout(budget, shared.id_tokens.token(service)).await {
        Ok(Ok(token)) => token,
        Ok(Err(source)) => {
            return Err(Failure::final_(UpstreamError::Identity { service, source }));
        }
        Err(_elapsed) => return Err(Failure::final_(UpstreamError::Timeout { service })),
    };

    let mut request =
        shared.client.request(call.method.clone(), url).headers(headers).bearer_auth(token);
    if let Some(body) = &call.body {
        request = request.json(body);
    }
    let left = budget.saturating_sub(started.elapsed());
    let ending = timeout(left, exchange(request, shared.answer_size_max)).await;
    let result = match ending {
        Err(_elapsed) => {
            // A caller in a hurry says nothing about the service.
            if budget == own_timeout {
                permit.failed();
            }
            Err(Failure::sent(call, UpstreamError::Timeout { service }))
        }
        Ok(Err(source)) => Err(lost(call, permit, source)),
        Ok(Ok(reply)) => judge(call, permit, reply),
    };
    let outcome = result.as_ref().map_or_else(Failure::label, |_| "ok");
    histogram!(
        "bff_backoffice_upstream_request_duration_seconds",
        "upstream" => service.name(), "outcome" => outcome
    )
    .record(started.elapsed().as_secs_f64());
    result
}

/// The call's address; `None` when its path would mean another one, as `..` does.
fn address(base_url: &Url, call: &Call<'_>) -> Option<Url> {
    let path = format!("{}{}", base_url.path().trim_end_matches('/'), call.path);
    let mut url = base_url.clone();
    url.set_path(&path);
    if url.path() != path {
        return None;
    }
    if !call.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&call.query);
    }
    Some(url)
}

async fn exchange(
    request: reqwest::RequestBuilder,
    answer_size_max: usize,
) -> Result<Reply, reqwest::Error> {
    let mut response = request.send().await?;
    let body = read_body(&mut response, answer_size_max).await;
    let headers = std::mem::take(response.headers_mut());
    Ok(Reply { status: response.status(), headers, body })
}

async fn read_body(response: &mut Response, size_max: usize) -> Result<Value, UnreadableBody> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(UnreadableBody::Broken)? {
        if size_max < bytes.len() + chunk.len() {
            return Err(UnreadableBody::TooLong(size_max));
        }
        bytes.extend_from_slice(&chunk);
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(UnreadableBody::NoJson)
}

fn lost(call: &Call<'_>, permit: Permit, source: reqwest::Error) -> Failure {
    permit.failed();
    let never_sent = source.is_connect() || source.is_builder();
    let error = failed(call.service, None, Some(source.without_url().into()));
    if never_sent {
        Failure { error, retriable: true, maybe_done: false }
    } else {
        Failure::sent(call, error)
    }
}

fn judge(call: &Call<'_>, permit: Permit, reply: Reply) -> Result<Answer, Failure> {
    let service = call.service;
    let Reply { status, headers, body } = reply;
    if status.is_server_error() {
        permit.failed();
        let error = failed(service, Some(status), None);
        return Err(Failure { error, retriable: true, maybe_done: false });
    }
    if matches!(body, Err(UnreadableBody::Broken(_))) {
        permit.failed();
    } else {
        permit.succeeded();
    }
    if status.is_client_error() {
        let error = refusal(service, status, &headers, body.unwrap_or_default());
        return Err(Failure::final_(error));
    }
    let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    match body {
        Ok(body) => Ok(Answer { status, etag, body }),
        // It was done; only what it was is lost.
        Err(unreadable) => {
            Err(Failure::sent(call, failed(service, Some(status), Some(unreadable.into()))))
        }
    }
}

fn refusal(
    service: Service,
    status: StatusCode,
    headers: &HeaderMap,
    body: Value,
) -> UpstreamError {
    // A 401 speaks of our identity, not of the operator's.
    if status == StatusCode::UNAUTHORIZED {
        return failed(service, Some(status), None);
    }
    let retry_after = headers
        .get(header::RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.parse().ok())
        .map(Duration::from_secs);
    UpstreamError::Problem(Box::new(UpstreamProblem::read(service, status, retry_after, body)))
}

fn failed(
    service: Service,
    status: Option<StatusCode>,
    source: Option<Box<dyn Error + Send + Sync>>,
) -> UpstreamError {
    UpstreamError::Failed { service, status, source }
}

impl Failure {
    fn final_(error: UpstreamError) -> Self {
        Self { error, retriable: false, maybe_done: false }
    }

    /// After the request may have left: a mutation may have happened.
    fn sent(call: &Call<'_>, error: UpstreamError) -> Self {
        Self { error, retriable: true, maybe_done: call.is_mutation() }
    }

    fn label(&self) -> &'static str {
        match self.error {
            UpstreamError::Unavailable { .. } => "unavailable",
            UpstreamError::Timeout { .. } => "timeout",
            UpstreamError::OutcomeUnknown { .. } => "unknown",
            UpstreamError::Failed { .. } => "failed",
            UpstreamError::Problem(_) => "refused",
            UpstreamError::Identity { .. } => "identity",
            UpstreamError::InvalidCall { .. } => "invalid",
        }
    }
}
