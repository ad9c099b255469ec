//! `POST /auth/refresh`: new tokens for a refresh token and a proof of its key.
//!
//! There is no access token: the proof has no `ath`, and whatever stands in `Authorization` is not
//! looked at, be it an access token that has expired. iam decides on the refresh token.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    response::{IntoResponse, Response},
};
use garde::Validate;
use http::{HeaderName, HeaderValue, StatusCode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    access::{AccessRequest, BareProof, DeviceHeaders},
    app::App,
    commands::refresh_session::{self, RefreshError, Refreshed, Wish},
    http::{
        authenticate::problem,
        body,
        codes::Code,
        keyed,
        problem::{Passed, Problem},
        request_context::RequestContext,
    },
    upstream::{Service, UpstreamError},
};

const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// When to ask again for a refresh that iam did not answer.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Refresh)]
pub struct Body {
    /// Of the sign-in or the last refresh; it is used up by this.
    #[garde(length(bytes, min = 1, max = 4096))]
    #[schema(min_length = 1, max_length = 4096)]
    refresh_token: String,
}

/// As iam answers a sign-in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tokens)]
pub struct Tokens {
    access_token: String,
    refresh_token: String,
    /// `DPoP`.
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
    tenant_id: String,
    operator_id: String,
    device_id: String,
    /// The properties the operator works for.
    property_ids: Vec<String>,
}

#[utoipa::path(
    post,
    path = "/auth/refresh",
    operation_id = "refresh",
    summary = "New tokens for a refresh token and a proof of its key; the proof has no `ath`, and \
        no access token is needed",
    tag = "session",
    params(
        ("X-Idempotency-Key" = String, Header,
            description = "ULID of this wish; a lost answer is asked for again under it"),
    ),
    request_body = Body,
    responses(
        (status = 200, body = Tokens, description = "New tokens, bound to the same key"),
        (status = 403, response = crate::http::openapi::Problem),
        (status = 409, response = crate::http::openapi::Problem),
        (status = 422, response = crate::http::openapi::Problem),
        (status = 502, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    context: RequestContext,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let access_request = AccessRequest {
        method: &parts.method,
        raw_path: context.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let proof = app.gate().admit_refresh(&access_request).await.map_err(problem)?;
    let device = DeviceHeaders::read(&parts.headers).map_err(problem)?;
    let key = keyed::key(&app, &parts.headers)?;
    let body::Json(Body { refresh_token }) =
        body::Json::from_request(Request::from_parts(parts, body), &app).await?;
    let fresh_nonce = proof.fresh_nonce.clone();
    let wish = Wish {
        refresh_token: refresh_token.into(),
        proof: BareProof { fresh_nonce: None, ..proof },
        device,
        key,
        request_id: context.request_id().to_owned(),
        traceparent: context.traceparent(),
    };
    let (commands, gate) = (app.commands().clone(), app.gate().clone());
    let refreshing = async move { refresh_session::run(&commands, &gate, &wish).await };
    let refreshed = keyed::to_its_end(&app, refreshing).await?;
    let mut response = Json(tokens(&refreshed)).into_response();
    if let Some(nonce) = fresh_nonce.and_then(|nonce| HeaderValue::from_str(&nonce).ok()) {
        response.headers_mut().insert(DPOP_NONCE, nonce);
    }
    Ok(response)
}

fn tokens(refreshed: &Refreshed) -> Tokens {
    Tokens {
        access_token: refreshed.access_token.expose_secret().to_owned(),
        refresh_token: refreshed.refresh_token.expose_secret().to_owned(),
        token_type: "DPoP",
        expires_in: refreshed.expires_in_seconds,
        tenant_id: refreshed.tenant_id.to_string(),
        operator_id: refreshed.operator_id.to_string(),
        device_id: refreshed.device_id.to_string(),
        property_ids: refreshed.property_ids.iter().map(ToString::to_string).collect(),
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::InvalidGrant => invalid_grant(),
            RefreshError::Refused(reason) => problem(reason.into()),
            RefreshError::Command(error) => error.into(),
            RefreshError::Untrusted(error) => Self::new(Code::UpstreamFailed).cause(error),
            RefreshError::Upstream(error) => match &error {
                UpstreamError::Failed { status, .. }
                    if status.is_none_or(|status| status.is_server_error()) =>
                {
                    Self::new(Code::UpstreamUnavailable).retry_after(RETRY_AFTER).cause(error)
                }
                _ => error.into(),
            },
        }
    }
}

/// iam's refusal with its code, and not a word of why: whoever holds a token that is not theirs
/// learns nothing of it.
fn invalid_grant() -> Problem {
    let mut problem = Problem::new(Code::ValidationFailed).field("refreshToken", "INVALID_GRANT");
    problem.passed = Some(Box::new(Passed {
        source: Service::Iam.name(),
        status: StatusCode::BAD_REQUEST,
        code: "MELMASTOON.IAM.INVALID_GRANT".to_owned(),
        title: Some("Invalid grant".to_owned()),
    }));
    problem
}
