use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use backoffice::{
    clock::SystemClock,
    database::Role,
    ledger::relay::{Relay, RelayError, Settings},
    pubsub::Pubsub,
};
use chrono::{DateTime, Utc};
use events::{EventId, Ledger, TenantId};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::support::{
    broker::{Heard, TestBroker},
    database::TestDatabase,
    ledger::TestLedger,
    proxy::Proxy,
    wait,
};

/// Of every event that these tests record.
const METADATA: &str = r#"{"producerInstance":"it","samplingPerMille":1000}"#;

#[tokio::test]
async fn every_committed_event_is_published_once_in_the_order_of_its_key() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let mut activity = broker.listen(&Ledger::Activity.topic()).await;
    let tenants = [tenant(), tenant(), tenant()];
    let relay = Running::start(relay(&database, &broker.pubsub, settings("a")));

    for _ in 0..10 {
        for tenant in &tenants {
            record(&database, tenant, Ledger::Session, 5).await;
            record(&database, tenant, Ledger::Activity, 3).await;
        }
    }

    let sessions = sessions.next(150).await;
    let activity = activity.next(90).await;
    for tenant in &tenants {
        assert_eq!(indexes(&sessions, tenant), (0..50).collect::<Vec<_>>());
        assert_eq!(indexes(&activity, tenant), (0..30).collect::<Vec<_>>());
    }
    let positions: BTreeSet<i64> = sessions.iter().chain(&activity).map(Heard::position).collect();
    assert_eq!(positions, (1..=240).collect());
    wait::until("the cursor arrives", async || cursor(&database).await.position == 240).await;
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_uncommitted_is_ever_published() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let relay = Running::start(relay(&database, &broker.pubsub, settings("a")));
    wait::until("the relay leads", async || cursor(&database).await.owner == "a").await;
    let tenant = tenant();

    let mut abandoned = database.superuser().await;
    sqlx::raw_sql("begin").execute(&mut abandoned).await.unwrap();
    let never = record_on(&mut abandoned, &tenant, Ledger::Session, 3).await;
    // The relay looks many times between two renewals, while the rows are there for nobody but
    // their writer.
    let renewed = lease_until(&database).await;
    wait::until("the relay renews", async || lease_until(&database).await > renewed).await;
    sqlx::raw_sql("rollback").execute(&mut abandoned).await.unwrap();
    let committed = record(&database, &tenant, Ledger::Session, 3).await;

    let heard = sessions.until(|heard| heard.event_id() == committed[2].as_str()).await;
    assert_eq!(ids(&heard), committed);
    assert!(never.iter().all(|id| !ids(&heard).contains(id)));
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn a_relay_killed_before_it_stores_its_position_repeats_and_loses_nothing() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let tenant = tenant();
    let recorded = record(&database, &tenant, Ledger::Session, 40).await;
    let never_saves = Settings { save_interval: Duration::from_hours(1), ..settings("a") };
    let killed = Running::start(relay(&database, &broker.pubsub, never_saves));
    assert_eq!(ids(&sessions.next(40).await), recorded);

    killed.kill().await;
    let more = record(&database, &tenant, Ledger::Session, 10).await;
    let next = Running::start(relay(&database, &broker.connect().await, settings("b")));

    let heard = sessions.until(|heard| heard.event_id() == more[9].as_str()).await;
    assert_eq!(ids(&heard), [recorded, more].concat(), "all again, in order");
    wait::until("the cursor arrives", async || cursor(&database).await.position == 50).await;
    next.stop().await.unwrap();
}

