//! `/health/live` and `/health/ready`: whether the process runs, and whether it can serve.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use futures::future::join_all;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::extract::Query;

/// For one check; a store that answers later than this is as good as gone.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// What a check found wrong: short, for operators, without addresses or secrets.
pub type Finding = Result<(), String>;
type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync;

/// The named conditions of readiness; cheap to clone once built.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Vec<Named>>);

#[derive(Clone)]
struct Named {
    name: &'static str,
    scope: Scope,
    check: Arc<Check>,
}

/// What a check is about; `?scope=stores` asks for the stores alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Postgres, Redis, signing keys.
    Stores,
    /// The upstream services.
    Circuits,
}

/// The answer to `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthReport)]
pub struct Report {
    /// `ready` or `not-ready`.
    pub status: &'static str,
    /// By name of the check.
    pub checks: BTreeMap<&'static str, Outcome>,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HealthCheck)]
pub struct Outcome {
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The answer to `/health/live`.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = HealthAlive)]
pub struct Alive {
    /// `live`.
    pub status: &'static str,
}

#[derive(Debug, Deserialize, IntoParams)]
pub(super) struct Parameters {
    /// `stores` leaves the upstream circuits out; anything else, or nothing, asks for all.
    scope: Option<String>,
}

impl Readiness {
    /// Adds a condition. `check` runs at every question, at most a second.
    #[must_use]
    pub fn check<F, Checking>(mut self, name: &'static str, scope: Scope, check: F) -> Self
    where
        F: Fn() -> Checking + Send + Sync + 'static,
        Checking: Future<Output = Finding> + Send + 'static,
    {
        let check: Arc<Check> = Arc::new(move || Box::pin(check()));
        Arc::make_mut(&mut self.0).push(Named { name, scope, check });
        self
    }

    /// Runs the checks, all at once.
    pub async fn report(&self, stores_only: bool) -> Report {
        let asked = self.0.iter().filter(|named| !stores_only || named.scope == Scope::Stores);
        let outcomes = join_all(asked.map(|named| async {
            let finding = tokio::time::timeout(CHECK_TIMEOUT, (named.check)())
                .await
                .unwrap_or_else(|_elapsed| Err("no answer within a second".to_owned()));
            (named.name, Outcome { ok: finding.is_ok(), detail: finding.err() })
        }));
        let checks: BTreeMap<_, _> = outcomes.await.into_iter().collect();
        let ready = checks.values().all(|outcome| outcome.ok);
        Report { status: if ready { "ready" } else { "not-ready" }, checks }
    }
}

#[utoipa::path(get, path = "/health/live", tag = "health", operation_id = "getHealthLive",
    summary = "Whether the process runs",
    responses((status = 200, description = "The process runs", body = Alive)))]
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { status: "live" })
}

#[utoipa::path(get, path = "/health/ready", tag = "health", operation_id = "getHealthReady",
    summary = "Whether it can serve",
    params(Parameters),
    responses(
        (status = 200, description = "Every condition holds", body = Report),
        (status = 503, description = "The checks that are not `ok` do not hold", body = Report),
    ))]
pub(super) async fn ready(
    State(readiness): State<Readiness>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let report = readiness.report(parameters.scope.as_deref() == Some("stores")).await;
    let status =
        if report.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_failing_check_is_named_and_makes_the_whole_not_ready() {
        let readiness = Readiness::default()
            .check("postgres", Scope::Stores, || async { Ok(()) })
            .check("circuits", Scope::Circuits, || async { Err("iam-service is open".into()) });

        let whole = readiness.report(false).await;
        let stores = readiness.report(true).await;

        assert_eq!(whole.status, "not-ready");
        assert_eq!(whole.checks["circuits"].detail.as_deref(), Some("iam-service is open"));
        assert!(whole.checks["postgres"].ok);
        assert_eq!((stores.status, stores.checks.len()), ("ready", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_that_hang_cost_one_second_in_all() {
        let started = tokio::time::Instant::now();
        let readiness = Readiness::default()
            .check("redis-session", Scope::Stores, std::future::pending)
            .check("redis-cache", Scope::Stores, std::future::pending);

        let report = readiness.report(false).await;

        assert!(report.checks.values().all(|outcome| !outcome.ok));
        assert_eq!(started.elapsed(), CHECK_TIMEOUT);
    }
}
