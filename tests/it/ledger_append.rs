use std::time::Duration;

use backoffice::{
    clock::TestClock,
    database::Role,
    ledger::{
        AppendError, ClaimState, ClaimWrite, Recorded, Settings, event_store::TenantStore, leaf,
        read,
    },
};
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, event_sink::EventSink};
use events::{LedgerEvent, ledger::alert_acknowledgment::AlertAcknowledgmentEvent};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    ledger::{
        TestLedger, acknowledged, acknowledgment, append, at, claim_key, forwarded, metadata,
        operator, response, start_claim, stream, tenant, write,
    },
    proxy::Proxy,
    wait,
};

type Acknowledgments = Vec<Recorded<AlertAcknowledgmentEvent>>;

#[tokio::test]
async fn what_is_appended_is_read_back_in_its_place() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, stream) = (tenant(1), stream("a1"));
    let events = [acknowledged("a1", Some("Guest Amina called")), forwarded("a1")];

    let receipt = ledger.append(append(&tenant, vec![write(&stream, 0, &events)])).await.unwrap();

    let places: Vec<_> = receipt
        .events
        .iter()
        .map(|event| (event.position, event.ledger_index, event.stream_version))
        .collect();
    assert_eq!((receipt.position, places), (2, vec![(1, 0, 1), (2, 1, 2)]));
    let read: Acknowledgments = ledger.read_stream(&tenant, &stream).await.unwrap();
    assert_eq!(
        read.iter().map(|recorded| &recorded.event).collect::<Vec<_>>(),
        [&events[0], &events[1]]
    );
    assert_eq!(read[1].metadata, metadata());
    assert_eq!((read[0].occurred_at, read[0].position), (at(), 1));
    assert_eq!(*ledger.head().borrow(), 2);
}

#[tokio::test]
async fn heads_and_claims_are_found_over_their_keys_also_by_plans_made_while_there_were_few() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, owner) = (tenant(1), Ulid(1));
    let mut superuser = database.superuser().await;
    let scans = "select coalesce(sum(seq_scan), 0)::bigint, coalesce(sum(idx_scan), 0)::bigint \
                 from pg_stat_user_tables where relname in ('stream_head', 'idempotency')";

    let mut number = 0;
    let mut scanned: (i64, i64) = (0, 0);
    wait::until("two hundred lookups are counted", async || {
        number += 1;
        if number == 10 {
            let analyze = "analyze stream_head, idempotency";
            sqlx::raw_sql(analyze).execute(&mut superuser).await.unwrap();
        }
        let (key, stream) = (claim_key(&tenant, number), stream(&format!("a{number}")));
        let first = [acknowledged("a1", None)];
        let mut starting = append(&tenant, vec![write(&stream, 0, &first)]);
        starting.claim = Some(start_claim(&key, owner, Duration::from_secs(30)));
        ledger.append(starting).await.unwrap();
        let mut completing = append(&tenant, vec![write(&stream, 1, &[forwarded("a1")])]);
        let response = response("{}");
        completing.claim = Some(ClaimWrite::Complete { key, owner, attempt: 1, response });
        ledger.append(completing).await.unwrap();
        scanned = sqlx::query_as(scans).fetch_one(&mut superuser).await.unwrap();
        200 <= scanned.1
    })
    .await;

    assert_eq!(scanned.0, 0, "whole tables were read, beside {} lookups", scanned.1);
}

