//! The recorder behind `/metrics`, which only the admin listener serves.

use std::time::Duration;

use axum::{Router, routing::get};
use http::header;
use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Bounds of every `…_seconds` histogram; the targets of the service's indicators are among them.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.08, 0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 5.0, 20.0];
/// How often samples are folded into buckets; between two foldings they are kept one by one.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Installs the process's recorder and notes which build runs since when.
///
/// # Errors
/// A recorder is installed already.
pub fn install(version: &'static str, clock: &dyn Clock) -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()?;
    gauge!("bff_backoffice_build_info", "bff_version" => version).set(1.0);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
    let started_at = clock.now().timestamp() as f64;
    gauge!("bff_backoffice_process_start_time_seconds").set(started_at);
    Ok(handle)
}

/// Worker: keeps the recorder's memory bounded where nobody scrapes.
pub async fn run_upkeep(handle: PrometheusHandle, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_INTERVAL) => handle.run_upkeep(),
        }
    }
}

/// Routes of the admin listener: `GET /metrics`, Prometheus' text format.
pub fn admin_router(handle: PrometheusHandle) -> Router {
    let render = move || {
        let text = handle.render();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    Router::new().route("/metrics", get(render))
}
