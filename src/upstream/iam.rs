//! iam-service: new tokens for a device, whether a session stands, the end of one.
//!
//! A proof has one target and is used once, so iam cannot check the device's own: the service
//! verifies it and calls with its own identity, asserting the key the proof was made with.

use std::fmt;

use events::{DeviceId, TenantId};
use http::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{Call, CallContext, Service, Upstream, UpstreamError, UpstreamProblem};

/// Codes by which iam says that a refresh token buys nothing (RFC 6749 §5.2).
const INVALID_GRANT: &str = "invalid_grant";
const INVALID_GRANT_CODE: &str = "MELMASTOON.IAM.INVALID_GRANT";

/// A refresh token, and who has shown it.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    pub refresh_token: &'a SecretString,
    /// Thumbprint of the key whose proof was verified.
    pub jkt: &'a str,
    pub device_id: &'a DeviceId,
    /// iam answers the same again under the same key.
    pub idempotency_key: &'a str,
}

/// What iam grants. `POST /api/v1/auth/refresh`; nothing in it is verified yet.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    #[serde(deserialize_with = "secret")]
    pub access_token: SecretString,
    #[serde(deserialize_with = "secret")]
    pub refresh_token: SecretString,
}

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The refresh token is unknown, used, revoked, or bound to another key or device.
    #[error("iam-service does not take the refresh token")]
    Refused,
    /// The same key stands for another refresh token.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Upstream(UpstreamError),
}

#[derive(Deserialize)]
struct SessionState {
    active: bool,
}

/// Exchanges a refresh token for new tokens. Sent once; the same key may ask again.
///
/// # Errors
/// See [`ExchangeError`]. What iam refuses for reasons between it and this service (our identity,
/// a nonce of its own) is a failure of the call, never an answer for the desktop.
pub async fn exchange(
    upstream: &Upstream,
    context: &CallContext,
    exchange: Exchange<'_>,
) -> Result<Grant, ExchangeError> {
    let path = "/api/v1/auth/refresh".to_owned();
    let mut call = Call::of_no_tenant(Service::Iam, Method::POST, path, context);
    call.idempotency_key = Some(exchange.idempotency_key);
    call.body = Some(json!({
        "refreshToken": exchange.refresh_token.expose_secret(),
        "jkt": exchange.jkt,
        "deviceId": exchange.device_id,
    }));
    let answer = upstream.call(&call).await.map_err(refusal)?;
    answer.read(Service::Iam).map_err(ExchangeError::Upstream)
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn refusal(error: UpstreamError) -> ExchangeError {
    let UpstreamError::Problem(problem) = error else { return ExchangeError::Upstream(error) };
    if is_invalid_grant(&problem) {
        return ExchangeError::Refused;
    }
    match problem.status {
        StatusCode::UNPROCESSABLE_ENTITY => ExchangeError::KeyReused,
        StatusCode::TOO_MANY_REQUESTS => ExchangeError::Upstream(UpstreamError::Problem(problem)),
        status => ExchangeError::Upstream(UpstreamError::Failed {
            service: Service::Iam,
            status: Some(status),
            source: Some(format!("refused the exchange: {:?}", problem.code).into()),
        }),
    }
}

fn is_invalid_grant(problem: &UpstreamProblem) -> bool {
    problem.code.as_deref() == Some(INVALID_GRANT_CODE)
        || problem.body.get("error").is_some_and(|error| error == INVALID_GRANT)
}

/// Whether a session is active; not for one that iam does not know. `GET /api/v1/sessions/{id}`.
///
/// # Errors
/// See [`UpstreamError`]; none of them says anything about the session.
pub async fn is_active(
    upstream: &Upstream,
    tenant_id: &TenantId,
    sid: &str,
) -> Result<bool, UpstreamError> {
    let context = CallContext::internal();
    let path = format!("/api/v1/sessions/{sid}");
    let call = Call::new(Service::Iam, Method::GET, path, tenant_id, &context);
    match upstream.call(&call).await {
        Ok(answer) => Ok(answer.read::<SessionState>(Service::Iam)?.active),
        Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ends a session at iam, its refresh tokens with it. `POST /api/v1/sessions/{id}/revoke`.
///
/// # Errors
/// See [`UpstreamError`]; a session that iam does not know has ended.
pub async fn end_session(
    upstream: &Upstream,
    tenant_id: &TenantId,
    context: &CallContext,
    sid: &str,
    idempotency_key: &str,
) -> Result<(), UpstreamError> {
    let path = format!("/api/v1/sessions/{sid}/revoke");
    let mut call = Call::new(Service::Iam, Method::POST, path, tenant_id, context);
    call.idempotency_key = Some(idempotency_key);
    call.body = Some(json!({ "reason": "user" }));
    match upstream.call(&call).await {
        Ok(_) => Ok(()),
        Err(error) if error.problem_with(StatusCode::NOT_FOUND).is_some() => Ok(()),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grant")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn refused(status: u16, code: Option<&str>, body: Value) -> ExchangeError {
        refusal(UpstreamError::Problem(Box::new(UpstreamProblem {
            service: Service::Iam,
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
            title: None,
            detail: None,
            errors: Vec::new(),
            retry_after: None,
            body,
        })))
    }

    #[test]
    fn an_invalid_grant_is_known_by_its_code_or_its_error() {
        let by_code = refused(400, Some(INVALID_GRANT_CODE), Value::Null);
        assert!(matches!(by_code, ExchangeError::Refused));
        let by_error = refused(400, None, json!({ "error": "invalid_grant" }));
        assert!(matches!(by_error, ExchangeError::Refused));
    }

    #[test]
    fn what_is_between_iam_and_us_is_no_answer_for_the_desktop() {
        for (status, error) in
            [(400, "use_dpop_nonce"), (400, "invalid_dpop_proof"), (403, "invalid_client")]
        {
            let refused = refused(status, None, json!({ "error": error }));
            let is_failure =
                matches!(refused, ExchangeError::Upstream(UpstreamError::Failed { .. }));
            assert!(is_failure, "{error}");
        }
    }

    #[test]
    fn a_printed_grant_shows_no_token() {
        let grant: Grant =
            serde_json::from_value(json!({ "accessToken": "at", "refreshToken": "rt" })).unwrap();
        assert_eq!(format!("{grant:?}"), "Grant");
    }
}
