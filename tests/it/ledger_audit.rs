//! Whatever a forger with all rights does to the stored events, the ledger's check finds it.

use backoffice::{
    database::Role,
    ledger::{
        AppendError, ClaimWrite,
        audit::{self, Audited, Defect},
        read,
    },
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::{
    database::TestDatabase,
    ledger::{
        TestLedger, acknowledged, acknowledgment, append, claim_key, forwarded, operator, response,
        stream, tenant, write,
    },
};

/// What was done, by which statements, and what is said of it.
const FORGERIES: &[(&str, &str, &str)] = &[
    ("a body", "update event set body = body || ' ' where position = 3", "position 3 is not"),
    (
        "a time",
        "update event set recorded_at = recorded_at + interval '1 microsecond' where position = 3",
        "position 3 is not",
    ),
    ("metadata", "update event set metadata = '{}' where position = 4", "position 4 is not"),
    ("a kind", "update event set kind = kind || 'x' where position = 4", "position 4 is not"),
    (
        "the personal part",
        "update event set personal = null, subject_id = null where position = 2",
        "position 2 is not",
    ),
    ("a deleted middle", "delete from event where position = 3", "position 3 is missing"),
    (
        "a deleted middle with its gap closed",
        "delete from event where position = 3; \
             update event set position = position - 1 where 3 < position; \
             update ledger_head set position = position - 1",
        "belongs",
    ),
    (
        "a deleted end",
        "delete from event where position in (6, 7)",
        "the ledger ends at position 5",
    ),
    (
        "a deleted end and the ledger's head with it",
        "delete from event where position in (6, 7); update ledger_head set position = 5",
        "where 5 were recorded",
    ),
    (
        "a deleted end and both heads with it",
        "delete from event where position in (6, 7); update ledger_head set position = 5; \
             update log_head set size = 3 where tenant_id like '%1'",
        "/ali:a3 is not the 2 events",
    ),
    (
        "a deleted stream",
        "delete from event where position in (6, 7); update ledger_head set position = 5; \
             update log_head set size = 4 where tenant_id like '%1'; \
             delete from stream_head where stream = 'ali:a3'",
        "has 3 events, where 4 were recorded",
    ),
    (
        "all of one tenant",
        "delete from event where tenant_id like '%2'",
        "position 4 is missing, 6 comes next",
    ),
    ("everything", "delete from event", "the ledger ends at position 0, where 7"),
    (
        "everything and its head",
        "delete from event; update ledger_head set position = 0",
        "has 0 events",
    ),
    (
        "two events exchanged",
        "update event set position = 99 where position = 3; \
             update event set position = 3 where position = 6; \
             update event set position = 6 where position = 99",
        "position 3 is number 3 of its log, where 2 belongs",
    ),
    (
        "two events exchanged with their numbers",
        "update event set position = 99, ledger_index = 99 where position = 3; \
             update event set position = 3, ledger_index = 2 where position = 6; \
             update event set position = 6, ledger_index = 3 where position = 99",
        "was recorded before",
    ),
    (
        "the versions of a stream exchanged",
        "update event set position = 99, ledger_index = 99 where position = 1; \
             update event set position = 1, ledger_index = 0 where position = 2; \
             update event set position = 2, ledger_index = 1 where position = 99",
        "/ali:a1 is not the 2 events",
    ),
    (
        "an event given to another tenant",
        "update event set tenant_id = (select tenant_id from event where position = 1), ledger_index = 9 \
             where position = 4",
        "position 4 is not",
    ),
    (
        "another tenant's event in the place of one",
        "delete from event where position = 3; \
             insert into event select (select tenant_id from event where position = 1), ledger, period, 2, \
             shard, 3, stream, stream_version, event_id, kind, schema_version, body, personal, subject_id, \
             metadata, occurred_at, recorded_at, leaf_hash from event where position = 4",
        "position 3 is not",
    ),
    (
        "an event repeated at the end",
        "insert into event select tenant_id, ledger, period, 5, shard, 8, stream, stream_version + 1, \
             event_id, kind, schema_version, body, personal, subject_id, metadata, occurred_at, \
             recorded_at, leaf_hash from event where position = 7; \
             update ledger_head set position = 8",
        "position 8 is not",
    ),
    (
        "a stream's head",
        "update stream_head set version = 5 where stream = 'ali:a2'",
        "the 5 events",
    ),
    (
        "a missing stream's head",
        "delete from stream_head where stream = 'ali:a2'",
        "position 3 belongs",
    ),
    ("a log's head", "update log_head set size = 9 where tenant_id like '%2'", "where 9 were"),
    ("a missing log's head", "delete from log_head where tenant_id like '%2'", "where 0 were"),
];

/// Positions of the tampered ledger: tenant 1 has streams a1 (1, 2), a2 (3) and a3 (6, 7), tenant 2
/// has b1 (4) and b2 (5).
#[tokio::test]
async fn au_01_every_change_of_what_is_stored_is_found() {
    for (name, forgery, expected) in FORGERIES {
        let (database, _) = filled().await;
        let pools = database.pools();
        forge(&mut database.superuser().await, forgery).await;

        let found = audit::audit(pools.jobs(), |_, _| ()).await;

        let found = found.map_err(|defect| defect.to_string()).expect_err(name);
        assert!(found.contains(expected), "{name}: {found}");
    }
}

#[tokio::test]
async fn an_untouched_ledger_is_as_recorded_and_its_check_does_not_mind_appends() {
    let (database, test) = filled().await;
    let pools = database.pools();
    let audited = audit::audit(pools.jobs(), |done, total| assert!(done <= total)).await.unwrap();
    assert_eq!(audited, Audited { events: 7, logs: 2, streams: 5 });

    let appending = async {
        for number in 0..200 {
            let alert = format!("late{number}");
            test.ledger.append(acknowledgment(&tenant(1), &alert)).await.unwrap();
        }
    };
    let auditing = async {
        for _ in 0..10 {
            audit::audit(pools.jobs(), |_, _| ()).await.unwrap();
        }
    };
    tokio::join!(appending, auditing);
    assert_eq!(audit::audit(pools.jobs(), |_, _| ()).await.unwrap().events, 207);
}

#[tokio::test]
async fn au_02_fifty_appends_of_one_tenant_at_once_make_one_chain() {
    let database = TestDatabase::create().await;
    let instances =
        [TestLedger::start(database.pools()), TestLedger::start(database.other_pools())];
    let alerts: Vec<_> = (0..50).map(|number| format!("a{number}")).collect();

    let appending = alerts.iter().enumerate().map(|(number, alert)| {
        instances[number % 2].ledger.append(acknowledgment(&tenant(1), alert))
    });
    for done in join_all(appending).await {
        done.unwrap();
    }
    // And fifty that want the same place: one gets it.
    let same = stream("same");
    let racing = (0..50).map(|number| {
        let event = [acknowledged("same", None)];
        instances[number % 2].ledger.append(append(&tenant(1), vec![write(&same, 0, &event)]))
    });
    let raced = join_all(racing).await;
    assert_eq!(raced.iter().filter(|done| done.is_ok()).count(), 1);
    for lost in raced.iter().filter_map(|done| done.as_ref().err()) {
        assert!(matches!(lost, AppendError::Conflict { actual_version: 1, .. }), "{lost:?}");
    }

    let pools = database.pools();
    let audited = audit::audit(pools.jobs(), |_, _| ()).await.unwrap();
    assert_eq!(audited, Audited { events: 51, logs: 1, streams: 51 });
}

#[tokio::test]
async fn au_03_a_time_finer_than_the_database_keeps_does_not_break_the_proof() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let fine: DateTime<Utc> = "2026-11-21T10:00:00.123456789Z".parse().unwrap();
    let mut appended =
        append(&tenant(1), vec![write(&stream("a1"), 0, &[acknowledged("a1", None)])]);
    for write in &mut appended.writes {
        for event in &mut write.events {
            event.occurred_at = fine;
        }
    }
    test.ledger.append(appended).await.unwrap();

    let stored = read::tail(database.pools().relay(), 0, 10).await.unwrap().remove(0);

    assert_eq!(stored.leaf_hash, stored.recompute_leaf_hash());
    for kept in [stored.occurred_at, stored.recorded_at] {
        assert_eq!(kept.timestamp_subsec_nanos() % 1_000, 0, "microseconds: {kept}");
    }
    assert!((stored.occurred_at - fine).abs() < TimeDelta::microseconds(1));
    audit::audit(database.pools().jobs(), |_, _| ()).await.unwrap();
}

