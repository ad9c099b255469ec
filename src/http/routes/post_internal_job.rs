//! `POST /internal/jobs/{name}`: the scheduler starts a job, by Google's identity token of its
//! account.

use axum::{Json, extract::State};
use http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    access::scheduler::SchedulerError,
    app::{App, jobs::Job},
    http::{codes::Code, extract::Path, problem::Problem},
};

/// Body of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobDone)]
pub struct Done {
    pub job: &'static str,
    /// In words, for a log.
    pub done: String,
}

#[utoipa::path(
    post,
    path = "/internal/jobs/{name}",
    operation_id = "runJob",
    summary = "Runs a job; for the scheduler's account only",
    tag = "internal",
    params(("name" = String, Path,
        description = "`partitions`, `purge-idempotency`, `retention`, `archive` or `completer`")),
    responses(
        (status = 200, body = Done, description = "The job has run"),
        (status = 404, response = crate::http::openapi::Problem),
    ),
)]
pub(super) async fn handle(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Done>, Problem> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let authorization = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok(),
        _ => None,
    };
    // Without a scheduler nobody is one.
    let scheduler = app.scheduler().ok_or_else(|| Problem::new(Code::TokenInvalid))?;
    scheduler.verify(authorization, app.clock().now()).await?;
    let job = Job::from_name(&name).ok_or_else(|| Problem::new(Code::ResourceNotFound))?;
    let running = {
        let app = app.clone();
        app.tracker().clone().spawn(async move { job.run(app.pools(), app.commands()).await })
    };
    let ended = running.await.map_err(|panicked| Problem::new(Code::Internal).cause(panicked))?;
    let done =
        ended.map_err(|error| Problem::new(Code::DependencyUnavailable).cause(Failed(error)))?;
    tracing::info!(job = job.name(), done, "a job has run");
    Ok(Json(Done { job: job.name(), done }))
}

/// What a job failed with, for the log.
#[derive(Debug, thiserror::Error)]
#[error("a job failed: {0:#}")]
struct Failed(anyhow::Error);

impl From<SchedulerError> for Problem {
    fn from(error: SchedulerError) -> Self {
        let code = match error {
            SchedulerError::Missing => Code::TokenMissing,
            SchedulerError::Invalid => Code::TokenInvalid,
            SchedulerError::Expired => Code::TokenExpired,
            SchedulerError::KeysUnavailable => Code::DependencyUnavailable,
        };
        Self::new(code).cause(error)
    }
}
