//! How keys are forgotten, and that forgetting changes no answer.

use std::time::{Duration, SystemTime};

use backoffice::{
    database::Role,
    ledger::{
        ClaimState, ClaimWrite,
        idempotency::{
            archive,
            purge::{self, BATCH_MAX},
        },
    },
};
use reqwest::StatusCode;
use serde_json::json;
use sqlx::{Connection, PgConnection};
use ulid::Ulid;

use crate::support::{
    alerts::{acknowledge, effects, raised, settled},
    database::TestDatabase,
    desktop::{Desktop, key},
    ledger::{TestLedger, append, claim_key, operator, response, tenant},
    platform::tenant as tenant_of,
    replica::claims,
    service::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn id_36_a_key_is_good_for_a_day_whether_the_purge_is_early_late_or_stopped() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant_of(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let (almost, over) = (made_before(24 * 60 - 1), made_before(24 * 60 + 1));
    let mut superuser = world.database.superuser().await;

    let first = acknowledge(&mut desktop, &service, &alert_id, &almost).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    settled(&world, &alert_id).await;
    age(&mut superuser, &almost, "23 hours 59 minutes").await;
    let (ran, said) = world.run(&["job", "purge-idempotency"]);
    assert!(ran && said.contains("0 answered keys forgotten"), "{said}");
    let again = acknowledge(&mut desktop, &service, &alert_id, &almost).await;
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");

    // A week without a purge: the row is there, and is not asked.
    let rename = "update idempotency set key = $1 where key = $2";
    sqlx::query(rename).bind(&over).bind(&almost).execute(&mut superuser).await.unwrap();
    age(&mut superuser, &over, "7 days").await;
    for _ in 0..2 {
        let late = acknowledge(&mut desktop, &service, &alert_id, &over).await;
        assert_eq!(late.status, StatusCode::BAD_REQUEST, "{}", late.body);
        assert_eq!(late.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_EXPIRED");
        // The second time around it is gone, and the answer is the same.
        for (job, done) in [("archive", "archived"), ("purge-idempotency", "forgotten")] {
            let (ran, said) = world.run(&["job", job]);
            assert!(ran && said.contains(&format!("answered keys {done}")), "{said}");
        }
        assert_eq!(claims(&world, &over).await, Vec::<String>::new());
    }
    assert_eq!(effects(&world, &alert_id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_37_a_purge_takes_what_is_answered_and_old_in_bounded_bites_beside_everything_else() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let mut superuser = database.superuser().await;
    fill(&mut superuser, ("completed", "A"), "27 hours", 2_500).await;
    for state in [("in_progress", "B"), ("unknown", "C")] {
        fill(&mut superuser, state, "8 days", 7).await;
    }
    fill(&mut superuser, ("completed", "D"), "25 hours", 11).await;
    let fresh = claim_key(&tenant(1), 1);
    let mut answering = append(&tenant(1), Vec::new());
    answering.claim = Some(ClaimWrite::StartAndComplete {
        key: fresh.clone(),
        operator_id: operator("usr_1"),
        fingerprint: [7; 32],
        response: response("{}"),
    });
    ledger.append(answering).await.unwrap();
    // One old row belongs to another transaction for now.
    let mut other = database.superuser().await;
    let mut transaction = other.begin().await.unwrap();
    let query = "select from idempotency where key = $1 for update";
    let held = sqlx::query(query).bind(format!("{:A>26}", 1));
    assert_eq!(held.fetch_all(&mut *transaction).await.unwrap().len(), 1);

    let (one, two) = (database.pools(), database.other_pools());
    assert_eq!(purge::purge_batch(one.jobs()).await.unwrap(), 0, "nothing is archived yet");
    assert_eq!(archive::archive_batch(one.jobs()).await.unwrap(), archive::BATCH_MAX);
    let (by_one, by_two) = tokio::join!(archive::archive(one.jobs()), archive::archive(two.jobs()));
    assert_eq!(archive::BATCH_MAX + by_one.unwrap() + by_two.unwrap(), 2_500);
    assert_eq!(database.count("idempotency_archive").await, 2_500);
    let first = purge::purge_batch(one.jobs()).await.unwrap();
    assert_eq!(first, BATCH_MAX);
    let replays = async {
        for _ in 0..20 {
            let claim = ledger.read_claim(&fresh).await.unwrap().unwrap();
            assert_eq!(claim.state, ClaimState::Completed);
            assert_eq!(claim.response, Some(response("{}")));
        }
    };
    let (by_one, by_two, ()) =
        tokio::join!(purge::purge(one.jobs()), purge::purge(two.jobs()), replays);
    assert_eq!(first + by_one.unwrap() + by_two.unwrap(), 2_499);
    transaction.rollback().await.unwrap();
    assert_eq!(purge::purge(one.jobs()).await.unwrap(), 1);

    let left = "select state || ' ' || count(*) from idempotency group by state order by state";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&mut superuser).await.unwrap();
    assert_eq!(left, ["completed 12", "in_progress 7", "unknown 7"]);
}

#[tokio::test]
async fn id_37_the_archive_forgets_what_is_old_in_bounded_bites_and_nothing_else() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    fill(&mut superuser, ("completed", "A"), "27 hours", 2_500).await;
    let pools = database.pools();
    assert_eq!(archive::archive(pools.jobs()).await.unwrap(), 2_500);
    assert_eq!(archive::forget(pools.jobs()).await.unwrap(), 0);
    let old = "update idempotency_archive set archived_at = now() - interval '91 days' \
               where key in (select key from idempotency_archive limit 1200)";
    let aged = sqlx::raw_sql(old).execute(&mut superuser).await.unwrap().rows_affected();
    assert!(archive::BATCH_MAX < aged, "{aged}");

    assert_eq!(archive::forget(pools.jobs()).await.unwrap(), aged);

    assert_eq!(database.count("idempotency_archive").await, 1_300);
}

#[tokio::test]
async fn id_37_the_purging_role_can_neither_delete_open_work_nor_change_anything() {
    let database = TestDatabase::create().await;
    let mut superuser = database.superuser().await;
    for state in [("completed", "A"), ("in_progress", "B"), ("unknown", "C")] {
        fill(&mut superuser, state, "8 days", 1).await;
    }
    let mut jobs = database.connect_as(Role::Jobs).await;

    for change in [
        "update idempotency set completed_at = now()",
        "update idempotency set state = 'in_progress'",
        "update idempotency set body = null",
    ] {
        let refused = sqlx::raw_sql(change).execute(&mut jobs).await.unwrap_err();
        let code = refused.into_database_error().unwrap().code().unwrap().into_owned();
        assert_eq!(code, "42501", "{change}");
    }
    let deleted = sqlx::raw_sql("delete from idempotency").execute(&mut jobs).await.unwrap();

    assert_eq!(deleted.rows_affected(), 1);
    let left = "select state from idempotency order by state";
    let left: Vec<String> = sqlx::query_scalar(left).fetch_all(&mut superuser).await.unwrap();
    assert_eq!(left, ["in_progress", "unknown"]);
}

/// A key as old as that, in minutes.
#[expect(clippy::disallowed_methods, reason = "keys are as old as the machine's clock says")]
fn made_before(minutes: u64) -> String {
    let made_at = SystemTime::now() - Duration::from_secs(minutes * 60);
    let key: Ulid = key().parse().unwrap();
    Ulid::from_parts(Ulid::from_datetime(made_at).timestamp_ms(), key.random()).to_string()
}

/// Lets a claim be that old.
async fn age(connection: &mut PgConnection, key: &str, age: &str) {
    let age_row = "update idempotency set created_at = now() - $1::interval where key = $2";
    let aged = sqlx::query(age_row).bind(age).bind(key).execute(connection).await.unwrap();
    assert_eq!(aged.rows_affected(), 1);
}

/// Claims in a state that began so long ago; their keys are numbers behind a letter.
async fn fill(
    connection: &mut PgConnection,
    (state, letter): (&str, &str),
    age: &str,
    number: i32,
) {
    let fill = "insert into idempotency (tenant_id, device_id, key, operator_id, fingerprint, \
                    state, owner, attempt, lease_until, status, headers, body, created_at, completed_at) \
                select 'tnt_00000000000000000000000001', 'dev_1', \
                       lpad(n::text, 26, $4), 'usr_1', sha256(''), $1, \
                       repeat('0', 26), 1, now() - $2::interval, \
                       case when $1 = 'completed' then 200 end, \
                       case when $1 = 'completed' then '[]'::jsonb end, \
                       case when $1 = 'completed' then '\\x01'::bytea || sha256('') end, \
                       now() - $2::interval, \
                       case when $1 = 'completed' then now() - $2::interval end \
                from generate_series(1, $3) n";
    let filled = sqlx::query(fill).bind(state).bind(age).bind(number).bind(letter);
    assert_eq!(
        filled.execute(connection).await.unwrap().rows_affected(),
        u64::try_from(number).unwrap()
    );
}
