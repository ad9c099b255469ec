//! iam-service confirms a second factor. `POST /api/v1/auth/step-up`.

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{Call, CallContext, Service, Upstream, UpstreamError, error::UpstreamProblem};

/// What iam-service is asked to confirm.
#[derive(Clone, Copy, Debug)]
pub struct StepUp<'a> {
    pub operator_id: &'a OperatorId,
    pub device_id: &'a DeviceId,
    /// `lock.revoke` …
    pub scope: &'a str,
    pub resource: Option<&'a str>,
    /// `totp` …
    pub factor: &'a str,
    /// One-time code or assertion.
    pub code: &'a SecretString,
    /// The key under which the service recognises a repetition.
    pub idempotency_key: &'a str,
}

/// What iam-service says to it.
#[derive(Clone, Debug)]
pub enum Answer {
    Confirmed(Confirmation),
    /// The factor is not the operator's, or the code is not right.
    Refused(Box<UpstreamProblem>),
}

/// A confirmed factor; members that the service leaves out are `None`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// The service's own id of it.
    #[serde(default)]
    pub attestation_id: Option<String>,
    pub sub: OperatorId,
    pub tenant_id: TenantId,
    pub device_id: DeviceId,
    pub scope: String,
    #[serde(default)]
    pub resource: Option<String>,
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
}

/// # Errors
/// See [`UpstreamError`]; an answer that confirms something else than was asked is
/// [`UpstreamError::Failed`].
pub async fn attest(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    step_up: StepUp<'_>,
) -> Result<Answer, UpstreamError> {
    let path = "/api/v1/auth/step-up".to_owned();
    let mut call = Call::new(Service::Iam, Method::POST, path, tenant_id, context);
    call.idempotency_key = Some(step_up.idempotency_key);
    let mut body = json!({
        "operatorId": step_up.operator_id,
        "deviceId": step_up.device_id,
        "scope": step_up.scope,
        "factor": step_up.factor,
        "code": step_up.code.expose_secret(),
    });
    if let Some(resource) = step_up.resource {
        body["resource"] = resource.into();
    }
    call.body = Some(body);
    let answer = match upstream.call(&call).await {
        Ok(answer) => answer,
        Err(UpstreamError::Problem(problem)) if is_refusal(problem.status) => {
            return Ok(Answer::Refused(problem));
        }
        Err(error) => return Err(error),
    };
    let status = answer.status;
    let confirmation: Confirmation = answer.read(Service::Iam)?;
    let is_of_the_question = confirmation.sub == *step_up.operator_id
        && confirmation.tenant_id == *tenant_id
        && confirmation.device_id == *step_up.device_id
        && confirmation.scope == step_up.scope
        && confirmation.resource.as_deref() == step_up.resource;
    if !is_of_the_question {
        let source = Some("it confirmed something else than was asked".into());
        return Err(UpstreamError::Failed { service: Service::Iam, status: Some(status), source });
    }
    Ok(Answer::Confirmed(confirmation))
}

/// The factor was looked at and is not good, or there is nobody who could have it.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}
