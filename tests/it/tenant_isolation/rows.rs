//! What one tenant can reach of another's rows.

use backoffice::{database::Role, ledger::Recorded};
use events::{TenantId, ledger::alert_acknowledgment::AlertAcknowledgmentEvent};
use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, PgConnection};
use ulid::Ulid;

use super::{code, fill, filled, visible_rows};
use crate::support::{
    database::TestDatabase,
    ledger::{TestLedger, acknowledged, claim_key, stream, tenant},
};

#[tokio::test]
async fn ti_10_29_policies_hold_the_role_of_requests_and_it_cannot_switch_them_off() {
    let database = TestDatabase::create().await;
    let mut app = database.connect_as(Role::App).await;
    let is_held: bool = sqlx::query_scalar(
        "select row_security_active('event') and row_security_active('idempotency') \
         and row_security_active('subject_key')",
    )
    .fetch_one(&mut app)
    .await
    .unwrap();
    assert!(is_held);
    assert_eq!(database.pools().isolation_defects().await.unwrap(), []);
    let switched_off =
        sqlx::raw_sql("set row_security = off; select count(*) from event").execute(&mut app).await;
    assert_eq!(code(switched_off), "42501");
}

#[tokio::test]
async fn ti_12_without_a_tenant_there_are_no_rows_and_no_error() {
    let (database, _test, a, _) = filled().await;
    let mut app = database.connect_as(Role::App).await;
    let insert = format!("insert into subject_key values ('{a}', 'usr_9', '{}', '', 'k')", Ulid(9));

    assert_eq!(visible_rows(&mut app).await, [0, 0, 0]);
    let inserted = sqlx::raw_sql(AssertSqlSafe(insert.clone())).execute(&mut app).await;
    assert_eq!(code(inserted), "42501");

    // After a transaction that had a tenant the setting is empty, not absent.
    sqlx::raw_sql(AssertSqlSafe(format!(
        "begin; select set_config('app.tenant_id', '{a}', true); commit"
    )))
    .execute(&mut app)
    .await
    .unwrap();
    assert_eq!(visible_rows(&mut app).await, [0, 0, 0]);
    let inserted = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut app).await;
    assert_eq!(code(inserted), "42501");
}

#[tokio::test]
async fn ti_13_18_a_tenant_sees_its_own_rows_by_whatever_road_it_looks() {
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();

    let mut transaction = pools.begin(&a).await.unwrap();
    assert_eq!(visible_rows(&mut transaction).await, [1, 1, 1]);
    for query in [
        "select count(*) from event where tenant_id = $1",
        "select count(*) from event_json where tenant_id = $1",
        "select count(*) from idempotency where tenant_id = $1",
        "select count(*) from subject_key where tenant_id = $1",
        "select count(*) from event a join event b on b.tenant_id = $1",
        "select count(*) from event a left join event b on b.stream = a.stream and b.tenant_id = $1 \
         where b.tenant_id is not null",
        "select count(*) from (select max(position) over () from event where tenant_id = $1) w",
        "select count(*) from (select tenant_id from event group by rollup (tenant_id)) g \
         where tenant_id = $1",
        "with every as (select * from event) select count(*) from every where tenant_id = $1",
        "select count(*) where exists (select from idempotency where tenant_id = $1)",
        "select count(*) from event where tenant_id in (select tenant_id from subject_key where tenant_id = $1)",
        "with taken as (update idempotency set attempt = 9 where tenant_id = $1 returning *) \
         select count(*) from taken",
    ] {
        let count: i64 = sqlx::query_scalar(query)
            .bind(b.as_str())
            .fetch_one(&mut *transaction)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(count, 0, "{query}");
    }
    let touched: Vec<String> =
        sqlx::query_scalar("update idempotency set attempt = 2 returning tenant_id")
            .fetch_all(&mut *transaction)
            .await
            .unwrap();
    assert_eq!(touched, [a.as_str()]);
}

#[tokio::test]
async fn ti_18_neither_copy_nor_explain_shows_another_tenants_rows() {
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();
    let mut transaction = pools.begin(&a).await.unwrap();

    // A partitioned table itself has no rows to copy.
    for table in ["(select * from event)", "idempotency", "subject_key", "event"] {
        let copied: Vec<bytes::Bytes> = transaction
            .copy_out_raw(&format!("copy {table} to stdout"))
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let copied = String::from_utf8_lossy(&copied.concat()).into_owned();
        assert_eq!(copied.contains(a.as_str()), table != "event", "{table}: {copied}");
        assert!(!copied.contains(b.as_str()), "{table}: {copied}");
    }
    for table in ["event", "idempotency", "subject_key"] {
        let explain = format!("explain (analyze, format json) select * from {table}");
        let plan: serde_json::Value =
            sqlx::query_scalar(AssertSqlSafe(explain)).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(plan[0]["Plan"]["Actual Rows"].as_f64(), Some(1.0), "{table}: {plan}");
    }
}

