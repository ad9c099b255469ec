//! `POST /locks/{lockId}/issue-key`: in the ledger first, then lock-integration-service issues a key
//! for the rooms of a stay.

use axum::{extract::State, response::Response};
use events::{ReservationId, RoomId, ledger::lock_action::KeyKind};
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
#[schema(as = IssueKey)]
pub struct Request {
    #[garde(custom(fulfils(is::<ReservationId>)))]
    #[schema(min_length = 1, max_length = 64)]
    reservation_id: String,
    /// What the key opens; the lock's own room is among them.
    #[garde(length(min = 1, max = 20), inner(custom(fulfils(is::<RoomId>))))]
    #[schema(min_items = 1, max_items = 20)]
    rooms: Vec<String>,
    /// RFC 3339.
    #[garde(custom(fulfils(locks::is_time)))]
    #[schema(format = DateTime)]
    valid_from: String,
    /// RFC 3339, after `validFrom`.
    #[garde(custom(fulfils(locks::is_time)))]
    #[schema(format = DateTime)]
    valid_until: String,
    /// `mobile_app`, `pin_code`, `rfid_card`, `qr_code` or `nfc_tag`, best first.
    #[serde(default)]
    #[garde(length(max = 5), inner(custom(fulfils(|name: &str| KeyKind::from_name(name).is_some()))))]
    #[schema(max_items = 5)]
    preferred_kinds: Vec<String>,
}

#[utoipa::path(
    post,
    path = "/locks/{lockId}/issue-key",
    operation_id = "issueKey",
    summary = "Issues a key of a door; recorded before the lock is asked",
    tag = "locks",
    params(
        ("lockId" = String, Path, description = "The lock at lock-integration-service"),
        IdempotencyKey,
    ),
    request_body = Request,
    responses(
        (status = 200, body = Done, description = "The key is issued"),
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
    let wish = Wish { lock_id, deed: deed(&request)? };
    locks::carry_out((&app, &entrant), (&parts, &body), wish).await
}

/// The validated request in the words of the command.
fn deed(request: &Request) -> Result<Deed, Problem> {
    let valid_from = locks::time(&request.valid_from, "validFrom")?;
    let valid_until = locks::time(&request.valid_until, "validUntil")?;
    if valid_until <= valid_from {
        return Err(Problem::new(Code::ValidationFailed).field("validUntil", "TOO_SMALL"));
    }
    let invalid = || Problem::new(Code::ValidationFailed);
    let rooms: Result<Vec<RoomId>, _> = request.rooms.iter().map(|room| room.parse()).collect();
    let kinds: Option<Vec<KeyKind>> =
        request.preferred_kinds.iter().map(|kind| KeyKind::from_name(kind)).collect();
    Ok(Deed::Issue {
        reservation_id: request.reservation_id.parse().map_err(|_| invalid())?,
        rooms: rooms.map_err(|_| invalid())?,
        valid_from,
        valid_until,
        preferred_kinds: kinds.ok_or_else(invalid)?,
    })
}
