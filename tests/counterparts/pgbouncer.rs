//! pgbouncer in transaction mode between the service and Postgres: one server connection serves
//! every tenant in turn.
//!
//! Tenants' transactions stay apart there. The workers' statements outside transactions do not work
//! in this mode with a pgbouncer that knows no prepared statements (before 1.21): the service needs
//! session mode, or none at all.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::Command,
};

use backoffice::{
    database::{Role, Settings},
    ledger::Pools,
};
use events::TenantId;
use futures::future::join_all;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use crate::{
    program::Program,
    support::{
        database::TestDatabase,
        ledger::{TestLedger, acknowledgment, tenant},
        port,
    },
};

/// Two server connections for however many clients.
const SERVERS: usize = 2;

struct Pgbouncer(Program);

impl Pgbouncer {
    /// In transaction mode before the test's database.
    async fn start(database: &TestDatabase) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = port::free();
        let address = database.address();
        let (host, server_port) = address.split_once(':').unwrap();
        // Every role may enter; pgbouncer connects under the name that the client gave.
        let settings = format!(
            "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\n\
             pool_mode = transaction\ndefault_pool_size = {SERVERS}\nmax_client_conn = 200\n\
             ignore_startup_parameters = extra_float_digits\n\
             server_reset_query = DEALLOCATE ALL\nserver_reset_query_always = 1\n",
            users = directory.path().join("users").display(),
        );
        let users: String = Role::ALL.map(|role| format!("\"{}\" \"\"\n", role.name())).concat();
        for (name, text) in [("settings", settings), ("users", users)] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let mut command = Command::new("pgbouncer");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root.
            let nobody = 65_534;
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
            chown(directory.path(), Some(nobody), None).unwrap();
            command.args(["-u", "nobody"]);
        }
        command.arg("-q").arg(directory.path().join("settings"));
        Self(Program::start(&mut command, (port, directory), "pgbouncer").await)
    }

    /// Nothing prepared is kept from one transaction to the next.
    fn settings(&self, database: &TestDatabase) -> Settings {
        let direct = database.settings().url.expose_secret().to_owned();
        let name = direct.rsplit('/').next().unwrap();
        let url = format!(
            "postgres://backoffice_app@127.0.0.1:{}/{name}?statement-cache-capacity=0",
            self.0.port
        );
        let mut settings = Settings::new(url.into());
        settings.request_pool_max = 8;
        settings.pool_max = 8;
        settings.acquire_timeout = std::time::Duration::from_secs(30);
        settings
    }
}

#[tokio::test]
async fn ti_23_tenants_stay_apart_behind_pgbouncer_in_transaction_mode() {
    const ROUNDS: usize = 200;
    let database = TestDatabase::create().await;
    let pgbouncer = Pgbouncer::start(&database).await;
    let settings = pgbouncer.settings(&database);
    let pools = Pools::connect(&settings).unwrap();
    let tenants = [tenant(1), tenant(2)];
    let test = TestLedger::start(database.pools());
    for tenant in &tenants {
        test.ledger.append(acknowledgment(tenant, "alr_1")).await.unwrap();
    }

    let rounds = (0..8).map(|borrower| {
        let (pools, tenants) = (&pools, &tenants);
        async move {
            for round in 0..ROUNDS {
                look(pools, &tenants[(borrower + round) % 2], round % 3 == 0).await;
            }
        }
    });
    join_all(rounds).await;
    test.stop().await;

    let mut superuser = database.superuser().await;
    let backends: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity \
         where usename = 'backoffice_app' and datname = current_database()",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    let servers = i64::try_from(SERVERS).unwrap();
    assert!((1..=servers).contains(&backends), "{backends} for eight clients");
}

/// Several statements of one transaction, all on the rows of one tenant.
async fn look(pools: &Pools, tenant: &TenantId, is_abandoned: bool) {
    let mut transaction = pools.begin(tenant).await.unwrap();
    for _ in 0..3 {
        let seen: Vec<String> = sqlx::query_scalar("select distinct tenant_id from event")
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(seen, [tenant.as_str()]);
    }
    if is_abandoned {
        drop(transaction);
    } else {
        transaction.commit().await.unwrap();
    }
}

/// Why the tenant is set for a transaction: behind pgbouncer a setting of the session is the next
/// client's.
#[tokio::test]
async fn ti_23_a_setting_of_the_session_would_be_the_next_clients() {
    let database = TestDatabase::create().await;
    let pgbouncer = Pgbouncer::start(&database).await;
    let options = pgbouncer.settings(&database).connect_options(Role::App).unwrap();
    let mut first = options.connect().await.unwrap();
    let set = format!("select set_config('app.tenant_id', '{}', false)", tenant(1));
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut first).await.unwrap();
    let mut leaked = Vec::new();
    for _ in 0..4 {
        let mut next = options.connect().await.unwrap();
        // By the simple protocol: outside a transaction, parse and bind may meet two servers.
        let read = sqlx::raw_sql("select current_setting('app.tenant_id', true)");
        let setting: Option<String> = read.fetch_one(&mut next).await.unwrap().get(0);
        leaked.extend(setting.filter(|setting| !setting.is_empty()));
        next.close().await.unwrap();
    }
    assert!(leaked.contains(&tenant(1).to_string()), "the rule would be needless");
}
