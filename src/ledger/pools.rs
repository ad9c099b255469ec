//! One connection pool a role, and the only way to a tenant's rows: a transaction that knows its
//! tenant.

use std::{
    io::ErrorKind,
    ops::{Deref, DerefMut},
    time::Duration,
};

use events::TenantId;
use sqlx::{
    Executor, FromRow, PgConnection, PgPool, Postgres, Transaction, postgres::PgPoolOptions,
};
use tokio::time::timeout;

use super::lint::{self, Defect};
use crate::database::{Role, Settings};

/// How long a connection that comes back may take to be ready for the next one. It may have been
/// left in the middle of a statement, and its server may have fallen silent: without an end to the
/// wait its place in the pool would be lost for as long as the system keeps the line open.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pools of one instance. Cheap to clone; connections are opened when they are first needed.
#[derive(Clone, Debug)]
pub struct Pools {
    /// Private: requests get at it through [`Pools::begin`] alone.
    app: PgPool,
    append: PgPool,
    relay: PgPool,
    seal: PgPool,
    project: PgPool,
    intake: PgPool,
    jobs: PgPool,
    maintain: PgPool,
}

impl Pools {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// When the settings' URL is not a Postgres URL.
    pub fn connect(settings: &Settings) -> Result<Self, sqlx::Error> {
        let pool = |role: Role| {
            settings
                .connect_options(role)
                .map(|options| pool_options(settings, role).connect_lazy_with(options))
        };
        Ok(Self {
            app: pool(Role::App)?,
            append: pool(Role::Append)?,
            relay: pool(Role::Relay)?,
            seal: pool(Role::Seal)?,
            project: pool(Role::Project)?,
            intake: pool(Role::Intake)?,
            jobs: pool(Role::Jobs)?,
            maintain: pool(Role::Maintain)?,
        })
    }

    /// Begins a transaction that sees and writes the rows of `tenant` and no others. One that has only
    /// read is dropped, not committed: nobody waits for its end.
    ///
    /// # Errors
    /// When no connection is to be had in time, or the database fails.
    pub async fn begin(&self, tenant: &TenantId) -> Result<TenantTransaction, sqlx::Error> {
        self.start("begin", tenant).await
    }

    /// The same for what is soon written anew: its commit does not wait for the disk, so that a crash
    /// of the database takes back what was committed within the last second.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub async fn begin_passing(&self, tenant: &TenantId) -> Result<TenantTransaction, sqlx::Error> {
        self.start("begin; set local synchronous_commit = off", tenant).await
    }

    async fn start(
        &self,
        begin: &'static str,
        tenant: &TenantId,
    ) -> Result<TenantTransaction, sqlx::Error> {
        let mut transaction = self.app.begin_with(begin).await?;
        sqlx::query!("select set_config('app.tenant_id', $1, true) as tenant", tenant.as_str())
            .fetch_one(&mut *transaction)
            .await?;
        Ok(TenantTransaction(transaction))
    }

    /// What would let one tenant see or change what is another's: defects of the schema, and tables
    /// whose policies do not hold the role of requests.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn isolation_defects(&self) -> Result<Vec<Defect>, sqlx::Error> {
        let mut connection = self.app.acquire().await?;
        let mut defects = lint::defects(&mut connection).await?;
        defects.extend(lint::unheld(&mut connection).await?);
        Ok(defects)
    }

    pub(super) fn append(&self) -> &PgPool {
        &self.append
    }

    pub fn relay(&self) -> &PgPool {
        &self.relay
    }

    pub fn seal(&self) -> &PgPool {
        &self.seal
    }

    pub fn project(&self) -> &PgPool {
        &self.project
    }

    pub fn intake(&self) -> &PgPool {
        &self.intake
    }

    pub fn jobs(&self) -> &PgPool {
        &self.jobs
    }

    pub fn maintain(&self) -> &PgPool {
        &self.maintain
    }

    /// Closes every connection; what waits for one is refused.
    pub async fn close(&self) {
        tokio::join!(
            self.app.close(),
            self.append.close(),
            self.relay.close(),
            self.seal.close(),
            self.project.close(),
            self.intake.close(),
            self.jobs.close(),
            self.maintain.close(),
        );
    }
}

/// A transaction of one tenant. Dropped without [`commit`](Self::commit) it is rolled back.
#[derive(Debug)]
pub struct TenantTransaction(Transaction<'static, Postgres>);

impl TenantTransaction {
    /// # Errors
    /// When the database fails; what was written is then in doubt.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.0.commit().await
    }
}

impl Deref for TenantTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for TenantTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

fn pool_options(settings: &Settings, role: Role) -> PgPoolOptions {
    let connections_max = match role {
        Role::App => settings.request_pool_max,
        _ => settings.pool_max,
    };
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(settings.acquire_timeout)
        // A ping before each use costs a round trip; who uses a dead connection finds out and tries
        // again.
        .test_before_acquire(false)
        .after_release(|connection, _| Box::pin(in_time(is_clean(connection))))
}

/// Whether the next borrower may have the connection: nothing is open on it, and no tenant is set.
/// A borrower that gave up while its transaction began knows of none to roll back.
async fn is_clean(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut left = Left::read(connection).await?;
    if left.is_open {
        connection.execute("rollback").await?;
        left = Left::read(connection).await?;
    }
    if left.has_tenant {
        tracing::error!("a database connection came back with its tenant still set");
    }
    Ok(!left.is_open && !left.has_tenant)
}

/// What a borrower left behind.
#[derive(sqlx::FromRow)]
struct Left {
    is_open: bool,
    has_tenant: bool,
}

impl Left {
    /// In one message: a transaction that begins with it has its time.
    async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let query = "select now() <> statement_timestamp() as is_open, \
                     coalesce(current_setting('app.tenant_id', true), '') <> '' as has_tenant";
        Self::from_row(&connection.fetch_one(query).await?)
    }
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(ErrorKind::TimedOut.into());
    timeout(RELEASE_TIMEOUT, answer).await.map_err(late)?
}