#[tokio::test]
async fn of_two_relays_one_publishes_and_the_other_takes_over() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let tenant = tenant();
    let first = Running::start(relay(&database, &broker.pubsub, settings("a")));
    wait::until("the first leads", async || cursor(&database).await.owner == "a").await;
    let second = Running::start(relay(&database, &broker.connect().await, settings("b")));

    let recorded = record(&database, &tenant, Ledger::Session, 100).await;
    assert_eq!(ids(&sessions.next(100).await), recorded);
    assert_eq!(cursor(&database).await.epoch, 1);
    wait::until("the cursor arrives", async || cursor(&database).await.position == 100).await;

    first.kill().await;
    let more = record(&database, &tenant, Ledger::Session, 10).await;
    assert_eq!(ids(&sessions.next(10).await), more, "once each: nobody published before");
    assert_eq!(cursor(&database).await.owner, "b");
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_was_frozen_cannot_move_the_cursor() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let tenant = tenant();
    let frozen = Frozen::start(relay(&database, &broker.connect().await, settings("a")));
    record(&database, &tenant, Ledger::Session, 5).await;
    wait::until("the first works", async || cursor(&database).await.position == 5).await;
    sessions.next(5).await;
    frozen.freeze();

    let next = Running::start(relay(&database, &broker.pubsub, settings("b")));
    wait::until("the second leads", async || cursor(&database).await.owner == "b").await;
    let more = record(&database, &tenant, Ledger::Session, 5).await;
    assert_eq!(ids(&sessions.next(5).await), more);
    wait::until("the second stores", async || cursor(&database).await.position == 10).await;

    // It wakes, may publish again what it read, stores its position and gives the cursor back: all
    // in vain.
    frozen.thaw_and_stop();
    let Cursor { position, epoch, owner } = cursor(&database).await;
    assert_eq!((position, epoch, owner.as_str()), (10, 2, "b"));
    next.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_key_waits_in_order_while_others_go_on() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::start().await);
    let mut activity = broker.listen(&Ledger::Activity.topic()).await;
    let tenant = tenant();
    let first = Running::start(relay(&database, &broker.pubsub, settings("a")));

    // No topic for sessions: the broker refuses every one of them.
    let mut refused = record(&database, &tenant, Ledger::Session, 150).await;
    let taken = record(&database, &tenant, Ledger::Activity, 20).await;
    assert_eq!(ids(&activity.next(20).await), taken);
    wait::until("the cursor passes", async || cursor(&database).await.position == 170).await;
    assert_eq!(parked(&database).await, [("session".to_owned(), 1)]);
    first.stop().await.unwrap();

    // Nobody relays while the topic comes into being, so that the listener hears everything.
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    refused.extend(record(&database, &tenant, Ledger::Session, 10).await);
    let next = Running::start(relay(&database, &broker.connect().await, settings("b")));

    assert_eq!(ids(&sessions.next(160).await), refused);
    wait::until("the key is free", async || parked(&database).await.is_empty()).await;
    let more = record(&database, &tenant, Ledger::Session, 5).await;
    assert_eq!(ids(&sessions.next(5).await), more);
    next.stop().await.unwrap();
}

#[tokio::test]
async fn an_operator_can_have_a_parked_key_tried_now() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::start().await);
    let tenant = tenant();
    let patient = Settings { retry_min: Duration::from_hours(1), ..settings("a") };
    let relay = relay(&database, &broker.pubsub, patient);
    let running = Running::start(relay.clone());
    let recorded = record(&database, &tenant, Ledger::AlertAck, 5).await;
    wait::until("the key is parked", async || parked(&database).await.len() == 1).await;
    let mut acknowledgments = broker.listen(&Ledger::AlertAck.topic()).await;

    let redriven = relay.redrive().await.unwrap();

    assert_eq!(redriven.requested_keys, 1);
    assert_eq!(ids(&acknowledgments.next(5).await), recorded);
    wait::until("the key is free", async || parked(&database).await.is_empty()).await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_that_cannot_be_published_is_given_up_in_activity_and_kept_waiting_elsewhere() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut activity = broker.listen(&Ledger::Activity.topic()).await;
    let mut locks = broker.listen(&Ledger::LockAudit.topic()).await;
    let mut declared = broker.listen(&Ledger::System.topic()).await;
    let tenant = tenant();
    let hasty = Settings { attempts_max: 2, ..settings("a") };
    let mut acts = record(&database, &tenant, Ledger::Activity, 3).await;
    let mut opened = record(&database, &tenant, Ledger::LockAudit, 3).await;
    spoil(&database, &[&acts[1], &opened[1]]).await;

    let relay = Running::start(relay(&database, &broker.pubsub, hasty));

    let given_up = acts.remove(1);
    assert_eq!(ids(&activity.next(2).await), acts);
    opened.truncate(1);
    assert_eq!(ids(&locks.next(1).await), opened);
    wait::until("the cursor passes", async || cursor(&database).await.position == 6).await;
    wait::until("the lock audit waits", async || {
        parked(&database).await == [("lock-audit".to_owned(), 5)]
    })
    .await;
    assert_eq!(dead_letters(&database).await, std::slice::from_ref(&given_up));
    let declared: Value = serde_json::from_slice(&declared.next(1).await[0].data).unwrap();
    assert_eq!(declared["envelope"]["tenantId"], tenant.as_str());
    assert_eq!(declared["payload"]["eventId"], given_up.as_str());
    assert_eq!(declared["payload"]["topic"], Ledger::Activity.topic());
    relay.stop().await.unwrap();
}

