//! The checks of isolation have teeth: each policy dropped, each FORCE lifted, each table opened is
//! found, and a row that becomes visible by it is seen.

use backoffice::ledger::lint::Defect;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{filled, visible_rows};
use crate::support::database::TestDatabase;

/// What start-up checks, as a superuser sees the same catalogues.
async fn defects(connection: &mut PgConnection) -> Vec<Defect> {
    backoffice::ledger::lint::defects(connection).await.unwrap()
}

async fn strings(connection: &mut PgConnection, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query).fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn ti_51_every_policy_that_is_dropped_is_missed() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let drops = strings(
        &mut superuser,
        "select format('drop policy %I on %s', polname, polrelid::regclass) from pg_policy",
    )
    .await;
    assert!(drops.len() > 20, "{drops:?}");
    for drop in drops {
        let mut transaction = sqlx::Connection::begin(&mut superuser).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(drop.clone())).execute(&mut *transaction).await.unwrap();
        assert_ne!(defects(&mut transaction).await, [], "{drop}");
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn ti_51_every_table_that_is_unforced_or_opened_is_found() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let tables = strings(
        &mut superuser,
        "select c.oid::regclass::text from pg_class c \
         join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' \
         where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace",
    )
    .await;
    for table in tables {
        for change in [
            format!("alter table {table} no force row level security"),
            format!("alter table {table} disable row level security"),
            format!("create policy open on {table} for select to backoffice_app using (true)"),
            format!("create policy open on {table} using (true) with check (true)"),
            format!(
                "create policy open on {table} for select to backoffice_app \
                 using (tenant_id = nullif(current_setting('app.tenant_id', true), '') or tenant_id > '')"
            ),
            format!("create policy open on {table} for insert to backoffice_app with check (true)"),
        ] {
            let mut transaction = sqlx::Connection::begin(&mut superuser).await.unwrap();
            sqlx::raw_sql(AssertSqlSafe(change.clone())).execute(&mut *transaction).await.unwrap();
            let found = defects(&mut transaction).await;
            assert!(found.iter().any(|it| it.subject.contains(&table)), "{change}: {found:?}");
            transaction.rollback().await.unwrap();
        }
    }
}

/// The tests of rows see it too: what a tenant sees changes with each policy it is held by.
#[tokio::test]
async fn ti_51_each_policy_of_requests_decides_what_a_tenant_sees() {
    let (database, _test, a, _) = filled().await;
    let pools = database.pools();
    let mut superuser = database.superuser().await;
    for (index, table) in ["event", "idempotency", "subject_key"].into_iter().enumerate() {
        for (change, undo, expected) in [
            (
                format!("create policy open on {table} for select to backoffice_app using (true)"),
                format!("drop policy open on {table}"),
                2,
            ),
            (
                format!("alter policy tenant_reads on {table} using (tenant_id <> '')"),
                format!(
                    "alter policy tenant_reads on {table} \
                     using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))"
                ),
                2,
            ),
            (
                format!("alter table {table} disable row level security"),
                format!("alter table {table} enable row level security"),
                2,
            ),
            (
                format!("alter policy tenant_reads on {table} using (false)"),
                format!(
                    "alter policy tenant_reads on {table} \
                     using (tenant_id = nullif(current_setting('app.tenant_id', true), ''))"
                ),
                0,
            ),
        ] {
            for (statement, count) in [(&change, expected), (&undo, 1)] {
                let statement = AssertSqlSafe(statement.clone());
                sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap();
                let mut transaction = pools.begin(&a).await.unwrap();
                assert_eq!(visible_rows(&mut transaction).await[index], count, "{change}");
            }
        }
    }
    assert_eq!(defects(&mut superuser).await, []);
}
