//! Writers, conflicts, rollbacks and killed connections against a reader that never pauses.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backoffice::{
    database::Role,
    ledger::{AppendError, Ledger, RecordedRef, StoredEvent, read},
};
use chrono::DateTime;
use events::{
    Ledger as LedgerName, SessionId, StreamId, TenantId,
    ledger::operator_session::OperatorSessionEvent,
};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, PgPool, postgres::PgConnectOptions};
use tokio::task::JoinSet;
use ulid::Ulid;

use crate::support::{
    database::TestDatabase,
    ledger::{TestLedger, acknowledged, append, stream, tenant, write},
};

const WRITERS: u64 = 8;
const APPENDS_EACH: u32 = 120;
const ALERTS: u32 = 12;
const TENANTS: u128 = 3;
const KILLS_MAX: u32 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_doubled_or_out_of_order() {
    let database = TestDatabase::create().await;
    let instances =
        [TestLedger::start(database.pools()), TestLedger::start(database.other_pools())];
    let is_done = Arc::new(AtomicBool::new(false));
    let mut troublemakers = JoinSet::new();
    let append = database.settings().connect_options(Role::Append).unwrap();
    troublemakers.spawn(roll_back(append.clone(), Arc::clone(&is_done)));
    troublemakers.spawn(roll_back(append, Arc::clone(&is_done)));
    troublemakers.spawn(kill(database.superuser().await, Arc::clone(&is_done)));
    let mut readers = JoinSet::new();
    readers.spawn(follow(database.pools().relay().clone(), Arc::clone(&is_done)));

    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let ledger = &instances[usize::try_from(number % 2).unwrap()].ledger;
        writers.spawn(write_at_random(ledger.clone(), number));
    }
    let written = writers.join_all().await;
    is_done.store(true, Ordering::SeqCst);
    let troubles: u32 = troublemakers.join_all().await.into_iter().sum();
    let followed = readers.join_all().await.remove(0);

    check_order(&followed);
    let mut conflicts = 0;
    let mut acknowledged = HashMap::new();
    let mut in_doubt = HashSet::new();
    for writer in written {
        conflicts += writer.conflicts;
        in_doubt.extend(writer.in_doubt);
        for event in writer.recorded {
            assert!(acknowledged.insert(event.event_id.to_string(), event).is_none());
        }
    }
    let mut found = HashSet::new();
    for stored in followed {
        let id = stored.event_id.to_string();
        assert!(found.insert(id.clone()), "{id} is there twice");
        match acknowledged.remove(&id) {
            Some(event) => assert_eq!(
                (event.position, event.ledger_index, event.stream_version),
                (stored.position, stored.ledger_index, stored.stream_version)
            ),
            None => assert!(in_doubt.contains(&id), "{id} was refused and is there"),
        }
    }
    assert!(acknowledged.is_empty(), "{} acknowledged events are lost", acknowledged.len());
    assert!(20 < conflicts && 20 < troubles, "{conflicts} conflicts, {troubles} troubles");
    println!(
        "{} events, {conflicts} conflicts, {troubles} rollbacks and kills, {} in doubt",
        found.len(),
        in_doubt.len()
    );
}

/// What one writer was told.
#[derive(Default)]
struct Written {
    recorded: Vec<RecordedRef>,
    conflicts: u32,
    in_doubt: Vec<String>,
}

async fn write_at_random(ledger: Ledger, seed: u64) -> Written {
    let mut random = StdRng::seed_from_u64(seed);
    let mut written = Written::default();
    let mut versions: HashMap<(TenantId, StreamId), i64> = HashMap::new();
    for number in 0..APPENDS_EACH {
        let tenant = tenant(random.random_range(1..=TENANTS));
        let alert = format!("a{}", random.random_range(0..ALERTS));
        let own = OperatorSessionEvent::ForceLoggedOut {
            session_id: SessionId::new(Ulid(u128::from(seed) << 32 | u128::from(number))),
            reason: "admin".to_owned(),
            at: DateTime::UNIX_EPOCH,
        };
        let own_stream: StreamId = format!("bos_{seed}_{number}").parse().unwrap();
        let version = versions.entry((tenant.clone(), stream(&alert))).or_default();
        let shared = write(&stream(&alert), *version, &[acknowledged(&alert, None)]);
        let writes = match number % 3 {
            0 => vec![write(&own_stream, 0, &[own])],
            1 => vec![shared],
            _ => vec![write(&own_stream, 0, &[own.clone(), own]), shared],
        };
        let ids: Vec<String> = writes
            .iter()
            .flat_map(|write| &write.events)
            .map(|event| event.event_id.to_string())
            .collect();
        let writes_shared = number % 3 != 0;
        match ledger.append(append(&tenant, writes)).await {
            Ok(receipt) => {
                *version += i64::from(writes_shared);
                written.recorded.extend(receipt.events);
            }
            Err(AppendError::Conflict { actual_version, .. }) => {
                *version = actual_version;
                written.conflicts += 1;
            }
            // The killer was busy: said to be in doubt, or known not to be there.
            Err(AppendError::OutcomeUnknown(_)) => written.in_doubt.extend(ids),
            Err(AppendError::Unavailable(_)) => (),
            Err(other) => panic!("{other:?}"),
        }
        // Now and then, so that the writers meet in ever other places.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..2_000))).await;
    }
    written
}