#[tokio::test]
async fn what_follows_an_event_that_cannot_be_published_never_overtakes_it() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::start().await);
    let tenant = tenant();
    // No topic: all of it is parked, and it is more than one retry takes.
    let recorded = record(&database, &tenant, Ledger::LockAudit, 150).await;
    spoil(&database, &[&recorded[120]]).await;
    let first = Running::start(relay(&database, &broker.pubsub, settings("a")));
    wait::until("the cursor passes", async || cursor(&database).await.position == 150).await;
    first.stop().await.unwrap();
    // Nobody relays while the topic comes into being, so that the listener hears everything.
    let mut locks = broker.listen(&Ledger::LockAudit.topic()).await;
    let next = Running::start(relay(&database, &broker.connect().await, settings("b")));
    wait::until("the rest waits behind the spoilt event", async || {
        parked(&database).await == [("lock-audit".to_owned(), 121)]
    })
    .await;

    set_metadata(&database, &[&recorded[120]], METADATA).await;

    assert_eq!(ids(&locks.next(150).await), recorded);
    next.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_broker_parks_nothing_and_moves_nothing() {
    let database = TestDatabase::create().await;
    let nowhere = backoffice::pubsub::Settings {
        endpoint: Some("127.0.0.1:1".to_owned()),
        publish_timeout: Duration::from_millis(300),
        ..backoffice::pubsub::Settings::default()
    };
    let pubsub = Pubsub::connect(&nowhere).await.unwrap();
    record(&database, &tenant(), Ledger::Session, 5).await;

    let ended = Running::start(relay(&database, &pubsub, settings("a"))).ended().await;

    assert!(matches!(ended, Err(RelayError::Unavailable(_))), "{ended:?}");
    assert_eq!(cursor(&database).await.position, 0);
    assert!(parked(&database).await.is_empty());
}

#[tokio::test]
async fn a_relay_whose_database_falls_silent_ends_so_that_it_can_be_started_again() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::start().await);
    let proxy = Proxy::start(database.address()).await;
    let pools = database.pools_through(proxy.address, 1);
    let ledger = TestLedger::start(database.other_pools()).ledger;
    let (pubsub, clock) = (broker.pubsub.clone(), Arc::new(SystemClock));
    let relay = Relay::new(ledger, &pools, pubsub, settings("a"), clock);
    proxy.hold_the_answer_to(b"relay_cursor");

    let ended = timeout(Duration::from_secs(20), Running::start(relay).ended()).await;

    let ended = ended.expect("it ends");
    assert!(matches!(ended, Err(RelayError::Timeout)), "{ended:?}");
}

