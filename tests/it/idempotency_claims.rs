//! Claims in the ledger: what is written with them is written together, whatever happens to the
//! database meanwhile.

use std::time::Duration;

use backoffice::{
    commands::CommandError,
    database::Role,
    ledger::{
        Append, AppendError, ClaimState, ClaimWrite, ReadError, Settings, StoredResponse, read,
    },
};
use events::Metadata;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use ulid::Ulid;

use crate::support::{
    alerts,
    database::TestDatabase,
    ledger::{
        TestLedger, acknowledged, acknowledgment, append, claim_key, forwarded, operator, response,
        start_claim, stream, tenant, write,
    },
    proxy::Proxy,
    replica::{Press, Replica, expire_leases},
    service::World,
    wait,
};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn id_31_an_effect_and_its_completion_are_recorded_together_or_not_at_all() {
    let database = TestDatabase::create().await;
    let settings = Settings { attempts_max: 1, ..Settings::default() };
    let TestLedger { ledger, .. } = &TestLedger::start_with(database.pools(), settings);
    let (tenant, key, owner) = (tenant(1), claim_key(&tenant(1), 1), Ulid(1));
    let mut superuser = database.superuser().await;
    let answered = |claim| {
        let mut append = acknowledgment(&tenant, "a1");
        append.claim = Some(claim);
        append
    };
    let at_once = || {
        answered(ClaimWrite::StartAndComplete {
            key: key.clone(),
            operator_id: operator("usr_1"),
            fingerprint: [7; 32],
            response: response("{}"),
        })
    };
    let is_there = async || {
        let events = read::head(database.pools().relay()).await.unwrap();
        let claim = ledger.read_claim(&key).await.unwrap();
        (events, claim.map(|claim| claim.state))
    };

    // Killed between the claim's row and the effect's: the claim is written, the effect waits.
    let mut holder = database.superuser().await;
    let mut held = holder.begin().await.unwrap();
    sqlx::raw_sql("select pg_advisory_xact_lock(1279544146, 0)").execute(&mut *held).await.unwrap();
    let (killed, ()) = tokio::join!(ledger.append(at_once()), kill_waiting(&mut superuser));
    assert!(killed.is_err());
    held.rollback().await.unwrap();
    assert_eq!(is_there().await, (0, None));

    // The effect fails after the claim is written.
    for (fault, mend) in [
        (fail_on("event", "insert"), "drop trigger fault on event"),
        (fail_on("idempotency", "insert"), "drop trigger fault on idempotency"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(fault)).execute(&mut superuser).await.unwrap();
        let refused = ledger.append(at_once()).await;
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
        assert_eq!(is_there().await, (0, None));
        sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    }

    // The completion fails with its effect, and stays to be made.
    let mut starting = append(&tenant, Vec::new());
    starting.claim = Some(start_claim(&key, owner, LEASE));
    ledger.append(starting).await.unwrap();
    let complete = || {
        let (key, response) = (key.clone(), response("{}"));
        answered(ClaimWrite::Complete { key, owner, attempt: 1, response })
    };
    for table in ["event", "idempotency"] {
        let verb = if table == "event" { "insert" } else { "update" };
        let fault = AssertSqlSafe(fail_on(table, verb));
        sqlx::raw_sql(fault).execute(&mut superuser).await.unwrap();
        let refused = ledger.append(complete()).await;
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
        assert_eq!(is_there().await, (0, Some(ClaimState::InProgress)));
        let mend = AssertSqlSafe(format!("drop trigger fault on {table}"));
        sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    }
    ledger.append(complete()).await.unwrap();
    assert_eq!(is_there().await, (1, Some(ClaimState::Completed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_left_open_is_nothing_to_a_command_that_leaves_none_open() {
    let world = World::start().await;
    let Replica { resources, .. } = &Replica::start(&world);
    let press = Press::new(&world).await;
    let left_open = press.keyed(resources);
    assert!(left_open.answered(resources).await.unwrap().is_none());
    let claim = Append {
        tenant_id: press.actor.caller.tenant_id.clone(),
        writes: Vec::new(),
        claim: Some(left_open.start(&press.actor)),
        metadata: Metadata::default(),
    };
    resources.ledger.append(claim).await.unwrap();
    expire_leases(&world).await;

    let answered = press.keyed(resources).answered(resources).await;

    assert!(matches!(answered, Err(CommandError::InProgress)), "{answered:?}");
}

#[tokio::test]
async fn id_40_a_large_answer_is_kept_and_repeated_byte_for_byte() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let tenant = tenant(1);
    for (number, size) in [(1, 64 * 1024 + 1), (2, 900 * 1024)] {
        let key = claim_key(&tenant, number);
        let body: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[0]).collect();
        let response = StoredResponse { body, ..response("") };
        ledger.append(answered(ledger_append(&tenant), &key, &response)).await.unwrap();

        let claim = ledger.read_claim(&key).await.unwrap().unwrap();
        assert_eq!(claim.response, Some(response), "{size}");
    }
    // Beyond what one append may have nothing is recorded.
    let key = claim_key(&tenant, 3);
    let response = StoredResponse { body: vec![b'x'; 1024 * 1024 + 1], ..response("") };
    let refused = ledger.append(answered(ledger_append(&tenant), &key, &response)).await;
    assert!(matches!(refused, Err(AppendError::Invalid(_))), "{refused:?}");
    assert_eq!(ledger.read_claim(&key).await.unwrap(), None);
}

#[tokio::test]
async fn id_42_the_table_takes_no_answer_in_the_clear() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let key = claim_key(&tenant(1), 1);
    let append = answered(ledger_append(&tenant(1)), &key, &response(r#"{"guest":"Amina"}"#));
    ledger.append(append).await.unwrap();
    let mut superuser = database.superuser().await;

    let clear =
        "update idempotency set body = convert_to('Guest Amina is in room 12 again', 'UTF8')";
    let refused = sqlx::raw_sql(clear).execute(&mut superuser).await.unwrap_err();

    assert!(refused.to_string().contains("idempotency_body_is_sealed"), "{refused}");
    let forge = "update idempotency set body = set_byte(body, 40, get_byte(body, 40) # 1)";
    sqlx::raw_sql(forge).execute(&mut superuser).await.unwrap();
    let forged = ledger.read_claim(&key).await;
    assert!(matches!(forged, Err(ReadError::Answer { .. })), "{forged:?}");
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_is_no_claim_and_not_none() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let key = claim_key(&tenant(1), 1);
    let append = answered(ledger_append(&tenant(1)), &key, &response("{}"));
    ledger.append(append).await.unwrap();
    let mut superuser = database.superuser().await;
    // What the table's own checks keep out otherwise.
    let unchecked = "do $$ declare rule record; begin \
        for rule in select conname from pg_constraint \
            where conrelid = 'idempotency'::regclass and contype = 'c' loop \
            execute format('alter table idempotency drop constraint %I', rule.conname); \
        end loop; end $$; \
        alter table idempotency alter lease_until drop not null, alter attempt drop not null, \
            alter created_at drop not null";
    sqlx::raw_sql(unchecked).execute(&mut superuser).await.unwrap();
    sqlx::raw_sql("create table kept as table idempotency").execute(&mut superuser).await.unwrap();
    for (change, spoiled) in [
        ("status = 70000", "status"),
        ("headers = '{}'", "headers"),
        ("operator_id = 'two words'", "operator_id"),
        ("fingerprint = '\\x00'", "fingerprint"),
        ("state = 'paused'", "state"),
        ("lease_until = null", "lease_until"),
        ("attempt = null", "attempt"),
        ("created_at = null", "created_at"),
    ] {
        let spoil = format!("update idempotency set {change}");
        sqlx::raw_sql(AssertSqlSafe(spoil)).execute(&mut superuser).await.unwrap();

        let read = ledger.read_claim(&key).await;

        let is_noticed =
            matches!(read, Err(ReadError::CorruptClaim { what, .. }) if what == spoiled);
        assert!(is_noticed, "{change}: {read:?}");
        let mend = "delete from idempotency; insert into idempotency table kept";
        sqlx::raw_sql(mend).execute(&mut superuser).await.unwrap();
    }
    assert!(ledger.read_claim(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn id_50_a_deadlock_is_resolved_inside_and_records_once() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, key, owner) = (tenant(1), claim_key(&tenant(1), 1), Ulid(1));
    let mut starting = acknowledgment(&tenant, "a1");
    starting.claim = Some(start_claim(&key, owner, LEASE));
    ledger.append(starting).await.unwrap();
    let mut completing = append(&tenant, vec![write(&stream("a1"), 1, &[forwarded("a1")])]);
    let (claimed, response) = (key.clone(), response("{}"));
    completing.claim = Some(ClaimWrite::Complete { key: claimed, owner, attempt: 1, response });

    // Holds the stream and wants the claim; the append holds the claim and wants the stream.
    let mut other = database.superuser().await;
    sqlx::raw_sql("set deadlock_timeout = '60s'").execute(&mut other).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    let hold = "select from stream_head where stream = 'ali:a1' for update";
    sqlx::raw_sql(hold).execute(&mut *transaction).await.unwrap();
    let mut watcher = database.superuser().await;
    let (receipt, ()) = tokio::join!(ledger.append(completing), async {
        until_an_append_waits(&mut watcher).await;
        let want = "select from idempotency for update";
        sqlx::raw_sql(want).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    });

    assert_eq!(receipt.unwrap().position, 2);
    wait::until("the database has counted the deadlock", async || {
        let count = "select deadlocks from pg_stat_database where datname = current_database()";
        let counted: i64 = sqlx::query_scalar(count).fetch_one(&mut watcher).await.unwrap();
        counted == 1
    })
    .await;
    assert_eq!(read::head(database.pools().relay()).await.unwrap(), 2);
    let claim = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!((claim.state, claim.attempt), (ClaimState::Completed, 1));
}

#[tokio::test]
async fn id_50_a_serialization_failure_is_tried_again_with_the_same_claim() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, key) = (tenant(1), claim_key(&tenant(1), 1));
    let claiming = || {
        let mut claiming = acknowledgment(&tenant, "a1");
        claiming.claim = Some(start_claim(&key, Ulid(1), LEASE));
        claiming
    };
    // Another batch creates the stream meanwhile: append_batch raises 40001.
    let mut other = database.superuser().await;
    let mut watcher = database.superuser().await;
    let mut transaction = other.begin().await.unwrap();
    let create = "insert into stream_head (tenant_id, stream, version) values ($1, 'ali:a1', 1)";
    sqlx::query(create).bind(tenant.as_str()).execute(&mut *transaction).await.unwrap();
    let (refused, ()) = tokio::join!(ledger.append(claiming()), async {
        until_an_append_waits(&mut watcher).await;
        transaction.commit().await.unwrap();
    });

    // Not an outage: decided anew on the stream as it is now, and the key stays free.
    let is_conflict = matches!(refused, Err(AppendError::Conflict { actual_version: 1, .. }));
    assert!(is_conflict, "{refused:?}");
    assert_eq!(ledger.read_claim(&key).await.unwrap(), None);
    let forget = "delete from stream_head";
    sqlx::raw_sql(forget).execute(&mut other).await.unwrap();
    assert_eq!(ledger.append(claiming()).await.unwrap().position, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_50_two_replicas_that_race_for_one_alert_have_one_effect() {
    let world = World::start().await;
    let replicas = [Replica::start(&world), Replica::start(&world)];
    let mut press = Press::new(&world).await;
    for _ in 0..8 {
        let other = Press { key: Ulid::generate(), ..press.clone() };
        let (one, two) =
            tokio::join!(press.send(&replicas[0].resources), other.send(&replicas[1].resources));
        let acknowledged = |outcome: &backoffice::commands::idempotency::Outcome| {
            let body: serde_json::Value = serde_json::from_slice(&outcome.response.body).unwrap();
            (outcome.response.status, body["acknowledgedAt"].clone())
        };
        assert_eq!(acknowledged(&one.unwrap()), acknowledged(&two.unwrap()));
        assert_eq!(alerts::effects(&world, press.alert_id()).await, 1);
        assert_eq!(alerts::events_of(&world, press.alert_id()).await.len(), 2);
        press = press.another(&world).await;
    }
}

#[tokio::test]
async fn id_54_a_claim_is_looked_for_where_it_is_written_and_nowhere_else() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    let writer = TestLedger::start(database.pools());
    let reader = TestLedger::start(database.pools_through(proxy.address, 1));
    let tenant = tenant(1);
    // What was committed a moment ago is seen, every time.
    for number in 0..50 {
        let key = claim_key(&tenant, number);
        assert_eq!(reader.ledger.read_claim(&key).await.unwrap(), None);
        let mut starting = append(&tenant, Vec::new());
        starting.claim = Some(start_claim(&key, Ulid(1), LEASE));
        writer.ledger.append(starting).await.unwrap();
        assert!(reader.ledger.read_claim(&key).await.unwrap().is_some());
    }
    // There is one address for reading and writing, and no other to fall back to.
    proxy.cut();
    let unreachable = reader.ledger.read_claim(&claim_key(&tenant, 0)).await;
    assert!(matches!(unreachable, Err(ReadError::Unavailable(_))), "{unreachable:?}");
}

#[tokio::test]
async fn id_54_a_standby_is_not_believed() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (tenant, known) = (tenant(1), claim_key(&tenant(1), 1));
    let mut starting = append(&tenant, Vec::new());
    starting.claim = Some(start_claim(&known, Ulid(1), LEASE));
    test.ledger.append(starting).await.unwrap();
    // Connections made from now on believe that they are at a standby.
    let mut superuser = database.superuser().await;
    let name: String =
        sqlx::query_scalar("select current_database()").fetch_one(&mut superuser).await.unwrap();
    let pretend = format!(
        "create schema standby; grant usage on schema standby to backoffice_app; \
         create function standby.pg_is_in_recovery() returns boolean \
             language sql as 'select true'; \
         grant execute on function standby.pg_is_in_recovery() to backoffice_app; \
         alter role backoffice_app in database {name} set search_path = standby, pg_catalog, public"
    );
    sqlx::raw_sql(AssertSqlSafe(pretend)).execute(&mut superuser).await.unwrap();
    let standby = TestLedger::start(database.other_pools());

    for key in [known, claim_key(&tenant, 2)] {
        let read = standby.ledger.read_claim(&key).await;
        assert!(matches!(read, Err(ReadError::Standby)), "{read:?}");
    }
}

fn ledger_append(tenant_id: &events::TenantId) -> backoffice::ledger::Append {
    let stream = stream(&Ulid::generate().to_string());
    append(tenant_id, vec![write(&stream, 0, &[acknowledged("a", None)])])
}

fn answered(
    mut append: backoffice::ledger::Append,
    key: &backoffice::ledger::ClaimKey,
    response: &StoredResponse,
) -> backoffice::ledger::Append {
    append.claim = Some(ClaimWrite::StartAndComplete {
        key: key.clone(),
        operator_id: operator("usr_1"),
        fingerprint: [7; 32],
        response: response.clone(),
    });
    append
}

/// A trigger that refuses what is about to be written.
fn fail_on(table: &str, verb: &str) -> String {
    format!(
        "create or replace function fault() returns trigger language plpgsql \
         as 'begin raise exception ''fault''; end'; \
         create trigger fault before {verb} on {table} for each row execute function fault()"
    )
}

async fn until_an_append_waits(connection: &mut PgConnection) {
    wait::until("an append waits for a lock", async || 0 < waiting(connection, "pid").await).await;
}

/// Ends the backend of the append that waits for a lock.
async fn kill_waiting(connection: &mut PgConnection) {
    let kill = "case when pg_terminate_backend(pid) then pid end";
    wait::until("a waiting append is killed", async || 0 < waiting(connection, kill).await).await;
}

async fn waiting(connection: &mut PgConnection, counted: &str) -> i64 {
    let query = format!(
        "select count({counted}) from pg_stat_activity \
         where datname = current_database() and usename = $1 and wait_event_type = 'Lock'"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(query)).bind(Role::Append.name());
    query.fetch_one(connection).await.unwrap()
}
