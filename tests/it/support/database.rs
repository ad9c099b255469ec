//! A migrated database of its own for every test, copied from a template in a fraction of a second.

use std::{str::FromStr, time::Duration};

use backoffice::{
    database::{self, MIGRATIONS, Role, Settings},
    ledger::{leaf, pools::Pools},
};
use chrono::{Datelike, Utc};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, postgres::PgConnectOptions,
};
use ulid::Ulid;

use super::wait;

const OWNER: &str = "backoffice_owner";
/// Held while a template is made; the processes of one test run wait for the first.
const TEMPLATE_LOCK: i64 = 0x7465_6d70_6c61_7465;

/// A database that exists as long as this value.
pub struct TestDatabase {
    admin: PgConnectOptions,
    name: String,
    settings: Settings,
    pools: Pools,
}

impl TestDatabase {
    /// Needs `DATABASE_ADMIN_URL`: a superuser's, on a server where all roles are trusted.
    pub async fn create() -> Self {
        let admin = admin_options();
        let mut connection = admin.connect().await.expect("DATABASE_ADMIN_URL reaches Postgres");
        let template = ensure_template(&admin, &mut connection).await;
        let name = format!("it_{}", Ulid::generate().to_string().to_lowercase());
        execute(&mut connection, format!("create database {name} template {template}")).await;
        execute(&mut connection, format!("alter database {name} owner to {OWNER}")).await;
        // Grants on a database are not part of what a template hands on.
        execute(&mut connection, format!("revoke all on database {name} from public")).await;
        for role in Role::ALL {
            let role = role.name();
            execute(&mut connection, format!("grant connect on database {name} to {role}")).await;
        }
        connection.close().await.expect("the connection closes");

        let mut settings = Settings::new(url(&admin, Role::App.name(), &name));
        settings.owner_url = Some(url(&admin, OWNER, &name));
        settings.request_pool_max = 4;
        settings.pool_max = 4;
        // Many tests share the machine: whoever is late for a connection is not lost.
        settings.acquire_timeout = Duration::from_secs(30);
        let pools = Pools::connect(&settings).expect("the URL is one of Postgres");
        Self { admin, name, settings, pools }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The pools that belong to this value.
    pub fn pools(&self) -> Pools {
        self.pools.clone()
    }

    /// Pools of their own, as another instance would have.
    pub fn other_pools(&self) -> Pools {
        Pools::connect(&self.settings).expect("the URL is one of Postgres")
    }

    /// `host:port` of the server, for a proxy.
    pub fn address(&self) -> String {
        format!("{}:{}", self.admin.get_host(), self.admin.get_port())
    }

    /// The runtime role's URL for who enters through `address`.
    pub fn url_through(&self, address: std::net::SocketAddr) -> String {
        format!("postgres://{}@{address}/{}", Role::App.name(), self.name)
    }

    /// Pools of `max` connections a role that enter through `address`.
    pub fn pools_through(&self, address: std::net::SocketAddr, max: u32) -> Pools {
        let mut settings = Settings::new(self.url_through(address).into());
        settings.request_pool_max = max;
        settings.pool_max = max;
        Pools::connect(&settings).expect("the URL is one of Postgres")
    }

    /// A connection under any runtime role.
    pub async fn connect_as(&self, role: Role) -> PgConnection {
        let options = self.settings.connect_options(role).expect("the URL is one of Postgres");
        options.connect().await.expect("the role may connect")
    }

    /// A connection as the owner, which row level security holds too.
    pub async fn owner(&self) -> PgConnection {
        let options = self.admin.clone().username(OWNER).database(&self.name);
        options.connect().await.expect("the owner may connect")
    }

    /// A superuser's connection: sees everything and may break anything.
    pub async fn superuser(&self) -> PgConnection {
        let options = self.admin.clone().database(&self.name);
        options.connect().await.expect("the superuser may connect")
    }

    /// Lets no event into a ledger until [`Self::accept_events`].
    pub async fn refuse_events(&self, ledger: &str) {
        self.refuse(&format!("new.ledger = ''{ledger}''")).await;
    }

    /// Lets no event of a kind that ends so into the ledger until [`Self::accept_events`].
    pub async fn refuse_kind(&self, end: &str) {
        self.refuse(&format!("new.kind like ''%{end}''")).await;
    }

    async fn refuse(&self, condition: &str) {
        let refuse = AssertSqlSafe(format!(
            "create or replace function refuse() returns trigger language plpgsql \
             as 'begin if {condition} then raise exception ''full''; end if; \
             return new; end'; \
             create or replace trigger refuse before insert on event for each row execute function refuse()"
        ));
        sqlx::raw_sql(refuse).execute(&mut self.superuser().await).await.unwrap();
    }

    pub async fn accept_events(&self) {
        // Dropping the trigger would lock the table against the workers that read it.
        let accept = "create or replace function refuse() returns trigger language plpgsql \
                      as 'begin return new; end'";
        sqlx::raw_sql(accept).execute(&mut self.superuser().await).await.unwrap();
    }

    /// Lets no claim be ended until the connection is closed: whoever is about to waits before it
    /// has taken anything else.
    pub async fn hold_claims(&self) -> PgConnection {
        let mut holder = self.superuser().await;
        let hold = "select pg_advisory_lock(1); \
                    create function held() returns boolean language plpgsql \
                    as 'begin perform pg_advisory_xact_lock_shared(1); return true; end'; \
                    alter policy append_updates on idempotency using (held())";
        sqlx::raw_sql(hold).execute(&mut holder).await.unwrap();
        holder
    }

    /// Waits until so many connections of a role wait for somebody's lock.
    pub async fn until_waiting(&self, role: Role, number: i64) {
        let mut watcher = self.superuser().await;
        wait::until("they wait for a lock", async || {
            let query = "select count(*) from pg_stat_activity \
                where datname = current_database() and usename = $1 and wait_event_type = 'Lock'";
            let query = sqlx::query_scalar(query).bind(role.name());
            let waiting: i64 = query.fetch_one(&mut watcher).await.unwrap();
            waiting == number
        })
        .await;
    }

    /// Spoils the events of a stream, which nobody but a superuser could.
    pub async fn spoil(&self, stream: &str) {
        let mut superuser = self.superuser().await;
        let trusted = "set session_replication_role = replica";
        sqlx::raw_sql(trusted).execute(&mut superuser).await.unwrap();
        let spoil = "update event set body = '{' where stream = $1";
        let spoiled = sqlx::query(spoil).bind(stream).execute(&mut superuser).await.unwrap();
        assert!(0 < spoiled.rows_affected(), "{stream} is not there");
    }

    /// How many rows a table has, of whatever tenant.
    pub async fn count(&self, table: &str) -> i64 {
        let count = AssertSqlSafe(format!("select count(*) from {table}"));
        let mut connection = self.superuser().await;
        sqlx::query_scalar(count).fetch_one(&mut connection).await.expect("a table's name")
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async {
                let mut connection = admin.connect().await.expect("Postgres can be reached");
                execute(&mut connection, format!("drop database {name} with (force)")).await;
            });
        });
        // A database that stays behind is no reason to fail a test that passed.
        if dropping.join().is_err() {
            eprintln!("could not drop a test's database");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told where their servers are")]
fn admin_options() -> PgConnectOptions {
    let url = std::env::var("DATABASE_ADMIN_URL")
        .expect("DATABASE_ADMIN_URL names a Postgres server and a superuser of it");
    PgConnectOptions::from_str(&url).expect("DATABASE_ADMIN_URL is a Postgres URL")
}

fn url(server: &PgConnectOptions, user: &str, database: &str) -> SecretString {
    let (host, port) = (server.get_host(), server.get_port());
    format!("postgres://{user}@{host}:{port}/{database}").into()
}

/// The template's name says what is in it: the migrations, and the month, which decides the
/// partitions.
async fn ensure_template(admin: &PgConnectOptions, connection: &mut PgConnection) -> String {
    let name = template_name();
    if exists(connection, &name).await {
        return name;
    }
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the lock is taken");
    if !exists(connection, &name).await {
        make_template(admin, connection, &name).await;
    }
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *connection)
        .await
        .expect("the lock is given back");
    name
}

