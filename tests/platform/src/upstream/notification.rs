//! notification-service: the alerts of a property and their acknowledgment.

use chrono::DateTime;
use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed,
    problem::Problem,
    world::{
        World,
        inbox::{Acknowledgment, Alert, AlertState},
    },
};

const COMMENT_CHARACTERS_MAX: usize = 2_000;

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["alerts"]) => list(world, request),
        ("GET", ["alerts", id]) => {
            let alert = world.alerts.get(&request.tenant_id, id).ok_or_else(|| no_alert(id))?;
            Ok(Answer::ok(json!(alert)))
        }
        ("POST", ["alerts", id, "acknowledge"]) => acknowledge(world, request, id),
        ("POST", ["alerts", id, "resolve"]) => resolve(world, request, id),
        _ => Err(request.unknown()),
    }
}

/// `?propertyId=&state=&cursor=&limit=`, newest first.
fn list(world: &World, request: &Request) -> Result<Answer, Problem> {
    let mut alerts: Vec<&Alert> = world.alerts.of_tenant(&request.tenant_id).collect();
    alerts.sort_by(|one, other| (other.raised_at, &other.id).cmp(&(one.raised_at, &one.id)));
    pages::page(request, alerts, |alert| alert.state.text())
}

/// Body `{acknowledgedBy, acknowledgedAt, comment?}`.
fn acknowledge(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let acknowledgment = read_acknowledgment(request)?;
    let alert = world.alerts.get_mut(&request.tenant_id, id).ok_or_else(|| no_alert(id))?;
    if alert.state != AlertState::Raised {
        return Err(Problem::conflict(
            "MELMASTOON.NOTIFICATION.ALERT_NOT_OPEN",
            format!("the alert is already {}", alert.state.text()),
        )
        .with("state", json!(alert.state))
        .with("acknowledgment", json!(alert.acknowledgment)));
    }
    alert.state = AlertState::Acknowledged;
    let by = acknowledgment.acknowledged_by.clone();
    let at = acknowledgment.acknowledged_at;
    alert.acknowledgment = Some(acknowledgment);
    let acknowledged = feed::alert_moved(alert, feed::ALERT_ACKNOWLEDGED, Some(&by), at);
    Ok(Answer::ok(json!(alert)).event(acknowledged))
}

fn read_acknowledgment(request: &Request) -> Result<Acknowledgment, Problem> {
    let at = request.text("acknowledgedAt")?;
    let acknowledged_at = DateTime::parse_from_rfc3339(at)
        .map_err(|_| Problem::invalid("acknowledgedAt must be an RFC 3339 time"))?;
    let comment = request.optional_text("comment").map(str::to_owned);
    if comment.as_ref().is_some_and(|text| text.chars().count() > COMMENT_CHARACTERS_MAX) {
        let message = format!("comment must have at most {COMMENT_CHARACTERS_MAX} characters");
        return Err(Problem::invalid(message));
    }
    Ok(Acknowledgment {
        acknowledged_by: request.text("acknowledgedBy")?.to_owned(),
        acknowledged_at: acknowledged_at.to_utc(),
        comment,
    })
}

fn resolve(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let alert = world.alerts.get_mut(&request.tenant_id, id).ok_or_else(|| no_alert(id))?;
    if alert.state == AlertState::Resolved {
        return Err(Problem::conflict(
            "MELMASTOON.NOTIFICATION.ALERT_NOT_OPEN",
            "the alert is already resolved",
        ));
    }
    alert.state = AlertState::Resolved;
    alert.resolved_at = Some(request.at);
    let resolved = feed::alert_moved(alert, feed::ALERT_RESOLVED, None, request.at);
    Ok(Answer::ok(json!(alert)).event(resolved))
}

fn no_alert(id: &str) -> Problem {
    Problem::not_found(format!("no alert {id}"))
}
