//! What a caller needs for each route: one table, enforced before any route runs. What is not in it
//! is closed.

use std::fmt;

use events::PropertyId;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::{BASE_PATH, authenticate::problem, codes::Code, problem::Problem};
use crate::access::{Caller, policy::Scope};

const X_PROPERTY_ID: HeaderName = HeaderName::from_static("x-property-id");

/// What a route asks of whoever wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Open to all: nothing of a tenant is behind it.
    Open,
    /// A proof without a token; the refresh token names the session.
    RefreshToken,
    /// A session; what is behind it is the caller's own.
    Authenticated,
    /// A session, and a role with this scope.
    Scope(Scope),
    /// Google's identity token of the scheduler's account; tokens of operators are refused.
    Scheduler,
}

/// A route: method, path below the base path (or from the root), requirement.
type Row = (&'static str, &'static str, Requirement);

use Requirement::{Authenticated, Open, RefreshToken, Scheduler, Scope as Needs};

/// Below the base path.
const API: &[Row] = &[
    ("POST", "/auth/refresh", RefreshToken),
    ("POST", "/auth/sign-out", Authenticated),
    ("POST", "/auth/mfa/step-up", Authenticated),
    ("GET", "/bootstrap", Authenticated),
    ("GET", "/session", Authenticated),
    ("GET", "/dashboard", Needs(Scope::DashboardRead)),
    ("GET", "/today", Needs(Scope::BoardToday)),
    ("GET", "/arrivals", Needs(Scope::BoardArrivals)),
    ("GET", "/departures", Needs(Scope::BoardDepartures)),
    ("GET", "/in-house", Needs(Scope::BoardInHouse)),
    ("GET", "/front-desk", Needs(Scope::BoardFrontDesk)),
    ("GET", "/housekeeping", Needs(Scope::BoardHousekeeping)),
    ("GET", "/maintenance", Needs(Scope::BoardMaintenance)),
    ("GET", "/ai/suggestions", Needs(Scope::AiRead)),
    ("POST", "/ai/suggestions/{id}/decide", Needs(Scope::AiDecide)),
    ("GET", "/alerts", Needs(Scope::AlertsRead)),
    ("POST", "/alerts/{id}/acknowledge", Needs(Scope::AlertsAck)),
    ("GET", "/preferences", Authenticated),
    ("PUT", "/preferences", Authenticated),
    ("GET", "/shortcuts", Authenticated),
    ("PUT", "/shortcuts", Authenticated),
    ("GET", "/shortcuts/tenant", Needs(Scope::ShortcutsManage)),
    ("PUT", "/shortcuts/tenant", Needs(Scope::ShortcutsManage)),
    ("GET", "/devices", Authenticated),
    ("POST", "/devices/{id}/heartbeat", Authenticated),
    ("GET", "/devices/{id}/sync-status", Authenticated),
    ("POST", "/sync/handshake", Authenticated),
    ("GET", "/sync/cursor", Authenticated),
    ("POST", "/sync/cursor", Authenticated),
    ("PUT", "/offline-queue/hint", Authenticated),
    ("GET", "/offline-queue/hints", Authenticated),
    ("POST", "/activity", Authenticated),
    // Which channels a stream carries is a matter of scopes.
    ("GET", "/live", Authenticated),
    ("GET", "/sse/stream", Authenticated),
    ("GET", "/live/poll", Authenticated),
    ("POST", "/locks/{lockId}/issue-key", Needs(Scope::LockIssue)),
    ("POST", "/locks/{lockId}/revoke-key", Needs(Scope::LockRevoke)),
    ("POST", "/reservations/{id}/check-in", Needs(Scope::ReservationCheckIn)),
    ("POST", "/reservations/{id}/check-out", Needs(Scope::ReservationCheckOut)),
    ("POST", "/reservations/{id}/cancel", Needs(Scope::ReservationCancel)),
    ("POST", "/reservations/{id}/no-show", Needs(Scope::ReservationNoShow)),
    ("POST", "/reservations/{id}/assign-room", Needs(Scope::ReservationAssignRoom)),
    ("POST", "/reservations/{id}/extend-stay", Needs(Scope::ReservationExtendStay)),
    ("POST", "/folios/{id}/charges", Needs(Scope::FolioCharge)),
    ("POST", "/folios/{id}/payments", Needs(Scope::FolioPayment)),
    ("POST", "/folios/{id}/close", Needs(Scope::FolioClose)),
    ("POST", "/folios/{id}/refunds", Needs(Scope::FolioRefund)),
    ("POST", "/housekeeping/tasks/{id}/start", Needs(Scope::HousekeepingStart)),
    ("POST", "/housekeeping/tasks/{id}/complete", Needs(Scope::HousekeepingComplete)),
    ("POST", "/housekeeping/tasks/{id}/inspect", Needs(Scope::HousekeepingInspect)),
    ("POST", "/rooms/{id}/status", Needs(Scope::HousekeepingRoomStatus)),
    ("POST", "/maintenance/work-orders", Needs(Scope::MaintenanceCreate)),
    ("POST", "/maintenance/work-orders/{id}/assign", Needs(Scope::MaintenanceAssign)),
    ("POST", "/maintenance/work-orders/{id}/block", Needs(Scope::MaintenanceBlock)),
    ("POST", "/maintenance/work-orders/{id}/resolve", Needs(Scope::MaintenanceResolve)),
    ("POST", "/maintenance/work-orders/{id}/verify", Needs(Scope::MaintenanceVerify)),
    ("GET", "/audit/lock-actions/open", Needs(Scope::AuditRead)),
    ("GET", "/audit/ledgers", Needs(Scope::AuditRead)),
    ("GET", "/audit/ledgers/{ledger}/{year}/events", Needs(Scope::AuditRead)),
    ("GET", "/audit/ledgers/{ledger}/{year}/checkpoint", Needs(Scope::AuditRead)),
    ("GET", "/audit/ledgers/{ledger}/{year}/tile/{*tile}", Needs(Scope::AuditRead)),
    ("GET", "/audit/events/{eventId}/proof", Needs(Scope::AuditRead)),
];