#[tokio::test]
async fn au_04_no_role_changes_deletes_or_truncates_what_is_recorded() {
    let (database, _) = filled().await;
    for role in Role::ALL {
        let mut connection = database.connect_as(role).await;
        for statement in [
            "update event set body = ''",
            "update event_alert_ack set body = ''",
            "delete from event",
            "truncate event",
            "insert into event select * from event on conflict do nothing",
        ] {
            if role == Role::Append && statement.starts_with("insert") {
                continue;
            }
            let refused = sqlx::raw_sql(statement).execute(&mut connection).await.unwrap_err();
            let code = refused.into_database_error().unwrap().code().unwrap().into_owned();
            assert_eq!(code, "42501", "{role:?}: {statement}");
        }
    }
    // And behind the privileges stands a trigger, for those who have them all.
    let mut superuser = database.superuser().await;
    for statement in ["update event set body = ''", "delete from event", "truncate event"] {
        let refused = sqlx::raw_sql(statement).execute(&mut superuser).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{statement}: {refused}");
    }
    assert_eq!(audit::audit(database.pools().jobs(), |_, _| ()).await.unwrap().events, 7);
}

#[tokio::test]
async fn au_05_an_event_that_cannot_be_recorded_leaves_nothing_of_its_command() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    test.ledger.append(acknowledgment(&tenant(1), "before")).await.unwrap();
    let mut superuser = database.superuser().await;
    forge(
        &mut superuser,
        "create function fail() returns trigger language plpgsql as \
         $$ begin raise exception 'no space left for the audit trail' using errcode = 'disk_full'; end $$; \
         create trigger fails before insert on event for each row execute function fail()",
    )
    .await;
    let key = claim_key(&tenant(1), 1);
    let mut refused = acknowledgment(&tenant(1), "refused");
    refused.claim = Some(ClaimWrite::StartAndComplete {
        key: key.clone(),
        operator_id: operator("usr_1"),
        fingerprint: [7; 32],
        response: response("{}"),
    });

    let failed = test.ledger.append(refused.clone()).await;

    assert!(failed.is_err(), "{failed:?}");
    assert_eq!(test.ledger.read_claim(&key).await.unwrap(), None, "no claim without its event");
    let heads: i64 =
        sqlx::query_scalar("select count(*) from stream_head where stream = 'ali:refused'")
            .fetch_one(&mut superuser)
            .await
            .unwrap();
    assert_eq!(heads, 0);
    forge(&mut superuser, "drop trigger fails on event").await;
    test.ledger.append(refused).await.unwrap();
    assert!(test.ledger.read_claim(&key).await.unwrap().is_some());
    let audited = audit::audit(database.pools().jobs(), |_, _| ()).await.unwrap();
    assert_eq!(audited.events, 2);
}

