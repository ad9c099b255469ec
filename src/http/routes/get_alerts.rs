//! `GET /alerts`: the alerts of the caller's properties, newest first.

use std::{cmp::Reverse, collections::BTreeMap, str::FromStr};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use events::{AlertId, upstream::notification::Severity};
use http::HeaderName;
use projections::alert_inbox::{Alert, AlertState};
use serde::{Deserialize, Serialize, de::IntoDeserializer};
use utoipa::ToSchema;

use crate::{
    app::App,
    http::{
        alerts,
        caller::{Entrant, properties},
        codes::Code,
        extract::Query,
        problem::Problem,
        seal::Purpose,
    },
};

const LIMIT_DEFAULT: usize = 50;
const LIMIT_MAX: usize = 100;
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// One page, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AlertPage)]
pub struct Page {
    items: Vec<Item>,
    /// Ask with it for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

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
    after: Option<Place>,
    limit: usize,
}

/// An alert's place in the list: newest first, then by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(Reverse<i64>, AlertId);

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
        (status = 200, description = "A page of alerts", body = Page,
            headers(("X-Cache" = String,
                description = "hit, or miss when the view was rebuilt now"))),
        (status = 400, response = crate::http::openapi::Problem),
        (status = 401, response = crate::http::openapi::Problem),
        (status = 403, response = crate::http::openapi::Problem),
        (status = 404, response = crate::http::openapi::Problem),
        (status = 503, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    entrant: Entrant,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Problem> {
    let wish = Wish::read(&query, |cursor| open_cursor(&app, &entrant, cursor))?;
    let properties = properties(&entrant, query.get("propertyId").map(String::as_str))?;
    entrant.wait_for_min_position(&app).await?;
    let inbox = alerts::inbox(&app, &entrant, &properties).await?;
    let now = app.clock().now();
    let (alerts, next) = select(inbox.alerts, &wish, now);
    let languages = entrant.languages();
    let page = Page {
        items: alerts.iter().filter_map(|alert| item(alert, now, &languages)).collect(),
        next_cursor: next.map(|place| {
            let content = serde_json::to_vec(&place).expect("a number and a string are JSON");
            app.seal().seal(Purpose::PageCursor, &entrant.caller.tenant_id, &content)
        }),
    };
    let cache = if inbox.is_hit { "hit" } else { "miss" };
    Ok(([(X_CACHE, cache)], Json(page)).into_response())
}

impl Wish {
    /// Reads the parameters; every wrong one is named.
    fn read(
        query: &BTreeMap<String, String>,
        open_cursor: impl FnOnce(&str) -> Option<Place>,
    ) -> Result<Self, Problem> {
        let mut problem = Problem::new(Code::ValidationFailed);
        let mut invalid = |field: &str| problem.errors.push(invalid(field));
        let severity = query.get("severity").map(|text| word::<Severity>(text));
        let state = query.get("state").map(|text| word::<AlertState>(text));
        let after = query.get("cursor").map(|text| open_cursor(text));
        let limit = query
            .get("limit")
            .map(|text| usize::from_str(text).ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)));
        for (field, is_wrong) in [
            ("severity", matches!(severity, Some(None))),
            ("state", matches!(state, Some(None))),
            ("cursor", matches!(after, Some(None))),
            ("limit", matches!(limit, Some(None))),
        ] {
            if is_wrong {
                invalid(field);
            }
        }
        if !problem.errors.is_empty() {
            return Err(problem);
        }
        Ok(Self {
            severity: severity.flatten(),
            state: state.flatten(),
            after: after.flatten(),
            limit: limit.flatten().unwrap_or(LIMIT_DEFAULT),
        })
    }
}

fn invalid(field: &str) -> crate::http::problem::FieldError {
    crate::http::problem::FieldError { field: field.to_owned(), code: "INVALID".to_owned() }
}

/// The enum value of this name.
fn word<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    let deserializer: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(deserializer).ok()
}

fn open_cursor(app: &App, entrant: &Entrant, cursor: &str) -> Option<Place> {
    let content = app.seal().open(Purpose::PageCursor, &entrant.caller.tenant_id, cursor).ok()?;
    serde_json::from_slice(&content).ok()
}

/// The page that is asked for, and where the next one begins.
fn select(alerts: Vec<Alert>, wish: &Wish, now: DateTime<Utc>) -> (Vec<Alert>, Option<Place>) {
    let mut placed: Vec<(Place, Alert)> = alerts
        .into_iter()
        .filter(|alert| wish.state.is_none_or(|state| alert.state(now) == state))
        .filter_map(|alert| {
            let raised = alert.raised.as_ref()?;
            if wish.severity.is_some_and(|severity| raised.severity != severity) {
                return None;
            }
            let place = Place(Reverse(raised.at.timestamp_micros()), alert.id.clone());
            wish.after.as_ref().is_none_or(|after| *after < place).then_some((place, alert))
        })
        .collect();
    placed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let more = wish.limit < placed.len();
    placed.truncate(wish.limit);
    let next = placed.last().map(|(place, _)| place.clone()).filter(|_| more);
    (placed.into_iter().map(|(_, alert)| alert).collect(), next)
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

/// The name of an enum's value.
fn name(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).expect("an enum without data is a JSON string");
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use events::{PropertyId, upstream::notification::Localized};
    use projections::alert_inbox::Raised;

    use super::*;

    #[test]
    fn pages_cover_the_list_newest_first_without_gap_or_repeat() {
        let alerts: Vec<Alert> =
            [3, 9, 1, 7, 5, 7].iter().enumerate().map(|(n, at)| alert(n, *at)).collect();
        let mut wish = wish(2);
        let mut seen = Vec::new();
        loop {
            let (page, next) = select(alerts.clone(), &wish, at(0));
            seen.extend(page.iter().map(|alert| alert.raised.as_ref().unwrap().at.timestamp()));
            assert!(page.len() <= 2);
            match next {
                Some(next) => wish.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, [9, 7, 7, 5, 3, 1]);
    }

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
        Wish { severity: None, state: None, after: None, limit }
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
            property_id: PropertyId::from_str("ppt_1").unwrap(),
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