/// At the root.
const ROOT: &[Row] = &[
    ("GET", "/health/live", Open),
    ("GET", "/health/ready", Open),
    ("GET", "/openapi.json", Open),
    ("GET", "/docs", Open),
    ("GET", "/.well-known/jwks.json", Open),
    ("POST", "/internal/jobs/{name}", Scheduler),
];

/// What a route needs; `None` when it is not in the table. `route` is its whole path with its
/// parameters as the router has them.
pub fn of(method: &Method, route: &str) -> Option<Requirement> {
    let mut rows = rows_of(route);
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    rows.find(|(method, ..)| *method == asked).map(|(_, _, requirement)| *requirement)
}

/// Whether a caller may enter a route.
///
/// # Errors
/// 403 for a scope that none of the caller's roles has and for a route that is not in the table,
/// 404 for a property that is not the caller's, 405 for a method the route does not have.
pub fn check(
    caller: &Caller,
    (method, route): (&Method, &str),
    named: &[PropertyId],
) -> Result<(), Problem> {
    let scope = match of(method, route) {
        Some(Requirement::Scope(scope)) => Some(scope),
        Some(Requirement::Authenticated | Requirement::Open) => None,
        Some(Requirement::RefreshToken | Requirement::Scheduler) => {
            return Err(Code::ScopeDenied.into());
        }
        None => return Err(undeclared(method, route)),
    };
    if let Some(scope) = scope {
        caller.require(scope, None).map_err(|reason| problem(reason.into()))?;
    }
    match named.iter().find(|property| !caller.property_ids.contains(property)) {
        Some(_) => Err(Code::ResourceNotFound.into()),
        None => Ok(()),
    }
}

/// The properties that a request names, in its query or its header.
///
/// # Errors
/// 404: what is no id is nobody's property.
pub fn named_properties(
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Vec<PropertyId>, Problem> {
    let of_query = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(name, _)| name == "propertyId")
        .map(|(_, value)| value.into_owned());
    let of_header = headers
        .get_all(X_PROPERTY_ID)
        .iter()
        .map(|value| value.to_str().unwrap_or_default().to_owned());
    of_query
        .chain(of_header)
        .map(|text| text.parse().map_err(|_| Problem::new(Code::ResourceNotFound)))
        .collect()
}

