//! Worker: tries open circuits once their cooldown is over, so that an instance that gets no
//! traffic recovers.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Service, Upstream};

/// How often circuits are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// For the whole of a probe.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Probes until `shutdown`.
pub async fn run(upstream: &Upstream, shutdown: &CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = probe_waiting(upstream) => {}
        }
    }
}

/// Asks every service whose circuit awaits a probe for its liveness, all at once. Any answer below
/// 500 will do: the question is whether the service answers.
pub async fn probe_waiting(upstream: &Upstream) {
    futures::future::join_all(Service::all().map(|service| probe(upstream, service))).await;
}

async fn probe(upstream: &Upstream, service: Service) {
    let line = upstream.line(service);
    if !line.breaker.awaits_probe() {
        return;
    }
    let Ok(permit) = line.breaker.permit() else { return };
    let mut url = line.base_url.clone();
    url.set_path(&format!("{}/health/live", line.base_url.path().trim_end_matches('/')));
    let asked = tokio::time::timeout(TIMEOUT, async {
        let token = upstream.0.id_tokens.token(service).await.ok()?;
        Some(upstream.0.client.get(url).bearer_auth(token).send().await)
    })
    .await;
    match asked {
        // Without an identity nothing was asked, and the permit goes back unused.
        Ok(None) => {}
        Ok(Some(Ok(answer))) if !answer.status().is_server_error() => permit.succeeded(),
        Ok(Some(_)) | Err(_) => permit.failed(),
    }
}
