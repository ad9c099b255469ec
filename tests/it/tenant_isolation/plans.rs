//! Policies are index conditions of the queries that requests make, not filters over every tenant's
//! rows.

use backoffice::ledger::Pools;
use events::TenantId;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::{database::TestDatabase, ledger::tenant};

/// Fifty tenants with two hundred rows each.
const ROWS: &str = r"
    set session_replication_role = replica;
    insert into event
    select t.id, 'alert-ack', p.period, n, 0, t.number * 200 + n + 1, 'ali:' || n, 1,
           'evt_' || lpad((t.number * 200 + n)::text, 26, '0'), 'k', 1, '{}', null, null, '{}', now(), now(),
           sha256('')
    from (select number, 'tnt_' || lpad(number::text, 26, '0') as id from generate_series(1, 50) number) t
    cross join generate_series(0, 199) n
    cross join (select to_char(now() at time zone 'UTC', 'YYYY-MM') as period) p;
    insert into idempotency (tenant_id, device_id, key, operator_id, fingerprint, state, owner, attempt, lease_until)
    select distinct e.tenant_id, 'dev_1', right(e.event_id, 26), 'usr_1', sha256(''), 'in_progress',
           right(e.event_id, 26), 1, now()
    from event e;
    insert into subject_key
    select e.tenant_id, 'usr_' || e.ledger_index, right(e.event_id, 26), '', 'k' from event e;
    analyze event; analyze idempotency; analyze subject_key;
";

#[tokio::test]
async fn ti_30_what_requests_ask_is_answered_by_indexes_led_by_the_tenant() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(ROWS).execute(&mut superuser).await.unwrap();
    let (pools, own) = (database.pools(), tenant(7));

    for (what, query) in [
        (
            "a stream",
            "select body from event where tenant_id = '{t}' and ledger = 'alert-ack' \
             and stream = 'ali:5' and 0 < stream_version order by stream_version limit 500",
        ),
        (
            "a claim",
            "select state from idempotency where tenant_id = '{t}' and device_id = 'dev_1' \
             and key = '00000000000000000000001405'",
        ),
        (
            "the takeover of a claim",
            "update idempotency set attempt = attempt + 1 where tenant_id = '{t}' \
             and device_id = 'dev_1' and key = '00000000000000000000001405'",
        ),
        (
            "the key of a person",
            "select wrapped_key from subject_key where tenant_id = '{t}' and subject_id = 'usr_5'",
        ),
        // Even a query that forgets its tenant reads no other tenant's rows.
        ("a stream without its tenant", "select body from event where stream = 'ali:5'"),
        ("a person without its tenant", "select 1 from subject_key where subject_id = 'usr_5'"),
    ] {
        let plan = explain(&pools, &own, &query.replace("{t}", own.as_str())).await;
        let mut scans = Vec::new();
        collect_scans(&plan[0]["Plan"], &mut scans);
        let busy: Vec<&&Value> =
            scans.iter().filter(|scan| scan["Actual Rows"] != 0 || is_large(scan)).collect();
        assert!(!busy.is_empty(), "{what}: {plan}");
        for scan in busy {
            let condition = scan["Index Cond"].as_str().or(scan["Recheck Cond"].as_str());
            let condition = condition.unwrap_or_default();
            assert!(condition.contains("tenant_id = "), "{what}: {scan}");
            assert_eq!(scan["Rows Removed by Filter"].as_i64().unwrap_or(0), 0, "{what}: {scan}");
        }
    }
}

/// The one partition with rows; the planner may well scan an empty one.
fn is_large(scan: &Value) -> bool {
    scan["Plan Rows"].as_i64().unwrap_or(0) > 100
}

async fn explain(pools: &Pools, tenant_id: &TenantId, query: &str) -> Value {
    let mut transaction = pools.begin(tenant_id).await.unwrap();
    let explain = AssertSqlSafe(format!("explain (analyze, timing off, format json) {query}"));
    sqlx::query_scalar(explain).fetch_one(&mut *transaction).await.unwrap()
}

/// Every node that reads a table.
fn collect_scans<'a>(node: &'a Value, scans: &mut Vec<&'a Value>) {
    if node["Node Type"].as_str().is_some_and(|kind| kind.contains("Scan")) {
        scans.push(node);
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        collect_scans(child, scans);
    }
}

#[tokio::test]
async fn ti_30_every_table_that_requests_read_has_an_index_led_by_the_tenant() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    let bare: Vec<String> = sqlx::query_scalar(
        r"
        select c.relname::text
        from pg_class c
        join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
        where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace
          and not exists (
              select from pg_index i where i.indrelid = c.oid and i.indkey[0] = a.attnum
          )
        ",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    assert_eq!(bare, Vec::<String>::new());
}