#[tokio::test]
async fn stored_bytes_hash_to_the_stored_leaf_and_hold_no_personal_field() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let event = acknowledged("a1", Some("Guest Amina called"));
    ledger.append(append(&tenant(1), vec![write(&stream("a1"), 0, &[event])])).await.unwrap();

    let stored = read::tail(database.pools().relay(), 0, 10).await.unwrap().remove(0);

    assert_eq!(stored.recompute_leaf_hash(), stored.leaf_hash);
    assert!(!String::from_utf8(stored.body.clone()).unwrap().contains("Amina"));
    let ciphertext = stored.personal.clone().unwrap();
    assert!(!ciphertext.windows(5).any(|bytes| bytes == b"Amina"));
    assert_eq!(
        stored.body,
        serde_json_canonicalizer::to_vec(&json!({
            "alertId": "a1", "propertyId": "prp_1", "acknowledgedBy": "usr_1",
            "acknowledgedAt": "2026-11-21T10:00:00Z",
        }))
        .unwrap()
    );
    let mut changed = stored;
    changed.body[20] ^= 1;
    assert_ne!(changed.recompute_leaf_hash(), changed.leaf_hash);
}

#[tokio::test]
async fn a_version_that_is_not_the_streams_is_a_conflict_that_tells_the_actual_one() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let tenant = tenant(1);
    ledger.append(acknowledgment(&tenant, "a1")).await.unwrap();

    for (expected, actual) in [(0, 1), (2, 1), (7, 1)] {
        let late = write(&stream("a1"), expected, &[forwarded("a1")]);
        let refused = ledger.append(append(&tenant, vec![late])).await.unwrap_err();
        assert!(
            matches!(&refused, AppendError::Conflict { stream: conflicted, actual_version }
                if *conflicted == stream("a1") && *actual_version == actual),
            "{refused:?}"
        );
    }
    let read: Acknowledgments = ledger.read_stream(&tenant, &stream("a1")).await.unwrap();
    assert_eq!(read.len(), 1);
}

#[tokio::test]
async fn an_append_to_two_streams_is_recorded_in_both_or_in_neither() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let tenant = tenant(1);
    ledger.append(acknowledgment(&tenant, "a1")).await.unwrap();
    let (a1, a2) = (stream("a1"), stream("a2"));
    let both = |a1_version| {
        let writes = vec![
            write(&a2, 0, &[acknowledged("a2", None)]),
            write(&a1, a1_version, &[forwarded("a1")]),
        ];
        append(&tenant, writes)
    };

    let refused = ledger.append(both(0)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Conflict { actual_version: 1, .. }));
    let read: Acknowledgments = ledger.read_stream(&tenant, &a2).await.unwrap();
    assert_eq!(read.len(), 0);

    let receipt = ledger.append(both(1)).await.unwrap();
    let versions: Vec<_> = receipt.events.iter().map(|event| event.stream_version).collect();
    assert_eq!((versions, receipt.position), (vec![1, 2], 3));
}

#[tokio::test]
async fn the_culprit_of_a_batch_fails_alone_and_leaves_nothing_behind() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let (ledger, tenant) = (&test.ledger, tenant(1));
    ledger.append(acknowledgment(&tenant, "old")).await.unwrap();
    // While the head is held, everything queues, and then goes in few batches.
    let mut holder = database.superuser().await;
    let held = hold_the_head(&mut holder).await;

    let conflicting = {
        let mut conflicting = acknowledgment(&tenant, "old");
        conflicting.claim =
            Some(start_claim(&claim_key(&tenant, 1), Ulid(1), Duration::from_secs(30)));
        conflicting
    };
    let refused_by_the_database = {
        let mut refused = acknowledgment(&tenant, "never");
        // jsonb cannot hold this character: an error of the whole statement.
        let mut response = response("{}");
        response.headers.push(("x".to_owned(), "\0".to_owned()));
        let key = claim_key(&tenant, 2);
        refused.claim = Some(ClaimWrite::StartAndComplete {
            key,
            operator_id: operator("usr_1"),
            fingerprint: [7; 32],
            response,
        });
        refused
    };
    let good: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    let mut appends: Vec<_> =
        good.iter().map(|alert| ledger.append(acknowledgment(&tenant, alert))).collect();
    appends.insert(7, ledger.append(conflicting));
    appends.insert(11, ledger.append(refused_by_the_database));
    let (mut answers, ()) = tokio::join!(join_all(appends), async {
        tokio::task::yield_now().await;
        held.commit().await.unwrap();
    });

    assert!(matches!(answers.remove(11), Err(AppendError::Refused(_))));
    assert!(matches!(answers.remove(7), Err(AppendError::Conflict { .. })));
    let mut positions: Vec<_> =
        answers.into_iter().map(|answer| answer.unwrap().position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (2..=21).collect::<Vec<i64>>());
    for key in [1, 2] {
        assert_eq!(ledger.read_claim(&claim_key(&tenant, key)).await.unwrap(), None);
    }
    let never: Acknowledgments = ledger.read_stream(&tenant, &stream("never")).await.unwrap();
    assert_eq!(never.len(), 0);
}