#[tokio::test]
async fn a_consumer_can_hash_what_it_gets() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let mut sessions = broker.listen(&Ledger::Session.topic()).await;
    let tenant = tenant();
    let recorded = record(&database, &tenant, Ledger::Session, 1).await;
    let relay = Running::start(relay(&database, &broker.pubsub, settings("a")));

    let heard = sessions.next(1).await.remove(0);

    let (body, leaf): (Vec<u8>, String) =
        sqlx::query_as("select body, encode(leaf_hash, 'hex') from event")
            .fetch_one(&mut database.superuser().await)
            .await
            .unwrap();
    let raw: BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(&heard.data).unwrap();
    assert_eq!(Sha256::digest(raw["payload"].get()), Sha256::digest(&body));
    let message: events::envelope::Message = serde_json::from_slice(&heard.data).unwrap();
    assert_eq!(message.envelope.leaf_hash, leaf);
    assert_eq!(message.envelope.event_id, recorded[0]);
    assert_eq!(message.envelope.tenant_id, tenant);
    assert_eq!(heard.attributes["ce-id"], recorded[0].as_str());
    assert_eq!(heard.attributes["ce-type"], message.envelope.subject);
    relay.stop().await.unwrap();
}

/// A relay at work, until it is stopped or killed.
struct Running {
    tasks: JoinSet<Result<(), RelayError>>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(relay: Relay) -> Self {
        let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
        let token = shutdown.clone();
        tasks.spawn(async move { relay.run(&token).await });
        Self { tasks, shutdown }
    }

    async fn stop(self) -> Result<(), RelayError> {
        self.shutdown.cancel();
        self.ended().await
    }

    async fn ended(mut self) -> Result<(), RelayError> {
        self.tasks.join_next().await.unwrap().unwrap()
    }

