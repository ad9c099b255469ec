//! The simulated platform: the other side of the back office, honest enough to develop against.
//!
//! One process and one port: fourteen upstream services under `/{service}/…`, a token issuer, a
//! publisher of upstream events into Pub/Sub, and controls under `/sim`. It shares no type with
//! the service, so that agreement between the two is tested and not assumed.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub mod broker;
mod clock;
mod envelope;
mod feed;
mod identifier;
mod identity;
mod issuer;
mod pace;
mod people;
mod platform;
mod problem;
mod producer;
mod publisher;
mod routes;
mod server;
mod tokens;
mod upstream;
mod world;

use platform::Platform;
use publisher::Publisher;

/// The issuer named in tokens unless another is set.
pub const ISSUER_DEFAULT: &str = "https://iam.melmastoon.internal";

/// How a simulator is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `host:port` of an emulator or broker; without it nothing is published.
    pub pubsub_endpoint: Option<String>,
    /// Google Cloud project of the topics.
    pub project: String,
    /// The `iss` claim of the tokens.
    pub issuer: String,
    /// At least 1.
    pub tenants: usize,
    pub devices_per_tenant: usize,
    /// The same seed makes the same world, ids and signing keys included.
    pub seed: u64,
    /// How often something happens by itself; never when absent.
    pub pace: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            pubsub_endpoint: None,
            project: "melmastoon-dev".into(),
            issuer: ISSUER_DEFAULT.into(),
            tenants: 3,
            devices_per_tenant: 5,
            seed: 1,
            pace: None,
        }
    }
}

/// A running simulator.
pub struct Simulator {
    address: SocketAddr,
    platform: Arc<Platform>,
    tasks: TaskTracker,
}

impl Simulator {
    /// Starts one; when this returns, it answers, and its topics exist.
    ///
    /// # Errors
    /// When the address cannot be bound, Pub/Sub does not answer within 10 s, or no tenant is
    /// asked for.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(settings.tenants > 0, "at least one tenant is needed");
        anyhow::ensure!(
            settings.pace.is_none_or(|pace| !pace.is_zero()),
            "the pace must be longer than zero"
        );
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {}", settings.listen))?;
        let address = listener.local_addr().context("the listener has no address")?;
        let publisher = match &settings.pubsub_endpoint {
            Some(endpoint) => Some(Publisher::connect(endpoint, &settings.project).await?),
            None => None,
        };
        let shutdown = CancellationToken::new();
        let platform = Arc::new(Platform::new(&settings, publisher, shutdown.clone()));
        let tasks = TaskTracker::new();
        let router = routes::router(Arc::clone(&platform));
        tasks.spawn(server::serve(listener, router, shutdown));
        if let Some(interval) = settings.pace {
            let platform = Arc::clone(&platform);
            tasks.spawn(async move { pace::run(&platform, interval).await });
        }
        Ok(Self { address, platform, tasks })
    }

    /// Where it answers, as in `http://127.0.0.1:8090`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The ids of the seeded tenants, in their order in the world.
    pub fn tenant_ids(&self) -> Vec<String> {
        self.platform.world().tenants.iter().map(|tenant| tenant.id.clone()).collect()
    }

    /// Stops accepting, ends what hangs, lets open requests finish and events be published.
    pub async fn shutdown(self) {
        self.platform.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.platform.drain().await;
    }
}