#[tokio::test]
async fn of_fifty_claims_of_one_key_over_two_instances_one_wins() {
    let database = TestDatabase::create().await;
    let one = TestLedger::start(database.pools());
    let other = TestLedger::start(database.other_pools());
    let (tenant, key) = (tenant(1), claim_key(&tenant(1), 1));

    let claims = (0..50).map(|number| {
        let ledger = if number % 2 == 0 { &one.ledger } else { &other.ledger };
        let mut claiming = acknowledgment(&tenant, &format!("a{number}"));
        claiming.claim = Some(start_claim(&key, Ulid(number), Duration::from_secs(30)));
        ledger.append(claiming)
    });
    let answers = join_all(claims).await;

    let won = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused =
        answers.iter().filter(|answer| matches!(answer, Err(AppendError::ClaimRefused))).count();
    assert_eq!((won, refused), (1, 49));
    assert_eq!(read::head(database.pools().relay()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_completed_claim_keeps_its_answer_and_is_never_completed_again() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, owner) = (tenant(1), Ulid(9));
    let key = claim_key(&tenant, 1);
    let mut starting = acknowledgment(&tenant, "a1");
    starting.claim = Some(start_claim(&key, owner, Duration::from_secs(30)));
    ledger.append(starting).await.unwrap();
    let row = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!((row.state, row.lease_expired, row.response), (ClaimState::InProgress, false, None));

    let complete = |body: &str| {
        let mut completing = append(&tenant, Vec::new());
        completing.claim = Some(ClaimWrite::Complete {
            key: key.clone(),
            owner,
            attempt: 1,
            response: response(body),
        });
        completing
    };
    ledger.append(complete("first")).await.unwrap();
    let again = ledger.append(complete("second")).await.unwrap_err();

    assert!(matches!(again, AppendError::Fenced));
    let row = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!((row.state, row.response), (ClaimState::Completed, Some(response("first"))));
    assert_eq!((row.operator_id, row.fingerprint), (operator("usr_1"), [7; 32]));
}

#[tokio::test]
async fn a_claim_that_was_given_up_is_taken_over_at_once_and_only_by_one() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, first, second, third) = (tenant(1), Ulid(1), Ulid(2), Ulid(3));
    let key = claim_key(&tenant, 1);
    let give_up = |owner, attempt| {
        let mut giving_up = acknowledgment(&tenant, "a1");
        giving_up.claim = Some(ClaimWrite::GiveUp { key: key.clone(), owner, attempt });
        giving_up
    };
    let mut starting = append(&tenant, Vec::new());
    starting.claim = Some(start_claim(&key, first, Duration::from_secs(30)));
    ledger.append(starting).await.unwrap();
    assert_eq!(ledger.take_over_claim(&key, second).await.unwrap(), None);

    assert_eq!(ledger.append(give_up(first, 1)).await.unwrap().position, 1);

    let row = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!((row.state, row.response), (ClaimState::Unknown, None));
    assert_eq!(ledger.take_over_claim(&key, second).await.unwrap(), Some(2));
    assert_eq!(ledger.take_over_claim(&key, third).await.unwrap(), None);
    assert!(matches!(ledger.append(give_up(first, 1)).await, Err(AppendError::Fenced)));
    let mut completing = append(&tenant, Vec::new());
    let response = response("{}");
    completing.claim =
        Some(ClaimWrite::Complete { key: key.clone(), owner: second, attempt: 2, response });
    ledger.append(completing).await.unwrap();
    let row = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!(row.state, ClaimState::Completed);
    assert!(matches!(ledger.append(give_up(second, 2)).await, Err(AppendError::Fenced)));
}

