//! `POST /locks/{lockId}/revoke-key`: with a step-up for the lock; in the ledger first, then
//! lock-integration-service takes the key back.

use axum::{extract::State, response::Response};
use events::{KeyCredentialId, ledger::lock_action::RevokeReason};
use garde::Validate;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::lock_action::{Deed, Done, Wish},
    http::{
        body::Json,
        caller::Entrant,
        codes::Code,
        extract::Path,
        locks,
        openapi::IdempotencyKey,
        problem::Problem,
        validators::{fulfils, is},
    },
};

#[derive(Debug, Serialize, Deserialize, Validate, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = RevokeKey)]
pub struct Request {
    #[garde(custom(fulfils(is::<KeyCredentialId>)))]
    #[schema(min_length = 1, max_length = 64)]
    key_credential_id: String,
    /// `checkout`, `cancellation`, `security`, `lost` or `replaced`.
    #[garde(custom(fulfils(|name: &str| RevokeReason::from_name(name).is_some())))]
    reason: String,
}

#[utoipa::path(
    post,
    path = "/locks/{lockId}/revoke-key",
    operation_id = "revokeKey",
    summary = "Takes a key of a door back; needs a step-up for lock.revoke and this lock",
    tag = "locks",
    params(
        ("lockId" = String, Path, description = "The lock at lock-integration-service"),
        IdempotencyKey,
        ("X-Mfa-Attestation" = Option<String>, Header,
            description = "From POST /auth/mfa/step-up; good for one action within 5 minutes, and \
                asked for with 403 where it is missing"),
    ),
    request_body = Request,
    responses(
        (status = 200, body = Done, description = "The key is revoked"),
        (status = 502, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Path(lock_id): Path<String>,
    parts: Parts,
    Json(request): Json<Request>,
) -> Result<Response, Problem> {
    let lock_id = locks::lock_id(&lock_id)?;
    let body = json!(request);
    let invalid = || Problem::new(Code::ValidationFailed);
    let deed = Deed::Revoke {
        key_credential_id: request.key_credential_id.parse().map_err(|_| invalid())?,
        reason: RevokeReason::from_name(&request.reason).ok_or_else(invalid)?,
    };
    locks::carry_out((&app, &entrant), (&parts, &body), Wish { lock_id, deed }).await
}
