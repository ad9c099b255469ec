//! `POST /auth/mfa/step-up`: an operator proves a second factor and gets an attestation for one
//! action.

use std::fmt;

use axum::{extract::State, response::Response};
use events::ledger::mfa_attestation::{StepUpFactor, StepUpScope};
use garde::Validate;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::{
        idempotency::KeyedRequest,
        step_up::{self, Attestation, StepUpError, Wish},
    },
    http::{
        body::Json,
        caller::Entrant,
        codes::Code,
        keyed,
        openapi::IdempotencyKey,
        problem::Problem,
        validators::{fulfils, is_opaque},
    },
};

const ROUTE: &str = "POST /auth/mfa/step-up";

#[derive(Serialize, Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StepUp)]
pub struct Request {
    /// `lock.revoke`, `folio.refund` or `folio.large-charge`.
    #[garde(custom(fulfils(|name: &str| StepUpScope::from_name(name).is_some())))]
    scope: String,
    /// `totp`, `webauthn` or `recovery_code`.
    #[garde(custom(fulfils(|name: &str| StepUpFactor::from_name(name).is_some())))]
    factor: String,
    /// One-time code or assertion; told to iam-service, kept nowhere.
    #[garde(length(chars, min = 1, max = 4096))]
    #[schema(min_length = 1, max_length = 4096)]
    code: String,
    /// The one object the action is about; without it the attestation is good for any.
    #[serde(default)]
    #[garde(inner(custom(fulfils(is_opaque))))]
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
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Attestation,
            description = "The attestation, bound to tenant, operator, device, key and scope"),
        (status = 403, response = crate::http::openapi::Problem),
        (status = 502, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let key = keyed::key(&app, &headers)?;
    let actor = entrant.actor();
    let keyed = KeyedRequest::new(app.commands(), &actor, key, ROUTE, &json!(request));
    let wish = wish(request)?;
    let commands = app.commands().clone();
    let stepping_up = async move {
        let request = step_up::Request { actor: &actor, wish: &wish, keyed: &keyed };
        step_up::run(&commands, request).await
    };
    let outcome = keyed::to_its_end(&app, stepping_up).await?;
    Ok(keyed::response(&app, &entrant.caller, outcome))
}

impl From<StepUpError> for Problem {
    fn from(error: StepUpError) -> Self {
        match error {
            StepUpError::Refused => Self::new(Code::MfaInvalid),
            StepUpError::Command(error) => error.into(),
            StepUpError::Upstream(error) => error.into(),
        }
    }
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
