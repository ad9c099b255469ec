//! `GET /live/poll`: the same events by long poll, with the same cursors, for networks that cut
//! streams.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use axum::{Json, extract::State};
use projections::Channel;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        caller::Entrant,
        codes::Code,
        extract::Query,
        live::{live_problem, subscriber},
        problem::Problem,
    },
    live::LiveItem,
};

const WAIT_DEFAULT_MS: u64 = 10_000;
/// Below the request timeout.
const WAIT_MAX_MS: u64 = 15_000;

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LivePoll)]
pub struct Polled {
    /// In order; empty when nothing happened in the time.
    events: Vec<Event>,
    /// Poll with it as `after` next time; refresh hints of the time in between are said then, those
    /// of the last minute.
    next: String,
}

/// One event, as on the stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveEvent)]
pub struct Event {
    /// Refresh hints and events of the connection have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The channel.
    #[serde(rename = "event")]
    channel: String,
    data: Value,
}

#[utoipa::path(
    get,
    path = "/live/poll",
    operation_id = "pollLive",
    summary = "The events of the stream by long poll",
    tag = "live",
    params(
        ("channels" = Option<String>, Query, description = "As at /live"),
        ("after" = Option<String>, Query,
            description = "`next` of the poll before, or the id of an event of a stream"),
        ("waitMs" = Option<u64>, Query,
            description = "How long to wait for an event, 0–15000, default 10000"),
    ),
    responses(
        (status = 200, description = "What happened after the cursor", body = Polled),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Polled>, Problem> {
    let wait = match query.get("waitMs").map(|text| u64::from_str(text)) {
        None => WAIT_DEFAULT_MS,
        Some(Ok(wait)) if wait <= WAIT_MAX_MS => wait,
        Some(_) => return Err(Problem::new(Code::ValidationFailed).field("waitMs", "INVALID")),
    };
    let cursor = query.get("after").map(|text| ("after", text.as_str()));
    let subscriber = subscriber(&app, &entrant, &query, cursor).await?;
    let wait = Duration::from_millis(wait);
    let polled = app.hub().poll(subscriber, wait).await.map_err(live_problem)?;
    let events = polled.items.into_iter().map(|item| event(item, &app, &entrant));
    Ok(Json(Polled { events: events.collect(), next: polled.next }))
}

fn event(item: LiveItem, app: &App, entrant: &Entrant) -> Event {
    match item {
        LiveItem::Event(delivery) => Event {
            id: Some(delivery.cursor.clone()),
            channel: delivery.channel.name().to_owned(),
            data: serde_json::from_slice(&delivery.data).unwrap_or_default(),
        },
        LiveItem::Hint(hinted) => Event {
            id: None,
            channel: Channel::DashboardRefreshHints.name().to_owned(),
            data: serde_json::from_slice(&hinted.data).unwrap_or_default(),
        },
        LiveItem::Reset { cursor } => session(json!({ "kind": "reset" }), Some(cursor)),
        LiveItem::Superseded => session(json!({ "kind": "superseded" }), None),
        LiveItem::ForceLogout { reason } => {
            session(json!({ "kind": "force-logout", "reason": reason }), None)
        }
        LiveItem::Reconnect => {
            let nonce = app.gate().nonce_for(&entrant.caller);
            session(json!({ "kind": "reconnect", "nonce": nonce }), None)
        }
    }
}

fn session(data: Value, id: Option<String>) -> Event {
    Event { id, channel: "session".to_owned(), data }
}
