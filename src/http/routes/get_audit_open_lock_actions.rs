//! `GET /audit/lock-actions/open`: the actions on locks that have no outcome, for those who audit.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    commands::open_lock_actions::{self, OpenLockAction},
    http::{
        caller::{Entrant, properties},
        extract::Query,
        listing::{Parameters, Place},
        problem::Problem,
    },
};

/// One page, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenLockActionPage)]
pub struct Page {
    /// Whatever was requested before this time is in the list or has its outcome in the ledger.
    as_of: DateTime<Utc>,
    items: Vec<Item>,
    /// Ask with it for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// An action that was requested and has no outcome.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = OpenLockAction)]
pub struct Item {
    /// `lap_` and a ULID; the stream in the ledger.
    action_id: String,
    /// `issue` or `revoke`.
    action: &'static str,
    lock_id: String,
    property_id: String,
    /// Who made the lock.
    vendor: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_id: Option<String>,
    /// `requested`, or `unknown` when lock-integration-service was asked and its answer was lost.
    state: &'static str,
    requested_at: DateTime<Utc>,
}

#[utoipa::path(
    get,
    path = "/audit/lock-actions/open",
    operation_id = "listOpenLockActions",
    summary = "The actions on locks of the caller's properties that have no outcome, newest first",
    tag = "audit",
    params(
        ("propertyId" = Option<String>, Query,
            description = "One property; else that of X-Property-Id, else all of the caller's"),
        ("X-Property-Id" = Option<String>, Header, description = "The property the desktop shows"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<usize>, Query, description = "1–100, default 50"),
    ),
    responses(
        (status = 200, description = "A page of actions; empty when all have their outcome",
            body = Page),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Page>, Problem> {
    let mut parameters = Parameters::new(&query);
    let window = parameters.window(|cursor| Place::open(&app, &entrant, cursor));
    parameters.check()?;
    let properties = properties(&entrant, query.get("propertyId").map(String::as_str))?;
    let open = open_lock_actions::read(app.commands(), &entrant.caller.tenant_id).await?;
    let placed = open
        .actions
        .into_iter()
        .filter(|action| properties.contains(&action.property_id))
        .map(|action| (Place::new(action.requested_at, action.action_id.to_string()), action));
    let (actions, next) = window.select(placed);
    Ok(Json(Page {
        as_of: open.as_of,
        items: actions.into_iter().map(Item::from).collect(),
        next_cursor: next.map(|place| place.seal(&app, &entrant)),
    }))
}

impl From<OpenLockAction> for Item {
    fn from(action: OpenLockAction) -> Self {
        Self {
            action_id: action.action_id.to_string(),
            action: action.kind.name(),
            lock_id: action.lock_id.to_string(),
            property_id: action.property_id.to_string(),
            vendor: action.vendor.name(),
            operator_id: action.operator_id.map(|id| id.to_string()),
            state: if action.is_unknown { "unknown" } else { "requested" },
            requested_at: action.requested_at,
        }
    }
}