#[tokio::test]
async fn who_lost_a_claim_to_another_attempt_cannot_complete_it() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, first, second) = (tenant(1), Ulid(1), Ulid(2));
    let (over, running) = (claim_key(&tenant, 1), claim_key(&tenant, 2));
    for (key, lease) in [(&over, Duration::ZERO), (&running, Duration::from_secs(30))] {
        let mut starting = append(&tenant, Vec::new());
        starting.claim = Some(start_claim(key, first, lease));
        ledger.append(starting).await.unwrap();
    }

    assert_eq!(ledger.take_over_claim(&running, second).await.unwrap(), None);
    assert_eq!(ledger.take_over_claim(&over, second).await.unwrap(), Some(2));
    assert_eq!(ledger.take_over_claim(&over, second).await.unwrap(), None);

    let complete = |owner, attempt| {
        let mut completing = acknowledgment(&tenant, "a1");
        let response = response("{}");
        completing.claim =
            Some(ClaimWrite::Complete { key: over.clone(), owner, attempt, response });
        completing
    };
    assert!(matches!(ledger.append(complete(first, 1)).await, Err(AppendError::Fenced)));
    assert!(matches!(ledger.append(complete(second, 1)).await, Err(AppendError::Fenced)));
    assert_eq!(ledger.append(complete(second, 2)).await.unwrap().position, 1);
}

#[tokio::test]
async fn a_tenant_that_fills_its_share_of_the_queue_does_not_stop_another() {
    let database = TestDatabase::create().await;
    let settings = Settings { queue_tenant_max: 2, ..Settings::default() };
    let test = TestLedger::start_with(database.pools(), settings);
    let (ledger, busy, calm) = (&test.ledger, tenant(1), tenant(2));
    let mut holder = database.superuser().await;
    let held = hold_the_head(&mut holder).await;

    let first = ledger.append(acknowledgment(&busy, "a1"));
    let second = ledger.append(acknowledgment(&busy, "a2"));
    let third = async {
        let answer = ledger.append(acknowledgment(&busy, "a3")).await;
        assert!(matches!(answer, Err(AppendError::Overloaded)), "{answer:?}");
        held.commit().await.unwrap();
    };
    let other = ledger.append(acknowledgment(&calm, "a1"));

    let (first, second, (), other) = tokio::join!(first, second, third, other);
    assert!(first.is_ok() && second.is_ok() && other.is_ok());
    assert!(ledger.append(acknowledgment(&busy, "a3")).await.is_ok());
}

#[tokio::test]
async fn a_ledger_that_stops_answers_what_it_accepted_and_refuses_the_rest() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let tenant = tenant(1);
    let accepted: Vec<String> = (0..30).map(|number| format!("a{number}")).collect();
    assert!(test.ledger.takes_appends());

    let (answers, ()) = tokio::join!(
        join_all(accepted.iter().map(|alert| test.ledger.append(acknowledgment(&tenant, alert)))),
        test.stop(),
    );

    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    let late = test.ledger.append(acknowledgment(&tenant, "late")).await;
    assert!(matches!(late, Err(AppendError::Stopped)));
    assert!(!test.ledger.takes_appends());
}

#[tokio::test]
async fn an_append_whose_caller_has_gone_is_recorded_all_the_same() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let mut holder = database.superuser().await;
    let held = hold_the_head(&mut holder).await;

    let tenant = tenant(1);
    let gone = tokio::time::timeout(
        Duration::from_millis(50),
        test.ledger.append(acknowledgment(&tenant, "a1")),
    );
    assert!(gone.await.is_err());
    held.commit().await.unwrap();
    test.stop().await;

    assert_eq!(read::head(database.pools().relay()).await.unwrap(), 1);
}

