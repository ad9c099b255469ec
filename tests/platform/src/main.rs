//! The simulated platform as a process.

use std::{io::IsTerminal, net::SocketAddr, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use platform::{ISSUER_DEFAULT, Settings, Simulator};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The other side of the back office, for development and tests: fourteen upstream services, a
/// token issuer and a publisher of upstream events.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the upstreams, the issuer and the controls on one port until ctrl-C.
    Serve(Serve),
    /// Serves Google Pub/Sub from memory until ctrl-C, where Google's emulator is not to be had.
    Broker {
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:8085", env = "BROKER_LISTEN")]
        listen: SocketAddr,
    },
}

#[derive(Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// host:port of a Pub/Sub emulator or broker; without it nothing is published.
    #[arg(long, env = "PUBSUB_EMULATOR_HOST")]
    pubsub: Option<String>,
    /// Google Cloud project of the topics.
    #[arg(long, default_value = "melmastoon-dev", env = "PUBSUB_PROJECT")]
    project: String,
    /// The `iss` claim of the tokens.
    #[arg(long, default_value = ISSUER_DEFAULT)]
    issuer: String,
    /// Hotel groups in the world; the capacity model has 50.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    tenants: u32,
    /// Desktops a hotel group has; the capacity model has 200.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    devices: u32,
    /// Lets something happen every so many seconds: an alert, an arrival, a finished task.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "5",
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pace: Option<u64>,
    /// The same seed makes the same world, ids and signing keys included.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match Arguments::parse().command {
        Command::Serve(arguments) => serve(arguments).await,
        Command::Broker { listen } => broker(listen).await,
    }
}

async fn serve(arguments: Serve) -> anyhow::Result<()> {
    let simulator = Simulator::start(Settings {
        listen: arguments.listen,
        pubsub_endpoint: arguments.pubsub,
        project: arguments.project,
        issuer: arguments.issuer,
        tenants: arguments.tenants as usize,
        devices_per_tenant: arguments.devices as usize,
        seed: arguments.seed,
        pace: arguments.pace.map(Duration::from_secs),
    })
    .await?;
    tracing::info!(url = simulator.url(), "the simulated platform is up");
    stop_asked().await?;
    simulator.shutdown().await;
    Ok(())
}

async fn broker(listen: SocketAddr) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = platform::broker::serve(listener, shutdown);
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        asked = stop_asked() => asked?,
    }
    stop.cancel();
    serving.await
}

/// Returns on ctrl-C or SIGTERM.
async fn stop_asked() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("cannot await ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