#[tokio::test]
async fn a_check_that_loses_its_database_says_so_and_calls_nothing_altered() {
    let (database, _) = filled().await;
    let pools = database.pools();
    let mut superuser = database.superuser().await;
    forge(&mut superuser, "revoke select on event from backoffice_jobs").await;
    let failed = audit::audit(pools.jobs(), |_, _| ()).await.unwrap_err();
    assert!(matches!(failed, Defect::Tail(_) | Defect::Database(_)), "{failed}");
}

/// Seven events of two tenants, each in a batch of its own.
async fn filled() -> (TestDatabase, TestLedger) {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let two = |alert: &str| [acknowledged(alert, Some("Amina")), forwarded(alert)];
    for (number, alert, events) in [
        (1, "a1", vec![two("a1")[1].clone(), two("a1")[0].clone()]),
        (1, "a2", vec![acknowledged("a2", None)]),
        (2, "b1", vec![acknowledged("b1", None)]),
        (2, "b2", vec![acknowledged("b2", None)]),
        (1, "a3", two("a3").to_vec()),
    ] {
        let filling = append(&tenant(number), vec![write(&stream(alert), 0, &events)]);
        test.ledger.append(filling).await.unwrap();
    }
    (database, test)
}

/// Runs statements with every guard switched off.
async fn forge(superuser: &mut PgConnection, statements: &str) {
    let forged = format!(
        "set session_replication_role = replica; {statements}; set session_replication_role = origin"
    );
    sqlx::raw_sql(AssertSqlSafe(forged)).execute(superuser).await.unwrap();
}
