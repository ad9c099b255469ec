//! Faults that can be set on an upstream, and what they do to a request.

use std::time::Duration;

use axum::http::StatusCode;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Service, Upstream};
use crate::{platform::Platform, problem::Problem};

/// The longest latency that can be asked for.
const LATENCY_MS_MAX: u64 = 600_000;

/// What goes wrong at a service; all zero means nothing does.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Faults {
    /// Reads go well whatever else is set.
    pub mutations_only: bool,
    /// Added before the work.
    pub latency_ms: u64,
    /// Up to this much is added to the latency, evenly spread.
    pub jitter_ms: u64,
    /// Share of requests, 0–1, answered with `status` and without the work.
    pub error_rate: Option<f64>,
    /// Status of the errors, 400–599; 503 when absent. Given alone, all requests fail with it.
    pub status: Option<u16>,
    /// `error` of the errors, as OAuth servers say it: `use_dpop_nonce` comes with a nonce.
    pub error: Option<String>,
    /// Requests wait until the fault is lifted or the client goes away.
    pub hang: bool,
    /// A mutation is done, then the connection is cut instead of an answer.
    pub drop_after_effect: bool,
    /// Share of requests, 0–1, whose connection is reset before the work.
    pub reset_rate: f64,
}

/// Instead of the work.
pub enum Interference {
    /// Answer this.
    Fail(Problem),
    /// Cut the connection.
    Cut,
}

impl Faults {
    /// # Errors
    /// 400 that names the member out of range.
    pub fn check(&self) -> Result<(), Problem> {
        for (name, rate) in [("errorRate", self.error_rate), ("resetRate", Some(self.reset_rate))] {
            if rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
                return Err(Problem::invalid(format!("{name} must lie between 0 and 1")));
            }
        }
        if self.status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err(Problem::invalid("status must lie between 400 and 599"));
        }
        if self.latency_ms > LATENCY_MS_MAX || self.jitter_ms > LATENCY_MS_MAX {
            let message = format!("latencyMs and jitterMs must be at most {LATENCY_MS_MAX}");
            return Err(Problem::invalid(message));
        }
        Ok(())
    }

    fn effective_error_rate(&self) -> f64 {
        self.error_rate.unwrap_or(if self.status.is_some() { 1.0 } else { 0.0 })
    }
}

/// Lets the service's faults act on a request: waits, fails it, or lets it pass (`None`).
pub async fn interfere(
    platform: &Platform,
    upstream: &Upstream,
    service: Service,
    is_read: bool,
) -> Option<Interference> {
    let faults = upstream.faults.borrow().clone();
    if is_read && faults.mutations_only {
        return None;
    }
    let jitter_ms = platform.draw(|random| random.random_range(0..=faults.jitter_ms));
    let latency = Duration::from_millis(faults.latency_ms + jitter_ms);
    if !latency.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(latency) => {}
            () = platform.shutdown.cancelled() => return Some(Interference::Cut),
        }
    }
    if platform.happens(faults.reset_rate) {
        return Some(Interference::Cut);
    }
    if platform.happens(faults.effective_error_rate()) {
        return Some(Interference::Fail(failure(&faults, service)));
    }
    if faults.hang {
        let mut changes = upstream.faults.subscribe();
        tokio::select! {
            // The sender lives as long as the simulator, so an error cannot come first.
            _ = changes.wait_for(|faults| !faults.hang) => {}
            () = platform.shutdown.cancelled() => return Some(Interference::Cut),
        }
    }
    None
}

fn failure(faults: &Faults, service: Service) -> Problem {
    let status = faults
        .status
        .and_then(|status| StatusCode::from_u16(status).ok())
        .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let problem = Problem::new(
        status,
        "MELMASTOON.GENERAL.FAULT_INJECTED",
        format!("{} was told to fail", service.name()),
    );
    match &faults.error {
        Some(error) => problem.with("error", serde_json::json!(error)),
        None => problem,
    }
}