#[tokio::test]
async fn an_erased_persons_fields_are_absent_and_every_hash_still_holds() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, stream) = (tenant(1), stream("a1"));
    let event = acknowledged("a1", Some("Guest Amina called"));
    ledger.append(append(&tenant, vec![write(&stream, 0, &[event])])).await.unwrap();

    assert!(ledger.erase_subject(&tenant, &operator("usr_1")).await.unwrap());
    assert!(!ledger.erase_subject(&tenant, &operator("usr_1")).await.unwrap());
    // The same operator goes on working, under another key.
    let next = [acknowledged("a1", Some("written later"))];
    ledger.append(append(&tenant, vec![write(&stream, 1, &next)])).await.unwrap();

    let read: Acknowledgments = ledger.read_stream(&tenant, &stream).await.unwrap();
    assert_eq!(read[0].event, acknowledged("a1", None));
    assert_eq!(read[1].event, next[0]);
    for stored in read::tail(database.pools().relay(), 0, 10).await.unwrap() {
        assert_eq!(leaf::hex(&stored.recompute_leaf_hash()), leaf::hex(&stored.leaf_hash));
    }
}

#[tokio::test]
async fn a_key_that_could_not_be_stored_seals_nothing() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, stream) = (tenant(1), stream("a1"));
    let event = acknowledged("a1", Some("Guest Amina called"));
    let comment = || append(&tenant, vec![write(&stream, 0, std::slice::from_ref(&event))]);
    let mut superuser = database.superuser().await;
    // The key is written, and its transaction fails at the commit.
    sqlx::raw_sql(
        "create function fail() returns trigger language plpgsql \
         as $$ begin raise exception 'no commit'; end $$; \
         create constraint trigger no_commit after insert on subject_key \
         deferrable initially deferred for each row execute function fail()",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let failed = ledger.append(comment()).await;
    assert!(matches!(failed, Err(AppendError::Unavailable(_))), "{failed:?}");
    sqlx::raw_sql("drop trigger no_commit on subject_key").execute(&mut superuser).await.unwrap();

    ledger.append(comment()).await.unwrap();

    let other = TestLedger::start(database.other_pools());
    let read: Acknowledgments = other.ledger.read_stream(&tenant, &stream).await.unwrap();
    assert_eq!(read[0].event, event);
}

#[tokio::test]
async fn a_ciphertext_moved_to_another_event_is_an_error_and_not_an_absence() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let tenant = tenant(1);
    for alert in ["a1", "a2"] {
        let event = acknowledged(alert, Some(alert));
        ledger.append(append(&tenant, vec![write(&stream(alert), 0, &[event])])).await.unwrap();
    }
    let mut superuser = database.superuser().await;
    sqlx::raw_sql(
        "set session_replication_role = replica; \
         update event set personal = (select personal from event where position = 2) where position = 1",
    )
    .execute(&mut superuser)
    .await
    .unwrap();

    let read = ledger.read_stream::<AlertAcknowledgmentEvent>(&tenant, &stream("a1")).await;
    assert!(matches!(read, Err(backoffice::ledger::ReadError::Personal { .. })), "{read:?}");
    let stored = read::tail(database.pools().relay(), 0, 1).await.unwrap().remove(0);
    assert_ne!(stored.recompute_leaf_hash(), stored.leaf_hash);
}