#[tokio::test]
async fn ti_07_13_14_15_a_tenant_writes_no_row_of_another() {
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();
    let key = |tenant: &TenantId, subject: &str| {
        format!("('{tenant}', '{subject}', '{}', '', 'k')", Ulid(9))
    };
    let insert = |rows: String| format!("insert into subject_key values {rows}");
    let theirs = insert(key(&b, "usr_1"));
    for (id, statement) in [
        ("TI-14", insert(key(&b, "usr_9"))),
        // Whether the other tenant has the row must not show: refused before the index is asked.
        ("TI-15", format!("{theirs} on conflict do nothing")),
        (
            "TI-15",
            format!("{theirs} on conflict (tenant_id, subject_id) do update set key_id = ''"),
        ),
        ("TI-07", insert(format!("{}, {}", key(&a, "usr_8"), key(&b, "usr_8")))),
        ("TI-14", format!("insert into event (tenant_id) values ('{b}')")),
        ("TI-14", format!("insert into event (tenant_id) values ('{a}')")),
        ("TI-14", format!("update idempotency set tenant_id = '{b}'")),
        ("TI-13", "update stream_head set version = 9".to_owned()),
        ("TI-13", format!("delete from subject_key where tenant_id = '{b}'")),
        ("TI-13", format!("delete from event where tenant_id = '{b}'")),
    ] {
        let mut transaction = pools.begin(&a).await.unwrap();
        let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *transaction).await;
        assert_eq!(code(done), "42501", "{id}: {statement}");
    }
    let mut transaction = pools.begin(&a).await.unwrap();
    let taken = sqlx::query("update idempotency set attempt = 9 where tenant_id = $1")
        .bind(b.as_str())
        .execute(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(taken.rows_affected(), 0, "TI-13");
    // Of the batch that was refused for one row, no row is there.
    assert_eq!(visible_rows(&mut transaction).await, [1, 1, 1], "TI-07");
}

