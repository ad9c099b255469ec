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
use tokio::{sync::Mutex, time::Instant};
use utoipa::{IntoParams, ToSchema};

use super::extract::Query;

const READY: &str = "ready";
/// For one check; a store that answers later than this is as good as gone.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an answer stands for everybody who asks: the question is open to all, and costs each
/// store a round trip. A wrong one stands shorter, so that a start is seen at once.
const READY_FOR: Duration = Duration::from_secs(1);
const NOT_READY_FOR: Duration = Duration::from_millis(20);

/// What a check found wrong: short, for operators, without addresses or secrets.
pub type Finding = Result<(), String>;
type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Finding> + Send>> + Send + Sync;

/// The named conditions of readiness; cheap to clone once built.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<Vec<Named>>,
    /// The last answers about everything, and about the stores alone.
    last: [Arc<Mutex<Option<Last>>>; 2],
}

/// An answer, and when it was found.
#[derive(Debug)]
struct Last {
    report: Report,
    at: Instant,
}

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
    /// Adds a condition. `check` runs at most a second, and for one question at a time.
    #[must_use]
    pub fn check<F, Checking>(mut self, name: &'static str, scope: Scope, check: F) -> Self
    where
        F: Fn() -> Checking + Send + Sync + 'static,
        Checking: Future<Output = Finding> + Send + 'static,
    {
        let check: Arc<Check> = Arc::new(move || Box::pin(check()));
        Arc::make_mut(&mut self.conditions).push(Named { name, scope, check });
        self
    }

    /// Whether the conditions hold, or held a moment ago.
    pub async fn report(&self, stores_only: bool) -> Report {
        let mut last = self.last[usize::from(stores_only)].lock().await;
        if let Some(Last { report, at }) = &*last {
            let stands_for = if report.is_ready() { READY_FOR } else { NOT_READY_FOR };
            if at.elapsed() < stands_for {
                return report.clone();
            }
        }
        let report = self.look(stores_only).await;
        *last = Some(Last { report: report.clone(), at: Instant::now() });
        report
    }

    /// Runs the checks, all at once.
    async fn look(&self, stores_only: bool) -> Report {
        let asked =
            self.conditions.iter().filter(|named| !stores_only || named.scope == Scope::Stores);
        let outcomes = join_all(asked.map(|named| async {
            let finding = tokio::time::timeout(CHECK_TIMEOUT, (named.check)())
                .await
                .unwrap_or_else(|_elapsed| Err("no answer within a second".to_owned()));
            (named.name, Outcome { ok: finding.is_ok(), detail: finding.err() })
        }));
        let checks: BTreeMap<_, _> = outcomes.await.into_iter().collect();
        let ready = checks.values().all(|outcome| outcome.ok);
        Report { status: if ready { READY } else { "not-ready" }, checks }
    }
}

impl Report {
    fn is_ready(&self) -> bool {
        self.status == READY
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
    let status = if report.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

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

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_questions_costs_the_stores_one_look_a_second() {
        let looks = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&looks);
        let readiness = Readiness::default().check("postgres", Scope::Stores, move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });

        let reports = join_all((0..100).map(|_| readiness.report(false))).await;
        assert!(reports.iter().all(Report::is_ready));
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        tokio::time::advance(READY_FOR).await;
        readiness.report(false).await;
        assert_eq!(looks.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_ready_is_looked_at_again_soon() {
        let is_up = Arc::new(AtomicU32::new(0));
        let state = Arc::clone(&is_up);
        let readiness = Readiness::default().check("postgres", Scope::Stores, move || {
            let finding =
                if state.load(Ordering::SeqCst) == 0 { Err("down".into()) } else { Ok(()) };
            async { finding }
        });

        assert!(!readiness.report(false).await.is_ready());
        is_up.store(1, Ordering::SeqCst);
        tokio::time::advance(NOT_READY_FOR).await;
        assert!(readiness.report(false).await.is_ready());
    }
}