#[tokio::test]
async fn a_period_never_goes_backwards_and_each_log_counts_from_zero() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let tenant = tenant(1);
    ledger.append(acknowledgment(&tenant, "a1")).await.unwrap();
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("update ledger_head set clock = date_trunc('month', now()) + interval '1 month'")
        .execute(&mut superuser)
        .await
        .unwrap();

    // The database's clock is now behind what the ledger has seen.
    ledger.append(acknowledgment(&tenant, "a2")).await.unwrap();
    ledger.append(acknowledgment(&tenant, "a3")).await.unwrap();

    let stored = read::tail(database.pools().relay(), 0, 10).await.unwrap();
    let indexes: Vec<_> = stored.iter().map(|event| event.ledger_index).collect();
    assert_eq!(indexes, [0, 0, 1]);
    assert!(stored[0].period < stored[1].period);
    assert_eq!(stored[1].period, stored[2].period);
    assert!(stored[0].recorded_at < stored[1].recorded_at);
    for event in &stored {
        assert_eq!(event.period, event.ledger.period().name_at(event.recorded_at));
    }
}

#[tokio::test]
async fn a_reader_stops_at_a_position_that_is_missing() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    for alert in ["a1", "a2", "a3"] {
        ledger.append(acknowledgment(&tenant(1), alert)).await.unwrap();
    }
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("set session_replication_role = replica; delete from event where position = 2")
        .execute(&mut superuser)
        .await
        .unwrap();

    let read = read::tail(database.pools().relay(), 0, 10).await;
    assert!(
        matches!(read, Err(backoffice::ledger::TailError::Gap { expected: 2, found: 3 })),
        "{read:?}"
    );
}

#[tokio::test]
async fn a_stopped_batch_function_call_records_nothing_and_the_next_try_does() {
    let database = TestDatabase::create().await;
    let test = TestLedger::start(database.pools());
    let mut holder = database.superuser().await;
    let held = hold_the_head(&mut holder).await;
    let mut killer = database.superuser().await;

    let tenant = tenant(1);
    let (receipt, ()) = tokio::join!(test.ledger.append(acknowledgment(&tenant, "a1")), async {
        terminate_append_backends(&mut killer).await;
        held.commit().await.unwrap();
    });

    assert_eq!(receipt.unwrap().position, 1);
    assert_eq!(read::tail(database.pools().relay(), 0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_found_again() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    let test = TestLedger::start(database.pools_through(proxy.address, 1));
    let (ledger, tenant, key) = (&test.ledger, tenant(1), claim_key(&tenant(1), 1));
    let with_events = acknowledgment(&tenant, "a1");
    let mut starting = append(&tenant, Vec::new());
    starting.claim = Some(start_claim(&key, Ulid(1), Duration::from_secs(30)));
    let mut completing = append(&tenant, vec![write(&stream("a1"), 1, &[forwarded("a1")])]);
    let (owner, attempt, response) = (Ulid(1), 1, response("{}"));
    completing.claim = Some(ClaimWrite::Complete { key: key.clone(), owner, attempt, response });

    let mut positions = Vec::new();
    for append in [with_events, starting, completing] {
        // In the message that carries the command, and in no other.
        proxy.lose_the_answer_to(tenant.as_str().as_bytes());
        positions.push(ledger.append(append).await.unwrap().position);
        assert!(proxy.has_lost());
    }

    assert_eq!(positions, [1, 0, 2]);
    assert_eq!(read::tail(database.pools().relay(), 0, 10).await.unwrap().len(), 2);
    let claim = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!((claim.state, claim.attempt), (ClaimState::Completed, 1));
}

#[tokio::test]
async fn a_lost_answer_does_not_turn_a_conflict_into_a_success() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    let test = TestLedger::start(database.pools_through(proxy.address, 1));
    let (ledger, tenant) = (&test.ledger, tenant(1));
    ledger.append(acknowledgment(&tenant, "a1")).await.unwrap();

    proxy.lose_the_answer_to(tenant.as_str().as_bytes());
    let refused = ledger.append(acknowledgment(&tenant, "a1")).await;

    assert!(proxy.has_lost());
    assert!(matches!(refused, Err(AppendError::Conflict { actual_version: 1, .. })));
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_found_also_by_those_who_try_its_commands_alone() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    // One batch at a time, and a pause before the second try that is long enough for this test.
    let settings = Settings {
        batches_in_flight_max: 1,
        backoff_max: Duration::from_secs(16),
        ..Settings::default()
    };
    let test = TestLedger::start_with(database.pools_through(proxy.address, 1), settings);
    let (ledger, tenant) = (&test.ledger, tenant(1));
    let mut holder = database.superuser().await;
    let held = hold_the_head(&mut holder).await;
    let mut superuser = database.superuser().await;

    let other = self::tenant(2);
    let first = ledger.append(acknowledgment(&other, "first"));
    let both = async {
        an_append_waits(&mut superuser).await;
        proxy.lose_the_answer_to(tenant.as_str().as_bytes());
        let meanwhile = async {
            tokio::task::yield_now().await;
            held.commit().await.unwrap();
            wait::until("all is committed", async || database.count("event").await == 3).await;
            // From now on every try is refused for good.
            sqlx::raw_sql("revoke execute on function append_batch from backoffice_append")
                .execute(&mut superuser)
                .await
                .unwrap();
        };
        tokio::join!(
            ledger.append(acknowledgment(&tenant, "a1")),
            ledger.append(acknowledgment(&tenant, "a2")),
            meanwhile
        )
    };
    let (first, (one, two, ())) = tokio::join!(first, both);

    assert!(proxy.has_lost());
    assert_eq!(first.unwrap().position, 1);
    assert_eq!([one.unwrap().position, two.unwrap().position], [2, 3]);
}

#[tokio::test]
async fn what_could_not_be_sent_is_unavailable_and_in_no_doubt() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    proxy.cut();
    let settings = Settings { attempts_max: 2, ..Settings::default() };
    let test = TestLedger::start_with(database.pools_through(proxy.address, 1), settings);

    let refused = test.ledger.append(acknowledgment(&tenant(1), "a1")).await;

    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_request_that_leaves_a_silent_server_takes_no_place_in_the_pool_with_it() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    let (pools, tenant) = (database.pools_through(proxy.address, 1), tenant(1));
    proxy.hold_the_answer_to(tenant.as_str().as_bytes());

    tokio::select! {
        _ = pools.begin(&tenant) => panic!("the answer is held back"),
        () = wait::until("the question is asked", async || proxy.has_lost()) => (),
    }

    wait::until("there is a place", async || pools.begin(&tenant).await.is_ok()).await;
}

