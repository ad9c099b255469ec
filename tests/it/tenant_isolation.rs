//! What one tenant can reach of another, in Postgres.

use std::time::Duration;

use backoffice::{
    database::Role,
    ledger::{Ledger, Pools, Recorded},
};
use events::{TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent};
use futures::{FutureExt, future::join_all};
use sqlx::{AssertSqlSafe, PgConnection};
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    ledger::{TestLedger, acknowledged, append, claim_key, start_claim, stream, tenant, write},
};

#[tokio::test]
async fn the_role_of_requests_has_no_power_beyond_its_grants() {
    let database = TestDatabase::create().await;
    let mut app = database.connect_as(Role::App).await;
    let powers: Vec<String> = sqlx::query_scalar(
        r"
        select r.rolname::text
        from pg_roles r
        where r.rolname = current_user
          and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication)
        union all
        select 'member of ' || r.rolname from pg_roles r
        where r.rolname <> current_user and pg_has_role(current_user, r.oid, 'MEMBER')
        union all
        select 'owns ' || c.relname from pg_class c where pg_get_userbyid(c.relowner) = current_user
        union all
        select 'creates' where has_schema_privilege('public', 'create')
            or has_database_privilege(current_database(), 'create')
        ",
    )
    .fetch_all(&mut app)
    .await
    .unwrap();
    assert_eq!(powers, Vec::<String>::new());

    // Policies hold it, and cannot be switched off by it: that would be an error, not more rows.
    let is_held: bool = sqlx::query_scalar(
        "select row_security_active('event') and row_security_active('idempotency') \
         and row_security_active('subject_key')",
    )
    .fetch_one(&mut app)
    .await
    .unwrap();
    assert!(is_held);
    let switched_off =
        sqlx::raw_sql("set row_security = off; select count(*) from event").execute(&mut app).await;
    assert_eq!(code(switched_off), "42501");
}

#[tokio::test]
async fn without_a_tenant_there_are_no_rows_and_no_error() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    fill(&test.ledger, &tenant(1)).await;
    let mut app = database.connect_as(Role::App).await;

    assert_eq!(visible_rows(&mut app).await, [0, 0, 0]);
    // After a transaction that had a tenant the setting is empty, not absent.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "begin; select set_config('app.tenant_id', '{}', true); commit",
        tenant(1)
    )))
    .execute(&mut app)
    .await
    .unwrap();
    assert_eq!(visible_rows(&mut app).await, [0, 0, 0]);
}

#[tokio::test]
async fn a_tenant_sees_its_own_rows_by_whatever_road_it_looks() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (a, b) = (tenant(1), tenant(2));
    fill(&test.ledger, &a).await;
    fill(&test.ledger, &b).await;
    let pools = database.pools();

    let mut transaction = pools.begin(&a).await.unwrap();
    assert_eq!(visible_rows(&mut transaction).await, [1, 1, 1]);
    for query in [
        "select count(*) from event where tenant_id = $1",
        "select count(*) from event_json where tenant_id = $1",
        "select count(*) from idempotency where tenant_id = $1",
        "select count(*) from subject_key where tenant_id = $1",
        "select count(*) from event a join event b on b.tenant_id = $1",
        "select count(*) from (select max(position) over () from event where tenant_id = $1) w",
        "with every as (select * from event) select count(*) from every where tenant_id = $1",
        "select count(*) where exists (select from idempotency where tenant_id = $1)",
    ] {
        let count: i64 =
            sqlx::query_scalar(query).bind(b.as_str()).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(count, 0, "{query}");
    }
}