/// Calls the function as a writer would and takes it back, while others wait behind its locks;
/// returns how often.
async fn roll_back(append: PgConnectOptions, is_done: Arc<AtomicBool>) -> u32 {
    let mut random = StdRng::from_os_rng();
    let mut rolled_back = 0;
    let mut connection = append.connect().await.unwrap();
    while !is_done.load(Ordering::SeqCst) {
        let (tenant, id) = (tenant(random.random_range(1..=TENANTS)), Ulid::generate());
        let call = format!(
            "begin; select * from append_batch(0, \
             '{{1}}', '{{{tenant}}}', '{{session}}', '{{rolled-back-{id}}}', '{{0}}', '{{1}}', \
             '{{1}}', '{{evt_{id}}}', '{{kind.v1}}', '{{1}}', array[''::bytea], array[null::bytea], \
             array[null::text], array[''::bytea], array[now()], array[''::bytea], array[''::bytea], \
             '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', \
             '{{}}', '{{}}', '{{}}')"
        );
        let called = sqlx::raw_sql(AssertSqlSafe(call)).fetch_all(&mut connection).await;
        // For a while, with the locks held.
        tokio::time::sleep(Duration::from_micros(random.random_range(0..4_000))).await;
        match called {
            Ok(rows) => {
                assert_eq!(rows.len(), 1);
                rolled_back += 1;
            }
            // The killer was here: that rolls back as well, and needs another connection.
            Err(sqlx::Error::Database(error)) => {
                assert_eq!(error.code().as_deref(), Some("57P01"), "{error}");
            }
            Err(_) => (),
        }
        if sqlx::raw_sql("rollback").execute(&mut connection).await.is_err() {
            connection = append.connect().await.unwrap();
        }
    }
    rolled_back
}

/// Ends the connections of writers, now and then, wherever they are.
async fn kill(mut superuser: PgConnection, is_done: Arc<AtomicBool>) -> u32 {
    let mut random = StdRng::from_os_rng();
    let mut kills = 0;
    while !is_done.load(Ordering::SeqCst) && kills < KILLS_MAX {
        let backends: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity \
             where datname = current_database() and usename = $1 and state = 'active'",
        )
        .bind(Role::Append.name())
        .fetch_all(&mut superuser)
        .await
        .unwrap();
        if let Some(backend) = backends.choose(&mut random) {
            sqlx::query("select pg_terminate_backend($1)")
                .bind(backend)
                .execute(&mut superuser)
                .await
                .unwrap();
            kills += 1;
        }
        // At any moment of what the writers do.
        tokio::time::sleep(Duration::from_millis(random.random_range(1..80))).await;
    }
    kills
}

/// Reads on from where it is, without a pause. A gap is an error of `tail` itself.
async fn follow(pool: PgPool, is_done: Arc<AtomicBool>) -> Vec<StoredEvent> {
    let mut followed: Vec<StoredEvent> = Vec::new();
    loop {
        let was_done = is_done.load(Ordering::SeqCst);
        let after = followed.last().map_or(0, |last| last.position);
        let page = read::tail(&pool, after, 100).await.unwrap();
        if page.is_empty() && was_done {
            assert_eq!(read::head(&pool).await.unwrap(), after);
            return followed;
        }
        followed.extend(page);
    }
}

fn check_order(followed: &[StoredEvent]) {
    let mut logs: BTreeMap<(TenantId, LedgerName, String), i64> = BTreeMap::new();
    let mut streams: HashMap<(TenantId, StreamId), i64> = HashMap::new();
    for pair in followed.windows(2) {
        assert!(pair[0].recorded_at <= pair[1].recorded_at);
        assert_eq!(pair[0].position + 1, pair[1].position);
    }
    for event in followed {
        let log = (event.tenant_id.clone(), event.ledger, event.period.clone());
        let next_index = logs.entry(log).or_default();
        assert_eq!(event.ledger_index, *next_index);
        *next_index += 1;
        let version = streams.entry((event.tenant_id.clone(), event.stream.clone())).or_default();
        *version += 1;
        assert_eq!(event.stream_version, *version);
        assert_eq!(event.recompute_leaf_hash(), event.leaf_hash);
    }
}
