//! One executable, many roles: the service, its migrations, its repairs, and the tools of its
//! developers.

use std::process::ExitCode;

use anyhow::Context;
use backoffice::{
    app::{
        self, dead_letters, jobs, maintenance,
        screens::{self, Screens},
    },
    config::{self, Config, Foundation, Upstreams},
    database, desktop, dev,
    inbox::dead_letter::LetterId,
    output, secrets,
    telemetry::{self, LogFormat},
};
use clap::{Parser, Subcommand, ValueEnum};
use projections::{AlertInbox, DeviceSyncStatus, SessionMap, SuggestionInbox};
use tikv_jemallocator::Jemalloc;

/// With two and a half thousand streams the system's own takes a fifth more of the processor
/// (`make load`). Its settings stand in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// The back-office BFF: a ledger of what operators do, views of what upstream services say, one
/// live stream a desktop.
///
/// Settings come from the environment; a missing or malformed one is named at the start. `backoffice serve --help`
/// lists them. To try it all on one machine: `make run`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How log lines look
    #[arg(long, env = "LOG_FORMAT", default_value = "json", global = true, help_heading = "Logs")]
    log_format: LogFormat,
    /// Which lines are logged, in the syntax of `RUST_LOG`
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,sqlx=warn",
        global = true,
        help_heading = "Logs"
    )]
    log: String,
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Serve until SIGTERM or ctrl-C, then drain
    #[command(after_help = config::HELP)]
    Serve,
    /// Bring the database up to date, as its owner (`DATABASE_OWNER_URL`)
    Migrate,
    /// Fold a view anew from its logs, for every tenant and property; settings as for `serve`
    Rebuild {
        /// The view
        view: View,
    },
    /// Repair what could not be published; settings as for `serve`
    #[command(subcommand)]
    Relay(RelayRole),
    /// Look after messages of other services that could not be read; settings as for `serve`
    #[command(subcommand)]
    Inbox(InboxRole),
    /// Look after the ledger; settings as for `serve`
    #[command(subcommand)]
    Ledger(LedgerRole),
    /// Run a scheduled job once; settings as for `serve`
    Job {
        /// The job
        name: Job,
    },
    /// Be a desktop on the command line: sign proofs, read, acknowledge, listen
    Desktop(Box<desktop::Options>),
    /// Run the service and a simulated platform on a development stack
    Dev(dev::Options),
}

#[derive(Clone, Copy, ValueEnum)]
enum View {
    /// The alerts of a property
    AlertInbox,
    /// The suggestions for a property
    SuggestionInbox,
    /// What devices last reported, as far as it was recorded; what is newer stays
    DeviceSyncStatus,
    /// Which operator has which session on which device
    SessionMap,
    /// What the dashboard's widgets show: composed anew where somebody looks at it
    DashboardSnapshots,
    /// What the boards' sections show: composed anew where somebody looks at it
    WorkbenchViews,
}

#[derive(Subcommand)]
enum RelayRole {
    /// Let parked keys be tried again at once, and publish dead letters
    Redrive,
}

#[derive(Subcommand)]
enum InboxRole {
    /// List them: which, how old, of which subject, and why; never what they hold
    DeadLetters,
    /// Read them again, after a fix, and take in what can be read now
    #[command(arg_required_else_help = true)]
    Replay {
        /// Those that are not read yet, all of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// As the list names them: `<tenant>/<topic>/<message id>`
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<LetterId>,
    },
}

#[derive(Subcommand)]
enum LedgerRole {
    /// Hash every stored event anew and look for gaps; names the position that fails
    Verify,
}

#[derive(Clone, Copy, ValueEnum)]
enum Job {
    /// Make the ledger's partitions, three periods ahead
    Partitions,
    /// Forget the answers of idempotency keys that no client may use any more
    PurgeIdempotency,
    /// Forget what is kept beside the ledger and is over: hints, mirrors, the inbox, sessions
    Retention,
    /// End the idempotency keys that nobody came back for, and archive all that ended
    Archive,
    /// Find out what became of actions that have no outcome
    Completer,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Unread>() => ExitCode::SUCCESS,
        Err(error) => {
            // With its causes: this is for the person who started the program.
            eprintln!("backoffice: {}", telemetry::causes(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let log = || telemetry::start(arguments.log_format, &arguments.log);
    match arguments.role {
        Role::Serve => {
            log()?;
            secrets::forbid_dumps().context("memory dumps cannot be forbidden")?;
            app::serve(Config::from_environment()?).await
        }
        Role::Migrate => {
            let owner_url = config::owner_url()?;
            database::migrate(&owner_url).await.context("DATABASE_OWNER_URL")?;
            output::line("the database is up to date")
        }
        Role::Rebuild { view } => {
            let foundation = Foundation::from_environment()?;
            match view {
                View::AlertInbox => maintenance::rebuild::<AlertInbox>(&foundation).await,
                View::SuggestionInbox => maintenance::rebuild::<SuggestionInbox>(&foundation).await,
                View::DeviceSyncStatus => {
                    maintenance::rebuild_table::<DeviceSyncStatus>(&foundation).await
                }
                View::SessionMap => maintenance::rebuild_table::<SessionMap>(&foundation).await,
                View::DashboardSnapshots => {
                    screens::outdate(&foundation.stores, Screens::Dashboard).await
                }
                View::WorkbenchViews => screens::outdate(&foundation.stores, Screens::Boards).await,
            }
        }
        Role::Relay(RelayRole::Redrive) => {
            maintenance::redrive(&Foundation::from_environment()?).await
        }
        Role::Inbox(InboxRole::DeadLetters) => {
            dead_letters::list(&Foundation::from_environment()?).await
        }
        Role::Inbox(InboxRole::Replay { all, ids }) => {
            let ids = (!all).then_some(ids.as_slice());
            dead_letters::replay(&Foundation::from_environment()?, ids).await
        }
        Role::Ledger(LedgerRole::Verify) => {
            maintenance::verify_ledger(&Foundation::from_environment()?).await
        }
        Role::Job { name: Job::Partitions } => {
            maintenance::partitions(&Foundation::from_environment()?).await
        }
        Role::Job { name: Job::PurgeIdempotency } => {
            maintenance::purge_idempotency(&Foundation::from_environment()?).await
        }
        Role::Job { name: Job::Retention } => {
            maintenance::forget(&Foundation::from_environment()?).await
        }
        Role::Job { name: Job::Archive } => run_job(jobs::Job::Archive).await,
        Role::Job { name: Job::Completer } => run_job(jobs::Job::Completer).await,
        Role::Desktop(options) => desktop::run(*options).await,
        Role::Dev(options) => dev::run(options).await,
    }
}

/// A job that works with the ledger and the upstream services.
async fn run_job(job: jobs::Job) -> anyhow::Result<()> {
    let upstreams = Upstreams::from_environment()?;
    maintenance::run_job(&Foundation::from_environment()?, &upstreams, job).await
}