#[tokio::test]
async fn a_tenant_writes_no_row_of_another() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (a, b) = (tenant(1), tenant(2));
    fill(&test.ledger, &a).await;
    fill(&test.ledger, &b).await;
    let pools = database.pools();

    let key = format!("insert into subject_key values ('{b}', 'usr_9', '{}', '', 'k')", Ulid(9));
    let upsert = format!(
        "insert into subject_key values ('{b}', 'usr_1', '{}', '', 'k') on conflict do nothing",
        Ulid(9)
    );
    for (statement, expected) in [
        (key, "42501"),
        // Whether the other tenant has the row must not show: refused before the index is asked.
        (upsert, "42501"),
        (format!("insert into event (tenant_id) values ('{b}')"), "42501"),
        (format!("insert into event (tenant_id) values ('{a}')"), "42501"),
        (format!("update idempotency set tenant_id = '{b}'"), "42501"),
        ("update stream_head set version = 9".to_owned(), "42501"),
        (format!("delete from subject_key where tenant_id = '{b}'"), "42501"),
    ] {
        let mut transaction = pools.begin(&a).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *transaction).await;
        assert_eq!(code(done), expected, "{statement}");
    }
    let mut transaction = pools.begin(&a).await.unwrap();
    let taken = sqlx::query("update idempotency set attempt = 9 where tenant_id = $1")
        .bind(b.as_str())
        .execute(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(taken.rows_affected(), 0);
}

#[tokio::test]
async fn the_same_ids_of_two_tenants_have_nothing_to_do_with_each_other() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (a, b) = (tenant(1), tenant(2));
    fill(&test.ledger, &a).await;
    assert_eq!(test.ledger.read_claim(&claim_key(&b, 1)).await.unwrap(), None);
    assert_eq!(test.ledger.take_over_claim(&claim_key(&b, 1), Ulid(5)).await.unwrap(), None);

    fill(&test.ledger, &b).await;

    for tenant in [&a, &b] {
        let read: Vec<Recorded<AlertAcknowledgmentEvent>> =
            test.ledger.read_stream(tenant, &stream("a1")).await.unwrap();
        assert_eq!(read[0].event, acknowledged("a1", Some(tenant.as_str())));
    }
}

/// One connection serves both in turn, while their transactions fail, are cancelled and time out.
#[tokio::test]
async fn a_connection_never_carries_one_tenant_to_the_next() {
    const ROUNDS: usize = 400;
    let database = TestDatabase::create().await;
    let mut settings = database.settings().clone();
    settings.pool_max = 1;
    settings.acquire_timeout = Duration::from_secs(30);
    let pools = Pools::connect(&settings).unwrap();
    let test = TestLedger::start(database.pools());
    let tenants = [tenant(1), tenant(2)];
    for tenant in &tenants {
        fill(&test.ledger, tenant).await;
    }

    let rounds = (0..ROUNDS).map(|round| {
        let (pools, tenant) = (&pools, &tenants[round % 2]);
        async move {
            let mut transaction = pools.begin(tenant).await.unwrap();
            let seen: Vec<String> = sqlx::query_scalar("select distinct tenant_id from event")
                .fetch_all(&mut *transaction)
                .await
                .unwrap();
            assert_eq!(seen, [tenant.as_str()]);
            match round % 5 {
                0 => transaction.commit().await.unwrap(),
                1 => drop(transaction),
                2 => {
                    let failed = sqlx::raw_sql("select 1/0").execute(&mut *transaction).await;
                    assert_eq!(code(failed), "22012");
                }
                3 => {
                    // Polled once and dropped: the statement is on its way when its caller gives
                    // up.
                    let mut sleeping =
                        Box::pin(sqlx::raw_sql("select pg_sleep(0.01)").execute(&mut *transaction));
                    assert!((&mut sleeping).now_or_never().is_none());
                }
                _ => {
                    // The only connection is taken: this one gives up waiting.
                    assert!(pools.begin(tenant).now_or_never().is_none());
                    transaction.commit().await.unwrap();
                }
            }
        }
    });
    join_all(rounds).await;
}

/// A tenant's event, claim and key.
async fn fill(ledger: &Ledger, tenant_id: &TenantId) {
    let event = acknowledged("a1", Some(tenant_id.as_str()));
    let mut filling = append(tenant_id, vec![write(&stream("a1"), 0, &[event])]);
    filling.claim = Some(start_claim(&claim_key(tenant_id, 1), Ulid(1), Duration::from_secs(30)));
    ledger.append(filling).await.unwrap();
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

fn code<T: std::fmt::Debug>(done: Result<T, sqlx::Error>) -> String {
    let error = done.unwrap_err().into_database_error().unwrap();
    error.code().unwrap_or_default().into_owned()
}
