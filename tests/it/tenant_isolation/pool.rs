//! One connection serves both tenants in turn, whatever happens to the one before.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backoffice::{
    database::Role,
    ledger::{Pools, TenantTransaction},
};
use events::TenantId;
use futures::{FutureExt, future::join_all};
use rand::{Rng, SeedableRng, rngs::StdRng};
use sqlx::{AssertSqlSafe, PgConnection, postgres::PgPoolOptions};

use super::{code, filled};
use crate::support::{database::TestDatabase, wait};

/// Borrowers that wait for the one connection at the same time.
const BORROWERS: u64 = 8;
const ROUNDS: u64 = 10_000;

/// Pools of one connection, and two tenants with rows.
async fn narrow() -> (TestDatabase, Pools, [TenantId; 2]) {
    let (database, test, a, b) = filled().await;
    test.stop().await;
    let mut settings = database.settings().clone();
    settings.request_pool_max = 1;
    settings.pool_max = 1;
    settings.acquire_timeout = Duration::from_mins(1);
    let pools = Pools::connect(&settings).unwrap();
    (database, pools, [a, b])
}

#[tokio::test]
async fn ti_20_a_connection_never_carries_one_tenant_to_the_next() {
    let (_database, pools, tenants) = narrow().await;
    let backends: Arc<Mutex<BTreeSet<i32>>> = Arc::default();
    let started = Instant::now();
    let borrowers = (0..BORROWERS).map(|borrower| {
        let (pools, tenants, backends) = (&pools, &tenants, Arc::clone(&backends));
        async move {
            let mut random = StdRng::seed_from_u64(borrower);
            for round in 0..ROUNDS / BORROWERS {
                let tenant = &tenants[usize::try_from((round + borrower) % 2).unwrap()];
                let backend = alternate(pools, tenant, random.random_range(0..100)).await;
                backends.lock().unwrap().insert(backend);
            }
        }
    });
    join_all(borrowers).await;
    println!("{ROUNDS} alternations in {:?}", started.elapsed());
    // No connection came back with a tenant: the pool closes one that does.
    assert_eq!(backends.lock().unwrap().len(), 1);
}

/// Borrows, looks, and ends as the dice say; answers which backend it had.
async fn alternate(pools: &Pools, tenant: &TenantId, dice: u32) -> i32 {
    let mut transaction = pools.begin(tenant).await.unwrap();
    let (backend, seen) = look(&mut transaction).await;
    assert_eq!(seen.as_deref(), Some(tenant.as_str()));
    match dice {
        0..50 => transaction.commit().await.unwrap(),
        50..80 => drop(transaction),
        80..90 => {
            let failed = sqlx::raw_sql("select 1/0").execute(&mut *transaction).await;
            assert_eq!(code(failed), "22012");
        }
        90..93 => {
            let slow = "set local statement_timeout = 1; select pg_sleep(5)";
            let failed = sqlx::raw_sql(slow).execute(&mut *transaction).await;
            assert_eq!(code(failed), "57014");
        }
        93..96 => {
            // Polled once and dropped: the statement is on its way when its caller gives up, or,
            // where the machine is slow, has been answered by then.
            let mut sleeping =
                Box::pin(sqlx::raw_sql("select pg_sleep(0.001)").execute(&mut *transaction));
            drop((&mut sleeping).now_or_never());
        }
        96..98 => {
            let panicking = AssertUnwindSafe(async move {
                let _held = transaction;
                std::panic::resume_unwind(Box::new("a bug in a handler"));
            });
            assert!(panicking.catch_unwind().await.is_err());
        }
        _ => {
            // The only connection is taken: this one gives up waiting.
            assert!(pools.begin(tenant).now_or_never().is_none());
            transaction.commit().await.unwrap();
        }
    }
    backend
}