#[tokio::test]
async fn a_worker_that_leaves_a_silent_server_takes_no_place_in_the_pool_with_it() {
    let database = TestDatabase::create().await;
    let proxy = Proxy::start(database.address()).await;
    let pools = database.pools_through(proxy.address, 1);
    proxy.hold_the_answer_to(b"leaf_hash");

    tokio::select! {
        _ = read::tail(pools.project(), 0, 1) => panic!("the answer is held back"),
        () = wait::until("the question is asked", async || proxy.has_lost()) => (),
    }

    let read = async || read::tail(pools.project(), 0, 1).await.is_ok();
    wait::until("there is a place", read).await;
}

/// The smallest aggregate that has a rule: an alert is acknowledged once.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Acknowledgment {
    is_acknowledged: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("it is acknowledged already")]
struct AlreadyAcknowledged;

impl Aggregate for Acknowledgment {
    const TYPE: &'static str = "test-acknowledgment";
    type Command = AlertAcknowledgmentEvent;
    type Event = AlertAcknowledgmentEvent;
    type Error = AlreadyAcknowledged;
    type Services = ();

    async fn handle(
        &mut self,
        command: AlertAcknowledgmentEvent,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AlreadyAcknowledged> {
        if self.is_acknowledged {
            return Err(AlreadyAcknowledged);
        }
        sink.write(command, self).await;
        Ok(())
    }

    fn apply(&mut self, _event: AlertAcknowledgmentEvent) {
        self.is_acknowledged = true;
    }
}

#[tokio::test]
async fn an_aggregate_runs_on_the_ledger_through_the_framework() {
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let (tenant, key) = (tenant(1), claim_key(&tenant(1), 1));
    let clock: backoffice::clock::SharedClock = TestClock::at(at());
    let claim = ClaimWrite::StartAndComplete {
        key: key.clone(),
        operator_id: operator("usr_1"),
        fingerprint: [7; 32],
        response: response("{}"),
    };
    let store = TenantStore::<Acknowledgment>::new(ledger, &clock, tenant.clone(), metadata())
        .with_claim(claim);
    let framework = CqrsFramework::new(store.clone(), Vec::new(), ());
    let command = || acknowledged("a1", Some("seen"));

    framework.execute("ali:a1", command()).await.unwrap();
    let refused = framework.execute("ali:a1", command()).await;

    assert_eq!(store.receipt().unwrap().position, 1);
    assert!(matches!(refused, Err(AggregateError::UserError(AlreadyAcknowledged))));
    let read: Acknowledgments = ledger.read_stream(&tenant, &stream("a1")).await.unwrap();
    assert_eq!(read.len(), 1);
    assert_eq!((&read[0].event, read[0].occurred_at), (&command(), at()));
    assert_eq!(read[0].event.kind(), "melmastoon.bff.backoffice.alert.acknowledged.v1");
    let claim = ledger.read_claim(&key).await.unwrap().unwrap();
    assert_eq!(claim.state, ClaimState::Completed);
}

#[tokio::test]
async fn what_others_append_between_two_commands_of_a_request_is_a_conflict() {
    use backoffice::aggregates::alert_acknowledgment::{
        AlertAcknowledgment, Command, Rejection, Standing,
    };
    let database = TestDatabase::create().await;
    let TestLedger { ledger, .. } = &TestLedger::start(database.pools());
    let clock: backoffice::clock::SharedClock = TestClock::at(at());
    let store = || TenantStore::<AlertAcknowledgment>::new(ledger, &clock, tenant(1), metadata());
    let request = CqrsFramework::new(store(), Vec::new(), ());
    let worker = CqrsFramework::new(store(), Vec::new(), ());
    let standing = Standing {
        alert_id: "a1".parse().unwrap(),
        property_id: "ppt_1".parse().unwrap(),
        by: operator("usr_1"),
        at: at(),
    };
    let forwarded = || Command::RecordForwarded { at: at(), already_acknowledged: false };

    request.execute("ali:a1", Command::Acknowledge(standing, None)).await.unwrap();
    worker.execute("ali:a1", forwarded()).await.unwrap();
    let overtaken = request.execute("ali:a1", forwarded()).await;
    let read_again = request.execute("ali:a1", forwarded()).await;

    assert!(matches!(overtaken, Err(AggregateError::AggregateConflict)));
    assert!(matches!(read_again, Err(AggregateError::UserError(Rejection::AlreadyForwarded))));
}

/// Keeps every append of the shard waiting until the transaction ends.
async fn hold_the_head(connection: &mut PgConnection) -> sqlx::Transaction<'_, sqlx::Postgres> {
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql("select pg_advisory_xact_lock(1279544146, 0)")
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction
}

async fn an_append_waits(connection: &mut PgConnection) {
    wait::until("an append waits for the head", async || {
        sqlx::query_scalar::<_, bool>(
            "select exists (select from pg_stat_activity \
             where datname = current_database() and usename = $1 and wait_event_type = 'Lock')",
        )
        .bind(Role::Append.name())
        .fetch_one(&mut *connection)
        .await
        .unwrap()
    })
    .await;
}

/// Waits until an append waits for the head, then ends its backend.
async fn terminate_append_backends(connection: &mut PgConnection) {
    wait::until("an append waits for the head", async || {
        let terminated: i64 = sqlx::query_scalar(
            "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity \
             where datname = current_database() and usename = $1 and wait_event_type = 'Lock'",
        )
        .bind(Role::Append.name())
        .fetch_one(&mut *connection)
        .await
        .unwrap();
        0 < terminated
    })
    .await;
}
