//! The composition root: what the parts of one instance are, who starts them, and how they end.

pub mod connect;
pub mod dead_letters;
pub mod jobs;
pub mod maintenance;
pub mod readiness;
pub mod rotate;
pub mod screens;
pub mod supervise;
pub mod workers;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use projections::Log;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    access::{Gate, scheduler::Scheduler, session::SessionStore},
    clock::{SharedClock, SystemClock},
    commands::{Resources, device_sync::token::SyncKeys},
    composition::Composer,
    config::Config,
    http::{self, seal::Seal},
    ledger::Pools,
    live::{CursorKeys, Hub},
    projector::{self, Builder},
    upstream::Profiles,
    views::Redis,
};

/// What routes work with. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub gate: Gate,
    pub commands: Resources,
    pub profiles: Profiles,
    pub composer: Composer,
    pub hub: Hub,
    pub cursor_keys: CursorKeys,
    pub sync_keys: SyncKeys,
    pub seal: Seal,
    pub builder: Builder,
    pub pools: Pools,
    pub cache_tier: Redis,
    pub session_tier: Redis,
    pub clock: SharedClock,
    /// Who may start jobs; `None`: nobody over HTTP.
    pub scheduler: Option<Scheduler>,
    /// Commands that outlive their request.
    pub tracker: TaskTracker,
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub fn sessions(&self) -> &SessionStore {
        self.0.gate.sessions()
    }

    pub fn commands(&self) -> &Resources {
        &self.0.commands
    }

    pub fn profiles(&self) -> &Profiles {
        &self.0.profiles
    }

    pub fn composer(&self) -> &Composer {
        &self.0.composer
    }

    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub fn cursor_keys(&self) -> &CursorKeys {
        &self.0.cursor_keys
    }

    pub fn sync_keys(&self) -> &SyncKeys {
        &self.0.sync_keys
    }

    pub fn seal(&self) -> &Seal {
        &self.0.seal
    }

    pub fn builder(&self) -> &Builder {
        &self.0.builder
    }

    /// The ledger position that the views have reached; `None` when it cannot be found out.
    pub async fn folded_position(&self) -> Option<i64> {
        projector::folded(&self.0.pools, Log::Ledger).await.ok()
    }

    pub fn pools(&self) -> &Pools {
        &self.0.pools
    }

    pub fn cache_tier(&self) -> &Redis {
        &self.0.cache_tier
    }

    pub fn session_tier(&self) -> &Redis {
        &self.0.session_tier
    }

    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    pub fn scheduler(&self) -> Option<&Scheduler> {
        self.0.scheduler.as_ref()
    }

    pub fn tracker(&self) -> &TaskTracker {
        &self.0.tracker
    }
}

/// Serves until SIGTERM or ctrl-C, then drains.
///
/// # Errors
/// When a store cannot be reached at the start, or a listener cannot be bound.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = http::metrics::install(env!("CARGO_PKG_VERSION"), &SystemClock)?;
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("BACKOFFICE_LISTEN: cannot listen on {listen}"))?;
    let admin = config.server.admin_listen;
    let admin_listener = TcpListener::bind(admin)
        .await
        .with_context(|| format!("BACKOFFICE_ADMIN_LISTEN: cannot listen on {admin}"))?;

    // Requests end first, then the workers that they may still need.
    let (requests, workers) = (CancellationToken::new(), CancellationToken::new());
    let (tracker, worker_tracker) = (TaskTracker::new(), TaskTracker::new());
    let stop = Stop { requests: requests.clone(), workers: workers.clone() };
    let started = connect::connect(&config, clock, &stop, (&tracker, &worker_tracker)).await?;
    workers::start(&started, &config, &worker_tracker, &workers);
    let readiness = readiness::readiness(&started.app);
    let router = http::routes::router(started.app.clone(), readiness);
    let router = http::cors::wrap(router, &config.server.cors_origins)?;
    let settings = http::server::Settings {
        connections_max: config.server.connections_max.get(),
        connections_per_address_max: Some(config.server.connections_per_address_max)
            .filter(|most| 0 < *most),
        drain_timeout: config.server.drain,
        ..http::server::Settings::default()
    };
    let admin_router = http::metrics::admin_router(metrics.clone());
    worker_tracker.spawn(http::metrics::run_upkeep(metrics, workers.clone()));
    worker_tracker.spawn(http::server::serve(
        admin_listener,
        admin_router,
        http::server::Settings::default(),
        workers.clone(),
    ));
    let serving = http::server::serve(listener, router, settings, requests.clone());
    let signalled = async {
        let signal = stop_signal().await;
        tracing::info!(signal, "draining");
        requests.cancel();
    };
    let (served, ()) = tokio::join!(serving, signalled);
    served?;
    finish("commands", &tracker).await;
    workers.cancel();
    finish("workers", &worker_tracker).await;
    tracing::info!("drained");
    Ok(())
}

/// Of the ten seconds after SIGTERM the drain of connections takes up to eight.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// Waits for what is still under way once nobody waits for its answer. It may be cut off anywhere:
/// the next instance goes on from what is in the stores.
async fn finish(what: &'static str, tracker: &TaskTracker) {
    tracker.close();
    if tokio::time::timeout(FINISH_MAX, tracker.wait()).await.is_err() {
        tracing::warn!(what, left = tracker.len(), "cut off at the end of the drain");
    }
}

/// SIGTERM or ctrl-C.
async fn stop_signal() -> &'static str {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return "no signals on this system";
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    }
}

/// What ends the parts of an instance, in this order.
#[derive(Clone)]
pub struct Stop {
    pub requests: CancellationToken,
    pub workers: CancellationToken,
}
