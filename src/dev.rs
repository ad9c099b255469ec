//! `backoffice dev`: the simulated platform and the service on stores that already run, until
//! ctrl-C.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Args;
use tokio::process::Command;
use url::Url;

use self::{
    card::card,
    children::{Children, create_log, log_path, log_tail},
    progress::Progress,
    settings::{listen_address, port},
    stop::StopSignal,
};
use crate::{
    clock::{Clock, SystemClock},
    desktop::{
        client,
        device::Device,
        proof::DeviceKey,
        sign_in::{self, Who},
        stack_file::StackFile,
    },
    output,
};

pub mod card;
pub mod children;
pub mod progress;
pub mod settings;
pub mod stop;

const MIGRATION_TIMEOUT: Duration = Duration::from_mins(2);
const READY_TIMEOUT: Duration = Duration::from_mins(1);
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// `backoffice dev`
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Folder of the stack that ops/dev/stack.sh started
    #[arg(long, env = "STACK_DIR", default_value = ".dev")]
    pub stack_dir: PathBuf,
    /// The simulated platform's program (default: `platform` beside this one)
    #[arg(long)]
    pub platform_program: Option<PathBuf>,
    /// Seconds between two happenings in the simulated world
    #[arg(long, default_value_t = 20)]
    pub pace: u64,
    /// Where the service finds its upstreams, below their names (default: the simulated platform)
    #[arg(long)]
    pub upstreams: Option<Url>,
}

/// Runs until a signal comes, the process that started this one ends, or a child does.
///
/// # Errors
/// Something does not start, or a child stops by itself: the error holds the end of its log. In any
/// case nothing that was started here still runs.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut stop = StopSignal::listen()?;
    let mut children = Children::new(&options.stack_dir);
    let outcome = tokio::select! {
        reason = stop.received() => {
            eprintln!("dev: {reason}, stopping");
            Ok(())
        }
        outcome = work(&options, &mut children) => outcome,
    };
    children.stop().await;
    outcome
}

/// Returns only when something went wrong.
async fn work(options: &Options, children: &mut Children) -> anyhow::Result<()> {
    let stack = StackFile::read(&options.stack_dir)?;
    let program = std::env::current_exe().context("this program has no path")?;
    let platform = match &options.platform_program {
        Some(platform) => platform.clone(),
        None => program.with_file_name("platform"),
    };
    ensure!(platform.exists(), "{} does not exist: build it first", platform.display());
    check_ports(&stack)?;
    let http = client::http()?;

    let progress = Progress::begin("migrating the database");
    migrate(&program, options, &stack).await?;
    progress.done();

    let progress = Progress::begin("starting the simulated platform");
    children.start(
        "simulator",
        simulator(&platform, options, &stack)?,
        port(&stack.simulator_url)?,
    )?;
    let health = stack.simulator_url.join("/sim/health")?;
    await_ready(children, &http, "simulator", &health).await?;
    progress.done();

    let progress = Progress::begin("starting the service");
    children.start("service", service(&program, options, &stack)?, port(&stack.backoffice_url)?)?;
    let health = stack.backoffice_url.join("/health/ready")?;
    await_ready(children, &http, "service", &health).await?;
    progress.done();

    let progress = Progress::begin("signing an operator in");
    let key = DeviceKey::generate();
    let now = SystemClock.now();
    let device = sign_in::sign_in(&http, &stack.simulator_url, Who::default(), &key, now).await?;
    device.save(&Device::path(&options.stack_dir))?;
    progress.done();

    output::line(card(&program, &options.stack_dir, &stack, &device))?;
    Err(children.first_exit().await)
}

/// A program of somebody else on a port would answer in place of ours.
fn check_ports(stack: &StackFile) -> anyhow::Result<()> {
    let ports = [
        ("the service", &stack.backoffice_url, "BACKOFFICE_PORT"),
        ("the admin port", &stack.admin_url, "BACKOFFICE_ADMIN_PORT"),
        ("the simulated platform", &stack.simulator_url, "SIMULATOR_PORT"),
    ];
    for (what, url, setting) in ports {
        let port = port(url)?;
        TcpListener::bind(("127.0.0.1", port)).with_context(|| {
            format!("port {port} for {what} is taken: stop what uses it, or set {setting}")
        })?;
    }
    Ok(())
}

async fn migrate(program: &Path, options: &Options, stack: &StackFile) -> anyhow::Result<()> {
    let log = create_log(&options.stack_dir, "migrate")?;
    let status = Command::new(program)
        .arg("migrate")
        .envs(settings::of_service(stack, &options.stack_dir)?)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share a log")?)
        .stderr(log)
        .kill_on_drop(true)
        .status();
    let status = tokio::time::timeout(MIGRATION_TIMEOUT, status)
        .await
        .context("the migration takes too long")?
        .context("cannot start the migration")?;
    if !status.success() {
        let log = log_path(&options.stack_dir, "migrate");
        bail!(
            "the migration failed ({status}); its log {} ends with\n{}",
            log.display(),
            log_tail(&log)
        );
    }
    Ok(())
}

fn simulator(program: &Path, options: &Options, stack: &StackFile) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .args(["serve", "--listen", &listen_address(&stack.simulator_url)?])
        .args(["--pubsub", &stack.pubsub_emulator_host])
        .args(["--project", &stack.pubsub_project])
        .args(["--pace", &options.pace.to_string()]);
    Ok(command)
}

fn service(program: &Path, options: &Options, stack: &StackFile) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command.arg("serve").envs(settings::of_service(stack, &options.stack_dir)?);
    if let Some(upstreams) = &options.upstreams {
        command.env("UPSTREAM_BASE_URL", upstreams.as_str());
    }
    Ok(command)
}

async fn await_ready(
    children: &mut Children,
    http: &reqwest::Client,
    name: &str,
    health: &Url,
) -> anyhow::Result<()> {
    let mut last_answer = "nothing".to_owned();
    let poll = async {
        loop {
            match http.get(health.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => last_answer = answer.text().await.unwrap_or_default(),
                // Not listening yet.
                Err(_) => (),
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    };
    tokio::select! {
        error = children.first_exit() => return Err(error),
        outcome = tokio::time::timeout(READY_TIMEOUT, poll) => if outcome.is_ok() { return Ok(()) },
    }
    bail!("the {name} is not ready after {READY_TIMEOUT:?}; {health} answered {last_answer}")
}