/// The backend, and the one tenant whose rows are there to be seen.
async fn look(connection: &mut PgConnection) -> (i32, Option<String>) {
    sqlx::query_as(
        "select pg_backend_pid(), case when min(tenant_id) = max(tenant_id) then min(tenant_id) end \
         from subject_key",
    )
    .fetch_one(connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn ti_21_a_future_dropped_in_a_transaction_leaves_nothing_to_the_next_borrower() {
    let (_database, pools, [a, b]) = narrow().await;
    let mut given_up = 0;
    for _ in 0..50 {
        let mut transaction = pools.begin(&a).await.unwrap();
        let write = format!(
            "insert into subject_key values ('{a}', 'usr_dropped', '{}', '', 'k')",
            ulid::Ulid(9)
        );
        sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut *transaction).await.unwrap();
        {
            let mut sleeping =
                Box::pin(sqlx::raw_sql("select pg_sleep(0.005)").execute(&mut *transaction));
            given_up += i32::from((&mut sleeping).now_or_never().is_none());
        }
        drop(transaction);

        let mut next = pools.begin(&b).await.unwrap();
        assert_eq!(look(&mut next).await.1.as_deref(), Some(b.as_str()));
        let setting: String = sqlx::query_scalar("select current_setting('app.tenant_id', true)")
            .fetch_one(&mut *next)
            .await
            .unwrap();
        assert_eq!(setting, b.as_str());
        next.commit().await.unwrap();

        let mut again = pools.begin(&a).await.unwrap();
        assert_eq!(keys(&mut again).await, ["usr_1"], "what was dropped was rolled back");
    }
    assert!(given_up > 0, "every statement was answered before it could be given up");
}

/// To its borrower it is no transaction yet, so that the driver rolls nothing back: what is written
/// next by a statement of its own would never be committed.
#[tokio::test]
async fn ti_21_a_transaction_given_up_while_it_begins_is_not_left_open() {
    let (_database, pools, [a, _]) = narrow().await;
    let mut given_up = 0;
    for _ in 0..50 {
        for role in [pools.jobs(), pools.intake()] {
            drop(role.acquire().await.unwrap());
            wait::until("the connection is back", async || role.num_idle() == 1).await;
            given_up += i32::from(role.begin().now_or_never().is_none());
            assert!(!is_in_transaction(&mut role.acquire().await.unwrap()).await);
        }
        drop(pools.begin(&a).now_or_never());
        let (_, seen) = look(&mut pools.begin(&a).await.unwrap()).await;
        assert_eq!(seen.as_deref(), Some(a.as_str()));
    }
    assert!(given_up > 0, "every transaction began before it could be given up");
}

/// Two statements outside of a transaction have a time each.
async fn is_in_transaction(connection: &mut PgConnection) -> bool {
    let mut times = Vec::new();
    for _ in 0..2 {
        let time: String =
            sqlx::query_scalar("select now()::text").fetch_one(&mut *connection).await.unwrap();
        times.push(time);
    }
    times[0] == times[1]
}

async fn keys(transaction: &mut TenantTransaction) -> Vec<String> {
    sqlx::query_scalar("select subject_id from subject_key")
        .fetch_all(&mut **transaction)
        .await
        .unwrap()
}

/// Why a setting of the session is forbidden (`statements.rs` looks for one): a plain pool hands it
/// on, and ours would close the connection.
#[tokio::test]
async fn ti_22_a_setting_of_the_session_would_leak_and_its_connection_is_thrown_away() {
    let (database, pools, [a, b]) = narrow().await;
    let session = format!("select set_config('app.tenant_id', '{a}', false)");

    let options = database.settings().connect_options(Role::App).unwrap();
    let plain = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
    sqlx::raw_sql(AssertSqlSafe(session.clone())).execute(&plain).await.unwrap();
    let leaked: Vec<String> =
        sqlx::query_scalar("select tenant_id from subject_key").fetch_all(&plain).await.unwrap();
    assert_eq!(leaked, [a.as_str()], "the rule would be needless");

    let mut careless = pools.begin(&a).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(session)).execute(&mut *careless).await.unwrap();
    let (backend, _) = look(&mut careless).await;
    careless.commit().await.unwrap();
    let mut next = pools.begin(&b).await.unwrap();
    let (next_backend, seen) = look(&mut next).await;
    assert_ne!(next_backend, backend);
    assert_eq!(seen.as_deref(), Some(b.as_str()));
}
