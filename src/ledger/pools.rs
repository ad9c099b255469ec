//! One connection pool a role, and the only way to a tenant's rows: a transaction that knows its
//! tenant.

use std::{
    io::ErrorKind,
    ops::{Deref, DerefMut},
    time::Duration,
};

use events::TenantId;
use sqlx::{
    Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
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
                .map(|options| pool_options(settings).connect_lazy_with(options))
        };
        Ok(Self {
            app: tenant_pool(settings, settings.connect_options(Role::App)?),
            append: pool(Role::Append)?,
            relay: pool(Role::Relay)?,
            seal: pool(Role::Seal)?,
            project: pool(Role::Project)?,
            intake: pool(Role::Intake)?,
            jobs: pool(Role::Jobs)?,
            maintain: pool(Role::Maintain)?,
        })
    }

    /// Begins a transaction that sees and writes the rows of `tenant` and no others.
    ///
    /// # Errors
    /// When no connection is to be had in time, or the database fails.
    pub async fn begin(&self, tenant: &TenantId) -> Result<TenantTransaction, sqlx::Error> {
        let mut transaction = self.app.begin().await?;
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

fn pool_options(settings: &Settings) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(settings.pool_max)
        .acquire_timeout(settings.acquire_timeout)
        // A ping before each use costs a round trip; who uses a dead connection finds out and tries
        // again.
        .test_before_acquire(false)
        .after_release(|connection, _| {
            Box::pin(async move { in_time(connection.ping()).await.map(|()| true) })
        })
}

async fn in_time<T>(
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(ErrorKind::TimedOut.into());
    timeout(RELEASE_TIMEOUT, answer).await.map_err(late)?
}

/// The pool of requests. A connection that comes back with a tenant still set is closed, not handed
/// to another tenant.
fn tenant_pool(settings: &Settings, options: PgConnectOptions) -> PgPool {
    pool_options(settings)
        .after_release(|connection, _| {
            Box::pin(async move {
                let tenant =
                    sqlx::query_scalar!("select current_setting('app.tenant_id', true) as tenant")
                        .fetch_one(connection);
                let tenant = in_time(tenant).await?;
                let is_clean = tenant.is_none_or(|tenant| tenant.is_empty());
                if !is_clean {
                    tracing::error!("a database connection came back with its tenant still set");
                }
                Ok(is_clean)
            })
        })
        .connect_lazy_with(options)
}
