//! Nothing of one tenant ever reaches another: tokens, Postgres, Redis, HTTP, workers, caches.
//!
//! Two tenants, with colliding ids and keys on purpose.

mod acl;
mod canaries;
mod client;
mod http;
mod keys;
mod monitor;
mod plans;
mod pool;
mod rows;
mod statements;
mod teeth;
mod tokens;
mod workers;

use std::time::Duration;

use backoffice::ledger::Ledger;
use events::TenantId;
use sqlx::PgConnection;
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    ledger::{TestLedger, acknowledged, append, claim_key, start_claim, stream, tenant, write},
};

/// A tenant's event, claim and key.
async fn fill(ledger: &Ledger, tenant_id: &TenantId) {
    let event = acknowledged("a1", Some(tenant_id.as_str()));
    let mut filling = append(tenant_id, vec![write(&stream("a1"), 0, &[event])]);
    filling.claim = Some(start_claim(&claim_key(tenant_id, 1), Ulid(1), Duration::from_secs(30)));
    ledger.append(filling).await.unwrap();
}

/// A database in which both tenants have the same stream, claim and operator.
async fn filled() -> (TestDatabase, TestLedger, TenantId, TenantId) {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (a, b) = (tenant(1), tenant(2));
    fill(&test.ledger, &a).await;
    fill(&test.ledger, &b).await;
    (database, test, a, b)
}

/// How many rows of `event`, `idempotency` and `subject_key` are there to be seen.
async fn visible_rows(connection: &mut PgConnection) -> [i64; 3] {
    let mut counts = [0; 3];
    for (count, query) in counts.iter_mut().zip([
        "select count(*) from event",
        "select count(*) from idempotency",
        "select count(*) from subject_key",
    ]) {
        *count = sqlx::query_scalar(query).fetch_one(&mut *connection).await.unwrap();
    }
    counts
}

/// The SQLSTATE of what failed.
fn code<T: std::fmt::Debug>(done: Result<T, sqlx::Error>) -> String {
    let error = done.unwrap_err().into_database_error().unwrap();
    error.code().unwrap_or_default().into_owned()
}