    /// Between two instructions: nothing is stored, nothing given back.
    async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

/// A relay in a runtime of its own that can be made to stand still, as a process does that gets no
/// time.
struct Frozen {
    thread: std::thread::JoinHandle<()>,
    freeze: tokio::sync::mpsc::UnboundedSender<std::sync::mpsc::Receiver<()>>,
    thaw: std::sync::mpsc::Sender<()>,
    gate: std::cell::RefCell<Option<std::sync::mpsc::Receiver<()>>>,
    shutdown: CancellationToken,
}

impl Frozen {
    fn start(relay: Relay) -> Self {
        let (freeze, mut gates) = tokio::sync::mpsc::unbounded_channel();
        let (thaw, gate) = std::sync::mpsc::channel();
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                tasks.spawn(async move {
                    let gate: Option<std::sync::mpsc::Receiver<()>> = gates.recv().await;
                    // Blocks the only thread of the runtime.
                    gate.map(|gate| gate.recv());
                });
                // Overtaken, or out of time with a transaction that stood still: either way it is
                // over.
                drop(relay.run(&token).await);
            });
        });
        Self { thread, freeze, thaw, gate: Some(gate).into(), shutdown }
    }

    fn freeze(&self) {
        self.freeze.send(self.gate.take().unwrap()).unwrap();
    }

    fn thaw_and_stop(self) {
        self.shutdown.cancel();
        self.thaw.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn settings(instance: &str) -> Settings {
    Settings {
        instance: instance.to_owned(),
        lease: Duration::from_millis(1_500),
        acquire_interval: Duration::from_millis(50),
        poll_interval: Duration::from_millis(20),
        save_interval: Duration::from_millis(50),
        retry_min: Duration::from_millis(50),
        retry_max: Duration::from_millis(200),
        ..Settings::default()
    }
}

fn relay(database: &TestDatabase, pubsub: &Pubsub, settings: Settings) -> Relay {
    let pools = database.other_pools();
    let ledger = TestLedger::start(database.other_pools()).ledger;
    Relay::new(ledger, &pools, pubsub.clone(), settings, Arc::new(SystemClock))
}

fn tenant() -> TenantId {
    format!("tnt_{}", Ulid::generate()).parse().unwrap()
}

fn ids(heard: &[Heard]) -> Vec<EventId> {
    heard.iter().map(|heard| heard.event_id().parse().unwrap()).collect()
}

fn indexes(heard: &[Heard], tenant: &TenantId) -> Vec<i64> {
    heard
        .iter()
        .filter(|heard| heard.tenant() == tenant.as_str())
        .map(Heard::ledger_index)
        .collect()
}

async fn record(
    database: &TestDatabase,
    tenant: &TenantId,
    ledger: Ledger,
    count: usize,
) -> Vec<EventId> {
    record_on(&mut database.superuser().await, tenant, ledger, count).await
}

/// Puts events into the ledger as an append does, heads included.
async fn record_on(
    db: &mut PgConnection,
    tenant: &TenantId,
    ledger: Ledger,
    count: usize,
) -> Vec<EventId> {
    let ids: Vec<EventId> = (0..count).map(|_| EventId::new(Ulid::generate())).collect();
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let month = matches!(ledger, Ledger::Activity | Ledger::AlertAck);
    sqlx::query(
        r#"
        with head as (
            update ledger_head
            set position = position + cardinality($1)
            where shard = 0
            returning position - cardinality($1) as base
        ),
        log as (
            insert into log_head as l (tenant_id, ledger, period, size)
            values ($2, $3, to_char(now() at time zone 'UTC', $4), cardinality($1))
            on conflict (tenant_id, ledger, period) do update set size = l.size + excluded.size
            returning period, size - cardinality($1) as base
        )
        insert into event
            (tenant_id, ledger, period, ledger_index, shard, position, stream, stream_version,
            event_id, kind, schema_version, body, metadata, occurred_at, recorded_at, leaf_hash)
        select $2, $3, log.period, log.base + u.nth - 1, 0, head.base + u.nth,
            replace(u.event_id, 'evt_', 'bos_'), 1, u.event_id,
            'melmastoon.bff.backoffice.session.force_logged_out.v1', 1,
            convert_to('{"at":"2026-11-21T10:00:00Z","weight":1.50,"z":{"b":1,"a":2}}', 'UTF8'),
            convert_to($5, 'UTF8'),
            now(), clock_timestamp(), sha256(convert_to(u.event_id, 'UTF8'))
        from head, log, unnest($1) with ordinality as u (event_id, nth)
        "#,
    )
    .bind(&texts)
    .bind(tenant.as_str())
    .bind(ledger.name())
    .bind(if month { "YYYY-MM" } else { "YYYY" })
    .bind(METADATA)
    .execute(db)
    .await
    .unwrap();
    ids
}

/// Makes stored events such that no envelope can be made of them.
async fn spoil(database: &TestDatabase, ids: &[&EventId]) {
    set_metadata(database, ids, "spoilt").await;
}

async fn set_metadata(database: &TestDatabase, ids: &[&EventId], metadata: &str) {
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let mut superuser = database.superuser().await;
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut superuser).await.unwrap();
    sqlx::query("update event set metadata = $2 where event_id = any ($1)")
        .bind(ids)
        .bind(metadata.as_bytes())
        .execute(&mut superuser)
        .await
        .unwrap();
}

#[derive(Debug, sqlx::FromRow)]
struct Cursor {
    position: i64,
    epoch: i64,
    owner: String,
}

async fn cursor(database: &TestDatabase) -> Cursor {
    sqlx::query_as("select position, epoch, coalesce(owner, '') as owner from relay_cursor")
        .fetch_one(&mut database.connect_as(Role::Relay).await)
        .await
        .unwrap()
}

/// Ledger and position of what waits.
async fn parked(database: &TestDatabase) -> Vec<(String, i64)> {
    sqlx::query_as("select ledger, from_position from relay_parked order by ledger")
        .fetch_all(&mut database.connect_as(Role::Relay).await)
        .await
        .unwrap()
}

async fn dead_letters(database: &TestDatabase) -> Vec<EventId> {
    let ids: Vec<String> =
        sqlx::query_scalar("select event_id from relay_dead_letter order by position")
            .fetch_all(&mut database.connect_as(Role::Relay).await)
            .await
            .unwrap();
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

/// Moves on while the relay is alive.
async fn lease_until(database: &TestDatabase) -> DateTime<Utc> {
    sqlx::query_scalar("select lease_until from relay_cursor where lease_until > now()")
        .fetch_one(&mut database.connect_as(Role::Relay).await)
        .await
        .unwrap()
}