fn undeclared(method: &Method, route: &str) -> Problem {
    let methods: Vec<&str> = rows_of(route).map(|(method, ..)| *method).collect();
    if methods.is_empty() {
        tracing::error!(%method, route, "a route without a declared requirement is closed");
        return Problem::new(Code::ScopeDenied);
    }
    let allow = HeaderValue::try_from(methods.join(",")).expect("names of methods fit");
    Problem::new(Code::MethodNotAllowed).header(header::ALLOW, allow)
}

fn rows_of(route: &str) -> impl Iterator<Item = &'static Row> {
    let (table, path) = match route.strip_prefix(BASE_PATH) {
        Some(path) => (API, path),
        None => (ROOT, route),
    };
    let path = path.to_owned();
    table.iter().filter(move |(_, known, _)| is_same_route(known, &path))
}

/// The names of parameters are the route's own business.
fn is_same_route(known: &str, route: &str) -> bool {
    let is_parameter = |segment: &str| segment.starts_with('{');
    let mut known = known.split('/');
    let mut route = route.split('/');
    loop {
        match (known.next(), route.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other => (),
            (Some(one), Some(other)) if is_parameter(one) && is_parameter(other) => (),
            _ => return false,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::RefreshToken => f.write_str("refresh token"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Scope(scope) => f.write_str(scope.name()),
            Self::Scheduler => f.write_str("scheduler"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn needs(method: &str, path: &str) -> Option<Requirement> {
        of(&method.parse().unwrap(), &format!("{BASE_PATH}{path}"))
    }

    #[test]
    fn a_route_is_found_whatever_its_parameters_are_called() {
        let acknowledge = Some(Needs(Scope::AlertsAck));
        assert_eq!(needs("POST", "/alerts/{id}/acknowledge"), acknowledge);
        assert_eq!(needs("POST", "/alerts/{alert_id}/acknowledge"), acknowledge);
        assert_eq!(needs("HEAD", "/alerts"), Some(Needs(Scope::AlertsRead)));
        assert_eq!(needs("POST", "/alerts/x/acknowledge"), None);
        assert_eq!(needs("DELETE", "/alerts"), None);
        assert_eq!(needs("GET", "/alerts/"), None);
        assert_eq!(needs("GET", "/health/live"), None);
        assert_eq!(of(&Method::GET, "/health/live"), Some(Open));
    }

    #[test]
    fn no_route_is_declared_twice_and_no_scope_is_forgotten() {
        let mut seen = BTreeSet::new();
        for (method, path, _) in API.iter().chain(ROOT) {
            assert!(seen.insert((method, path)), "{method} {path}");
        }
        let used: BTreeSet<&str> = API
            .iter()
            .filter_map(|(_, _, requirement)| match requirement {
                Needs(scope) => Some(scope.name()),
                _ => None,
            })
            .collect();
        let known: BTreeSet<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        assert_eq!(used, known);
    }

    #[test]
    fn a_method_a_route_does_not_have_is_told_and_an_unknown_route_is_closed() {
        let route = format!("{BASE_PATH}/preferences");
        let problem = undeclared(&Method::DELETE, &route);
        assert_eq!(problem.code, Code::MethodNotAllowed);
        assert_eq!(problem.headers[header::ALLOW], "GET,PUT");
        let problem = undeclared(&Method::GET, &format!("{BASE_PATH}/debug"));
        assert_eq!(problem.code, Code::ScopeDenied);
    }

    #[test]
    fn every_property_that_a_request_names_counts() {
        let mut headers = HeaderMap::new();
        headers.insert(X_PROPERTY_ID, "ppt_3".parse().unwrap());
        let named = named_properties(Some("a=1&propertyId=ppt%5F1&propertyId=ppt_2"), &headers);
        let named: Vec<String> = named.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(named, ["ppt_1", "ppt_2", "ppt_3"]);
        assert!(named_properties(Some("propertyId=a%20b"), &HeaderMap::new()).is_err());
        assert_eq!(named_properties(None, &HeaderMap::new()).unwrap(), []);
    }
}
