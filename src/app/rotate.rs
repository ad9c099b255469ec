//! Takes secrets up that were changed on disk, without a restart.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::App;
use crate::{
    access::Gate,
    live::CursorKeys,
    secrets::{Rotated, Step, Watch},
};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Worker: looks every two seconds, until shutdown.
pub async fn run(mut secrets: Watch, app: &App, shutdown: &CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => (),
        }
        let step = secrets.step();
        if let Step::Rotated(Rotated { sync: Some(sync), .. }) = &step
            && let Err(error) = app.sync_keys().rotate(sync)
        {
            tracing::error!(%error, "the changed key for sync tokens is not usable");
        }
        apply(step, app.gate(), app.cursor_keys());
    }
}

/// Hands changed keys to those who use them; alarms where that cannot be done.
pub fn apply(step: Step, gate: &Gate, cursor_keys: &CursorKeys) {
    match step {
        Step::Unchanged => (),
        Step::Refused(error) => {
            metrics::counter!("bff_backoffice_secrets_refused_total").increment(1);
            tracing::error!(%error, "changed secrets are not usable: those of before stay in use");
        }
        Step::Rotated(rotated) => {
            if let Some(live) = &rotated.live {
                cursor_keys.rotate(&live.current, &live.previous);
            }
            if let Some(nonce) = &rotated.nonce
                && let Err(error) = gate.rotate_nonce_secrets(&nonce.current, &nonce.previous)
            {
                tracing::error!(%error, "the changed nonce secret is not usable");
            }
            metrics::counter!("bff_backoffice_secrets_rotated_total").increment(1);
            tracing::info!(
                live = rotated.live.is_some(),
                nonce = rotated.nonce.is_some(),
                sync = rotated.sync.is_some(),
                "secrets were rotated"
            );
            for name in rotated.at_start_only {
                tracing::error!(name, "this secret is not changed while the service runs");
            }
        }
    }
}