/// Made under another name and renamed when complete, so that one left half made is never used.
async fn make_template(admin: &PgConnectOptions, connection: &mut PgConnection, name: &str) {
    let unfinished = format!("{name}_unfinished");
    execute(connection, format!("drop database if exists {unfinished} with (force)")).await;
    execute(
        connection,
        format!(
            "do $$ begin \
             if not exists (select from pg_roles where rolname = '{OWNER}') then \
             create role {OWNER} login createrole; end if; end $$"
        ),
    )
    .await;
    execute(connection, format!("create database {unfinished} owner {OWNER}")).await;
    database::migrate(&url(admin, OWNER, &unfinished)).await.expect("the migrations run");
    // The owner's connection may take a moment to be gone from the server's list.
    execute(connection, format!("alter database {unfinished} with allow_connections false")).await;
    execute(
        connection,
        format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{unfinished}'"
        ),
    )
    .await;
    execute(connection, format!("alter database {unfinished} rename to {name}")).await;
    execute(connection, format!("alter database {name} with allow_connections true")).await;
}

#[expect(clippy::disallowed_methods, reason = "the partitions follow the server's real clock")]
fn template_name() -> String {
    let now = Utc::now();
    let mut hash = Sha256::new();
    for migration in MIGRATIONS.iter() {
        hash.update(&migration.checksum);
    }
    let hash = leaf::hex(&hash.finalize()[..8]);
    format!("it_template_{}_{:02}_{hash}", now.year(), now.month())
}

async fn exists(connection: &mut PgConnection, database: &str) -> bool {
    sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(database)
        .fetch_one(connection)
        .await
        .expect("the catalogue can be read")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    connection.execute(AssertSqlSafe(statement)).await.expect("the statement succeeds");
}
