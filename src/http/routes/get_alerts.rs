//! `GET /alerts`: the alerts of the caller's properties, newest first.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use events::upstream::notification::Severity;
use projections::{
    AlertInbox,
    alert_inbox::{Alert, AlertState},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        caller::{Entrant, properties},
        extract::Query,
        inbox,
        listing::{Page, Parameters, Place, Window, name, word},
        problem::Problem,
    },
};

/// One alert, in the caller's language.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Alert)]
pub struct Item {
    id: String,
    property_id: String,
    /// `info`, `low`, `medium`, `high` or `critical`.
    severity: String,
    category: String,
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    /// Who raised it.
    source: String,
    /// `raised`, `acknowledged`, `resolved` or `expired`.
    state: String,
    raised_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
}

/// What is asked for.
struct Wish {
    severity: Option<Severity>,
    state: Option<AlertState>,
    window: Window,
}

#[utoipa::path(
    get,
    path = "/alerts",
    operation_id = "listAlerts",
    summary = "The alerts of the caller's properties, newest first",
    tag = "alerts",
    params(
        ("propertyId" = Option<String>, Query,
            description = "One property; else that of X-Property-Id, else all of the caller's"),
        ("X-Property-Id" = Option<String>, Header, description = "The property the desktop shows"),
        ("severity" = Option<String>, Query, description = "info, low, medium, high or critical"),
        ("state" = Option<String>, Query,
            description = "raised, acknowledged, resolved or expired"),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("limit" = Option<usize>, Query, description = "1–100, default 50"),
        ("X-Min-Position" = Option<String>, Header,
            description = "`X-Ledger-Position` of an earlier answer: waits until it can be read"),
    ),
    responses(
        (status = 200, description = "A page of alerts", body = Page<Item>,
            headers(("X-Cache" = String,
                description = "hit, or miss when the view was rebuilt now"))),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let wish = Wish::read(&query, |cursor| Place::open(&app, &entrant, cursor))?;
    let properties = properties(&entrant, query.get("propertyId").map(String::as_str))?;
    entrant.wait_for_min_position(&app).await?;
    let inbox = inbox::read::<AlertInbox>(&app, &entrant, &properties).await?;
    let now = app.clock().now();
    let (alerts, next) = select(inbox.items, &wish, now);
    let languages = entrant.languages();
    let items = alerts.iter().filter_map(|alert| item(alert, now, &languages));
    Ok(Page::new((&app, &entrant), items, next).into_response(inbox.is_hit))
}

impl Wish {
    /// Reads the parameters; every wrong one is named.
    fn read(
        query: &BTreeMap<String, String>,
        open_cursor: impl FnOnce(&str) -> Option<Place>,
    ) -> Result<Self, Problem> {
        let mut parameters = Parameters::new(query);
        let wish = Self {
            severity: parameters.get("severity", word),
            state: parameters.get("state", word),
            window: parameters.window(open_cursor),
        };
        parameters.check().map(|()| wish)
    }
}

/// The page that is asked for, and where the next one begins.
fn select(alerts: Vec<Alert>, wish: &Wish, now: DateTime<Utc>) -> (Vec<Alert>, Option<Place>) {
    let placed = alerts
        .into_iter()
        .filter(|alert| wish.state.is_none_or(|state| alert.state(now) == state))
        .filter_map(|alert| {
            let raised = alert.raised.as_ref()?;
            if wish.severity.is_some_and(|severity| raised.severity != severity) {
                return None;
            }
            Some((Place::new(raised.at, alert.id.clone()), alert))
        });
    wish.window.select(placed)
}

/// An alert as clients see it; `None` while only its acknowledgment is known.
fn item(alert: &Alert, now: DateTime<Utc>, languages: &[String]) -> Option<Item> {
    let raised = alert.raised.as_ref()?;
    let languages = || languages.iter().map(String::as_str);
    Some(Item {
        id: alert.id.to_string(),
        property_id: alert.property_id.to_string(),
        severity: name(&raised.severity),
        category: raised.category.clone(),
        title: raised.title.pick(languages()).to_owned(),
        body: raised.body.as_ref().map(|body| body.pick(languages()).to_owned()),
        source: raised.source.clone(),
        state: name(&alert.state(now)),
        raised_at: raised.at,
        acknowledged_at: alert.acknowledged.as_ref().map(|ack| ack.at),
        acknowledged_by: alert.acknowledged.as_ref().map(|ack| ack.by.clone()),
        resolved_at: alert.resolved_at,
        expires_at: raised.expires_at,
    })
}

#[cfg(test)]
mod tests {
    use events::{PropertyId, upstream::notification::Localized};
    use projections::alert_inbox::Raised;

    use super::*;

    #[test]
    fn an_acknowledgment_without_its_alert_is_not_listed() {
        let mut unknown = alert(1, 1);
        unknown.raised = None;
        assert_eq!(select(vec![unknown], &wish(10), at(0)).0, []);
    }

    #[test]
    fn only_what_is_asked_for_is_listed() {
        let mut resolved = alert(1, 1);
        resolved.resolved_at = Some(at(5));
        let wish = Wish { state: Some(AlertState::Resolved), ..wish(10) };
        assert_eq!(select(vec![alert(2, 2), resolved.clone()], &wish, at(9)).0, [resolved]);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let query = [("limit", "0"), ("state", "open"), ("severity", "worst"), ("cursor", "x")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let problem = Wish::read(&query, |_| None).err().unwrap();
        assert_eq!(problem.errors.len(), 4);
    }

    fn wish(limit: usize) -> Wish {
        Wish { severity: None, state: None, window: Window { after: None, limit } }
    }

    fn alert(number: usize, raised_at: i64) -> Alert {
        let raised = Raised {
            severity: Severity::Low,
            category: "lock".to_owned(),
            title: Localized::One("Lock".to_owned()),
            body: None,
            source: "lock".to_owned(),
            at: at(raised_at),
            expires_at: None,
        };
        Alert {
            id: format!("ntf_{number}").parse().unwrap(),
            property_id: PropertyId::try_from("ppt_1".to_owned()).unwrap(),
            raised: Some(raised),
            acknowledged: None,
            forwarded: false,
            resolved_at: None,
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }
}
