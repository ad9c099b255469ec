//! The connections of one instance's batches, kept from one batch to the next: a pool asks the server
//! about a connection each time it takes it back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{PgPool, Postgres, pool::PoolConnection};

#[derive(Debug)]
pub(super) struct Connections {
    pool: PgPool,
    idle: Mutex<Vec<PoolConnection<Postgres>>>,
}

impl Connections {
    pub(super) fn new(pool: PgPool) -> Self {
        Self { pool, idle: Mutex::default() }
    }

    /// One that was kept, or another one of the pool.
    ///
    /// # Errors
    /// When no connection is to be had in time.
    pub(super) async fn take(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let idle = self.idle().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    /// For the next batch; only one that has answered.
    pub(super) fn keep(&self, connection: PoolConnection<Postgres>) {
        self.idle().push(connection);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<PoolConnection<Postgres>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
