//! `POST /auth/mfa/step-up`: an operator proves a second factor and gets an attestation for one
//! action.

use std::fmt;

use axum::{body::Body, extract::State, response::Response};
use events::ledger::mfa_attestation::{StepUpFactor, StepUpScope};
use garde::Validate;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    access::idempotency_key,
    app::App,
    commands::{
        idempotency::KeyedRequest,
        step_up::{self, Attestation, Outcome, StepUpError, Wish},
    },
    http::{
        authenticate::command_problem, body::Json, caller::Entrant, codes::Code, problem::Problem,
    },
};

const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const X_LEDGER_POSITION: HeaderName = HeaderName::from_static("x-ledger-position");
const ROUTE: &str = "POST /auth/mfa/step-up";

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StepUp)]
pub struct Request {
    /// `lock.revoke`, `folio.refund` or `folio.large-charge`.
    #[garde(custom(is_scope))]
    scope: String,
    /// `totp`, `webauthn` or `recovery_code`.
    #[garde(custom(is_factor))]
    factor: String,
    /// One-time code or assertion; told to iam-service, kept nowhere.
    #[garde(length(chars, min = 1, max = 4096))]
    #[schema(min_length = 1, max_length = 4096)]
    code: String,
    /// The one object the action is about; without it the attestation is good for any.
    #[serde(default)]
    #[garde(inner(custom(is_opaque)))]
    #[schema(min_length = 1, max_length = 64)]
    resource: Option<String>,
}

/// Shows no code.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepUp").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[utoipa::path(
    post,
    path = "/auth/mfa/step-up",
    operation_id = "stepUp",
    summary = "Confirms a second factor; the attestation is good for one action within 5 minutes",
    tag = "session",
    params(
        ("X-Idempotency-Key" = String, Header,
            description = "ULID of this wish; the same key has one effect and one answer"),
    ),
    request_body = Request,
    responses(
        (status = 200, body = Attestation,
            description = "The attestation, bound to tenant, operator, device, key and scope",
            headers(
                ("X-Ledger-Position" = String,
                    description = "Send it back as X-Min-Position to read your own write"),
                ("Idempotency-Replayed" = String,
                    description = "true when this is the answer to an earlier request"),
            )),
        (status = 400, response = crate::http::openapi::Problem),
        (status = 401, response = crate::http::openapi::Problem),
        (status = 403, response = crate::http::openapi::Problem),
        (status = 409, response = crate::http::openapi::Problem),
        (status = 422, response = crate::http::openapi::Problem),
        (status = 503, response = crate::http::openapi::Problem),
        (status = 504, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let key = idempotency_key::parse(&headers, app.clock().now());
    let key =
        key.map_err(|error| Problem::new(Code::named(error.code()).unwrap_or(Code::Internal)))?;
    let actor = entrant.actor();
    let keyed = KeyedRequest::new(app.commands(), &actor, key, ROUTE, &json!(request));
    let wish = wish(request)?;
    // In a task of its own: a client that hangs up does not leave half a command behind.
    let commands = app.commands().clone();
    let running = app.tracker().spawn(async move {
        let request = step_up::Request { actor: &actor, wish: &wish, keyed: &keyed };
        step_up::run(&commands, request).await
    });
    let outcome = running.await.map_err(|panicked| Problem::new(Code::Internal).cause(panicked))?;
    match outcome {
        Ok(Outcome::Confirmed { response, position }) => {
            Ok(confirmed(&app, &entrant, response.body, position))
        }
        Ok(Outcome::Refused) => Err(Code::MfaInvalid.into()),
        Err(StepUpError::Command(error)) => Err(command_problem(error)),
        Err(StepUpError::Upstream(error)) => Err(error.into()),
    }
}

fn confirmed(app: &App, entrant: &Entrant, body: Vec<u8>, position: Option<i64>) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json);
    match position {
        Some(position) => {
            let token = app.seal().position(&entrant.caller.tenant_id, position);
            let token = HeaderValue::from_str(&token).expect("base64url fits into a header");
            headers.insert(X_LEDGER_POSITION, token);
        }
        None => {
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
    }
    response
}

/// The validated request in the words of the command.
fn wish(request: Request) -> Result<Wish, Problem> {
    let (scope, factor) =
        (StepUpScope::from_name(&request.scope), StepUpFactor::from_name(&request.factor));
    let (Some(scope), Some(factor)) = (scope, factor) else {
        return Err(Code::ValidationFailed.into());
    };
    Ok(Wish { scope, factor, resource: request.resource, code: request.code.into() })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what garde calls")]
fn is_scope(name: &str, _: &()) -> garde::Result {
    StepUpScope::from_name(name).map(|_| ()).ok_or_else(invalid)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what garde calls")]
fn is_factor(name: &str, _: &()) -> garde::Result {
    StepUpFactor::from_name(name).map(|_| ()).ok_or_else(invalid)
}

/// As ids of upstream services are.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "what garde calls")]
fn is_opaque(id: &str, _: &()) -> garde::Result {
    id.parse::<events::AlertId>().map(|_| ()).map_err(|_| invalid())
}

fn invalid() -> garde::Error {
    garde::Error::new("INVALID")
}