/// Grants keep the role of requests from most of it; the policies alone would, too.
#[tokio::test]
async fn ti_13_14_policies_hold_a_role_that_was_granted_too_much() {
    let (database, _test, a, b) = filled().await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(
        "grant select, insert, update, delete on event, idempotency, subject_key, stream_head, log_head \
         to backoffice_app",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let pools = database.pools();

    let mut transaction = pools.begin(&a).await.unwrap();
    let moved = format!("update idempotency set tenant_id = '{b}' where tenant_id = '{a}'");
    let moved = sqlx::raw_sql(AssertSqlSafe(moved)).execute(&mut *transaction).await;
    assert_eq!(code(moved), "42501");
    drop(transaction);

    let mut transaction = pools.begin(&a).await.unwrap();
    for statement in [
        "delete from idempotency where tenant_id = $1",
        "delete from subject_key where tenant_id = $1",
        "update subject_key set key_id = key_id where tenant_id = $1",
        "update stream_head set version = 9 where tenant_id = $1",
        "delete from log_head where tenant_id = $1",
        "update event set body = '' where tenant_id = $1",
    ] {
        let done =
            sqlx::query(statement).bind(b.as_str()).execute(&mut *transaction).await.unwrap();
        assert_eq!(done.rows_affected(), 0, "{statement}");
    }
    transaction.commit().await.unwrap();
    let mut transaction = pools.begin(&b).await.unwrap();
    assert_eq!(visible_rows(&mut transaction).await, [1, 1, 1]);
}

#[tokio::test]
async fn ti_15_the_same_ids_of_two_tenants_have_nothing_to_do_with_each_other() {
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

/// There is no foreign key yet; one that is added must carry the tenant, or the lint finds it.
#[tokio::test]
async fn ti_16_a_foreign_key_with_its_tenant_does_not_reach_another_tenants_row() {
    let (database, _test, a, b) = filled().await;
    let mut superuser = database.superuser().await;
    let child = format!(
        "create table note (tenant_id text not null, subject_id text, id int, primary key (tenant_id, id), \
             foreign key (tenant_id, subject_id) references subject_key (tenant_id, subject_id)); \
         alter table note enable row level security; alter table note force row level security; \
         create policy own on note to backoffice_app \
             using (tenant_id = nullif(current_setting('app.tenant_id', true), '')) \
             with check (tenant_id = nullif(current_setting('app.tenant_id', true), '')); \
         grant select, insert on note to backoffice_app; \
         insert into subject_key values ('{b}', 'usr_only_b', '{}', '', 'k')",
        Ulid(9)
    );
    sqlx::raw_sql(AssertSqlSafe(child)).execute(&mut superuser).await.unwrap();
    assert_eq!(database.pools().isolation_defects().await.unwrap(), []);
    let pools = database.pools();

    let refer = |tenant: &TenantId, subject: &str, id: i32| {
        AssertSqlSafe(format!("insert into note values ('{tenant}', '{subject}', {id})"))
    };
    let mut transaction = pools.begin(&a).await.unwrap();
    sqlx::raw_sql(refer(&a, "usr_1", 1)).execute(&mut *transaction).await.unwrap();
    let reached = sqlx::raw_sql(refer(&a, "usr_only_b", 2)).execute(&mut *transaction).await;
    assert_eq!(code(reached), "23503");
}

#[tokio::test]
async fn ti_17_views_read_with_the_rights_of_who_asks() {
    let (database, _test, a, _) = filled().await;
    let pools = database.pools();
    let mut transaction = pools.begin(&a).await.unwrap();
    let seen: Vec<String> = sqlx::query_scalar("select distinct tenant_id from event_json")
        .fetch_all(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(seen, [a.as_str()]);
    drop(transaction);

    // What the lint looks for does leak: a view without security_invoker shows its owner's rows.
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(
        "create view leaky as select * from event; grant select on leaky to backoffice_app",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let mut transaction = pools.begin(&a).await.unwrap();
    let leaked: i64 = sqlx::query_scalar("select count(*) from leaky")
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(leaked, 2, "the rule would be needless");
    drop(transaction);
    let defects = pools.isolation_defects().await.unwrap();
    assert!(defects.iter().any(|it| it.rule.starts_with("L4") && it.subject == "leaky"));
}

#[tokio::test]
async fn ti_19_an_error_tells_nothing_of_another_tenants_rows() {
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();
    for (predicate, fails) in [
        (format!("1 / (case when tenant_id = '{b}' then 0 else 1 end) = 1"), false),
        (format!("(case when tenant_id = '{b}' then tenant_id else '1' end)::int = 1"), false),
        ("tenant_id::int = 1".to_owned(), true),
        ("convert_from(body, 'UTF8')::int = 1".to_owned(), true),
        ("('{' || tenant_id)::jsonb is null".to_owned(), true),
    ] {
        let mut transaction = pools.begin(&a).await.unwrap();
        let query = AssertSqlSafe(format!("select count(*) from event where {predicate}"));
        let counted = sqlx::query_scalar::<_, i64>(query).fetch_one(&mut *transaction).await;
        match counted {
            Ok(count) => assert!(!fails && count == 1, "{predicate}: {count}"),
            Err(error) => {
                assert!(fails, "{predicate}: {error}");
                assert!(!format!("{error:?}").contains(b.as_str()), "{predicate}: {error:?}");
            }
        }
    }
    assert_ne!(visible(&database, &b).await, 0);
}

async fn visible(database: &TestDatabase, tenant_id: &TenantId) -> i64 {
    let pools = database.pools();
    let mut transaction = pools.begin(tenant_id).await.unwrap();
    let connection: &mut PgConnection = &mut transaction;
    visible_rows(connection).await[0]
}

#[tokio::test]
async fn ti_25_a_savepoint_that_is_rolled_back_restores_the_tenant() {
    let (database, _test, a, b) = filled().await;
    let pools = database.pools();
    let mut transaction = pools.begin(&a).await.unwrap();
    {
        let mut nested = sqlx::Connection::begin(&mut *transaction).await.unwrap();
        let tenant: String = sqlx::query_scalar("select set_config('app.tenant_id', $1, true)")
            .bind(b.as_str())
            .fetch_one(&mut *nested)
            .await
            .unwrap();
        assert_eq!(tenant, b.as_str());
        nested.rollback().await.unwrap();
    }
    assert_eq!(tenants_seen(&mut transaction).await, [a.as_str()]);
    {
        let mut nested = sqlx::Connection::begin(&mut *transaction).await.unwrap();
        assert_eq!(code(sqlx::raw_sql("select 1 / 0").execute(&mut *nested).await), "22012");
    }
    assert_eq!(tenants_seen(&mut transaction).await, [a.as_str()]);
}

async fn tenants_seen(connection: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar("select distinct tenant_id from event").fetch_all(connection).await.unwrap()
}

#[tokio::test]
async fn ti_28_no_counter_is_shared_by_tenants_and_visible_to_them() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let sequences: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class where relkind = 'S' \
         union all select attrelid::regclass::text from pg_attribute where attidentity <> ''",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(sequences, Vec::<String>::new());
    // The heads that count over all tenants are not for the role of requests.
    let mut app = database.connect_as(Role::App).await;
    for head in ["ledger_head", "inbox_head", "projector_cursor", "relay_cursor"] {
        let read = sqlx::raw_sql(AssertSqlSafe(format!("select * from {head}")));
        assert_eq!(code(read.execute(&mut app).await), "42501", "{head}");
    }
}
