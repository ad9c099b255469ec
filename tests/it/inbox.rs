use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backoffice::{
    app::supervise::supervise,
    clock::{Clock, SystemClock},
    database::Role,
    inbox::{
        dead_letter::{self, Replayed},
        intake::{Intake, IntakeError, Settings, Taken},
        read,
        revocation::{self, Feed, Revocation, RevokedSubject},
    },
    pubsub::{Delivery, IAM_EVENTS, Subscription, subscription_of},
};
use chrono::{DateTime, Utc};
use events::TenantId;
use futures::FutureExt;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use ulid::Ulid;

use crate::support::{broker::TestBroker, database::TestDatabase, wait};

const NOTIFICATIONS: &str = "melmastoon.notification.events";
const LOCKS: &str = "melmastoon.lock.events";

#[tokio::test]
async fn an_event_published_many_times_is_stored_once() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let intake = Running::start(intake(&database, &broker));
    let tenant = tenant();

    for _ in 0..3 {
        for event in 0..19 {
            broker.publish(NOTIFICATIONS, "k", resolved(&tenant, &format!("e{event}"))).await;
        }
    }
    broker.publish(NOTIFICATIONS, "k", resolved(&tenant, "last")).await;

    let mut head = intake.intake.head();
    head.wait_for(|head| *head == 20).await.unwrap();
    intake.stop().await.unwrap();
    assert_all_acknowledged(&broker, NOTIFICATIONS, "k").await;
    let stored = read::tail(database.pools().project(), 0, 100).await.unwrap();
    assert_eq!(stored.len(), 20);
    assert!(
        stored.iter().all(|event| event.tenant_id == tenant && event.producer == "notification")
    );
    let positions: Vec<i64> = stored.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=20).collect::<Vec<_>>());
    assert_eq!(stored[0].subject, "melmastoon.notification.alert.resolved.v1");
    assert_eq!(stored[0].payload["alertId"], "a1");
}

#[tokio::test]
async fn a_message_stored_and_not_acknowledged_comes_again_and_is_stored_once() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let intake = intake(&database, &broker);
    broker.publish(NOTIFICATIONS, "k", resolved(&tenant(), "e1")).await;
    broker.publish(NOTIFICATIONS, "k", b"garbage".to_vec()).await;
    let mut crashed = broker.pubsub.subscribe(&subscription_of(NOTIFICATIONS));
    let batch = vec![delivery(&mut crashed).await, delivery(&mut crashed).await];
    let first = intake.store(NOTIFICATIONS, &batch).await.unwrap();
    assert_eq!(first, Taken { stored: 1, dead_lettered: 1, ..Taken::default() });

    // The process dies here: committed, not acknowledged.
    drop((batch, crashed));

    let mut again = broker.pubsub.subscribe(&subscription_of(NOTIFICATIONS));
    let batch = vec![delivery(&mut again).await, delivery(&mut again).await];
    let second = intake.take(NOTIFICATIONS, batch).await.unwrap();
    assert_eq!((second.stored, second.duplicate), (0, 1));
    assert_eq!(read::tail(database.pools().project(), 0, 100).await.unwrap().len(), 1);
    assert_eq!(reasons(&database).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_acknowledged_and_holds_nobody_up() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let intake = Running::start(intake(&database, &broker));
    let tenant = tenant();
    let nul = json!({"eventId": "e2", "subject": "melmastoon.notification.alert.resolved.v1",
        "tenantId": tenant, "occurredAt": now(),
        "payload": {"alertId": "a1", "propertyId": "p1", "by": "a\0b", "at": now()}});

    broker.publish(NOTIFICATIONS, "k", b"\xff garbage \0".to_vec()).await;
    broker.publish(NOTIFICATIONS, "k", nul.to_string()).await;
    broker.publish(NOTIFICATIONS, "k", event("tnt_nobody", "e3", &json!({}))).await;
    broker.publish(NOTIFICATIONS, "k", resolved(&tenant, "e4")).await;

    let mut head = intake.intake.head();
    head.wait_for(|head| *head >= 1).await.unwrap();
    intake.stop().await.unwrap();
    assert_all_acknowledged(&broker, NOTIFICATIONS, "k").await;
    let system = TenantId::system().to_string();
    let reasons = reasons(&database).await;
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.contains(&(system.clone(), "not JSON: Syntax error at line 1".to_owned())));
    assert!(reasons.contains(&(system, "the envelope has no usable tenant id".to_owned())));
    assert!(reasons.iter().any(|(of, reason)| of == tenant.as_str() && reason.contains("NUL")));
    assert_eq!(read::tail(database.pools().project(), 0, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_value_that_no_index_takes_is_set_aside_and_holds_nobody_up() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let intake = intake(&database, &broker);
    let tenant = tenant();
    let issued = |id: &str, key: &str| {
        json!({"id": id, "type": "melmastoon.lock.credential.issued.v1", "tenantId": tenant,
            "time": now(), "data": {"idempotencyKey": key}})
        .to_string()
    };
    let long: String = (0..400).map(|_| Ulid::generate().to_string()).collect();
    broker.publish(LOCKS, "k", issued("e1", &long)).await;
    broker.publish(LOCKS, "k", issued("e2", "key")).await;

    let mut subscription = broker.pubsub.subscribe(&subscription_of(LOCKS));
    let batch = vec![delivery(&mut subscription).await, delivery(&mut subscription).await];
    let taken = intake.take(LOCKS, batch).await.unwrap();

    assert_eq!(taken, Taken { stored: 1, dead_lettered: 1, ..Taken::default() });
    let stored = read::tail(database.pools().project(), 0, 10).await.unwrap();
    assert_eq!(stored[0].event_id, "e2");
    let refused = (tenant.to_string(), "the database refuses a value".to_owned());
    assert_eq!(reasons(&database).await, [refused]);
}

#[tokio::test]
async fn dead_letters_are_taken_in_once_they_can_be_read() {
    let database = TestDatabase::create().await;
    let tenant = tenant();
    let letter = |message_id: &str, raw: Vec<u8>| dead_letter::DeadLetter {
        tenant_id: tenant.clone(),
        topic: NOTIFICATIONS.to_owned(),
        message_id: message_id.to_owned(),
        reason: "an adapter that was wrong".to_owned(),
        attributes: [("a".to_owned(), "b\0".to_owned())].into(),
        raw,
    };
    let mut db = database.connect_as(Role::Intake).await;
    let readable = letter("1", resolved(&tenant, "e1").into_bytes());
    dead_letter::insert(&mut db, &readable, now()).await.unwrap();
    dead_letter::insert(&mut db, &letter("2", b"garbage".to_vec()), now()).await.unwrap();

    let pools = database.pools();
    let listed = dead_letter::list(pools.intake(), None).await.unwrap();
    let subjects: Vec<Option<&str>> = listed.iter().map(|it| it.subject.as_deref()).collect();
    assert_eq!(subjects, [Some("melmastoon.notification.alert.resolved.v1"), None]);
    let replay = async || {
        let mut told = Vec::new();
        dead_letter::replay_all(pools.intake(), now(), |id, replayed| {
            told.push((id.message_id.clone(), replayed.clone()));
        })
        .await
        .unwrap();
        told
    };
    let garbage = Replayed::Unreadable("not JSON: Syntax error at line 1".to_owned());
    let unreadable = ("2".to_owned(), garbage.clone());

    assert_eq!(replay().await, [("1".to_owned(), Replayed::Read), unreadable.clone()]);
    assert_eq!(replay().await, [unreadable]);
    let [readable, other] = [&listed[0].id, &listed[1].id];
    assert_eq!(dead_letter::replay(pools.intake(), readable, now()).await.unwrap(), None);
    assert_eq!(dead_letter::replay(pools.intake(), other, now()).await.unwrap(), Some(garbage));
    assert_eq!(readable.to_string().parse(), Ok(readable.clone()));
    assert_eq!(read::tail(pools.project(), 0, 100).await.unwrap()[0].event_id, "e1");
}

#[tokio::test]
async fn events_nobody_reads_are_acknowledged_and_not_kept() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let intake = intake(&database, &broker);
    let quiet = json!({"eventId": "e1", "subject": "melmastoon.notification.email.sent.v1"});
    broker.publish(NOTIFICATIONS, "k", quiet.to_string()).await;

    let mut subscription = broker.pubsub.subscribe(&subscription_of(NOTIFICATIONS));
    let batch = vec![delivery(&mut subscription).await];
    let taken = intake.take(NOTIFICATIONS, batch).await.unwrap();

    assert_eq!(taken, Taken { ignored: 1, ..Taken::default() });
    assert_eq!(reasons(&database).await, []);
    assert_eq!(read::tail(database.pools().project(), 0, 100).await.unwrap(), []);
}

#[tokio::test]
async fn two_intakes_at_once_leave_no_gap_and_no_repeat() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    let small = Settings { batch_max: 7, ..Settings::default() };
    let start = || {
        let pool = database.other_pools().intake().clone();
        let clock = Arc::new(SystemClock);
        Running::start(Intake::new(pool, broker.pubsub.clone(), small.clone(), clock))
    };
    let running = [start(), start()];
    let tenants = [tenant(), tenant()];

    let mut publishing = JoinSet::new();
    for key in 0..6 {
        let (publisher, tenants) = (broker.pubsub.clone(), tenants.clone());
        publishing.spawn(async move {
            let publisher = publisher.publisher(NOTIFICATIONS);
            let messages = (0..50).flat_map(|event| {
                // Each twice, and each id at both tenants.
                let id = format!("e{key}-{event}");
                [resolved(&tenants[0], &id), resolved(&tenants[1], &id), resolved(&tenants[0], &id)]
            });
            let sent = messages.map(|data| {
                publisher.publish(backoffice::pubsub::Outbound {
                    ordering_key: format!("k{key}"),
                    attributes: [].into(),
                    data: data.into(),
                })
            });
            for answer in futures::future::join_all(sent).await {
                answer.unwrap();
            }
        });
    }
    publishing.join_all().await;

    let pools = database.pools();
    wait::until("all is stored", async || {
        read::tail(pools.project(), 599, 1).await.unwrap().len() == 1
    })
    .await;
    // The reader itself refuses a gap.
    assert_eq!(read::tail(pools.project(), 0, 10_000).await.unwrap().len(), 600);
    for intake in running {
        intake.stop().await.unwrap();
    }
}

#[tokio::test]
async fn an_intake_without_its_database_acknowledges_nothing() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::with_topology().await);
    broker.publish(NOTIFICATIONS, "k", resolved(&tenant(), "e1")).await;
    let closed = database.other_pools();
    closed.close().await;
    let clock = Arc::new(SystemClock);
    let pool = closed.intake().clone();
    let unable = Intake::new(pool, broker.pubsub.clone(), Settings::default(), clock);

    let ended = Running::start(unable).ended().await;

    assert!(matches!(ended, Err(IntakeError::Database(_))), "{ended:?}");
    let mended = Running::start(intake(&database, &broker));
    mended.intake.head().wait_for(|head| *head == 1).await.unwrap();
    mended.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_cannot_be_read_stops_no_other() {
    let (database, broker) = (TestDatabase::create().await, TestBroker::start().await);
    // None of the other topics has a subscription.
    let subscription = subscription_of(NOTIFICATIONS);
    broker.pubsub.ensure_topic(NOTIFICATIONS).await.unwrap();
    broker.pubsub.ensure_subscription(NOTIFICATIONS, &subscription, None).await.unwrap();
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let intake = intake(&database, &broker);
    for of_topic in intake.by_topic() {
        supervise("intake", &tracker, &shutdown, move |shutdown| {
            let of_topic = of_topic.clone();
            async move { of_topic.run(&shutdown).await }
        });
    }
    let (tenant, mut head) = (tenant(), intake.head());

    for event in 1..=20 {
        broker.publish(NOTIFICATIONS, "k", resolved(&tenant, &format!("e{event}"))).await;
        timeout(Duration::from_secs(5), head.wait_for(|head| *head == event))
            .await
            .unwrap()
            .unwrap();
    }

    shutdown.cancel();
    tracker.close();
    timeout(Duration::from_secs(20), tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn a_revocation_is_acknowledged_only_when_it_is_written() {
    let broker = TestBroker::with_topology().await;
    let written: Arc<Mutex<Vec<Revocation>>> = Arc::default();
    let tries: Arc<Mutex<u32>> = Arc::default();
    let (log, count) = (written.clone(), tries.clone());
    let sink = move |revocation: Revocation| {
        let (log, count) = (log.clone(), count.clone());
        async move {
            *count.lock().unwrap() += 1;
            anyhow::ensure!(*count.lock().unwrap() > 1, "the session tier is away");
            log.lock().unwrap().push(revocation);
            Ok(())
        }
        .boxed()
    };
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let (pubsub, token) = (broker.pubsub.clone(), shutdown.clone());
    let feed = Feed::new(Arc::new(SystemClock));
    let own = feed.clone();
    tasks.spawn(async move { revocation::run(&pubsub, sink, &own, &token).await });
    let tenant = tenant();
    wait::until("the feed is current", async || feed.lag() < Duration::from_secs(5)).await;

    broker
        .publish(
            IAM_EVENTS,
            "ses_1",
            iam(
                &tenant,
                "session.revoked",
                &json!({
        "sessionId": "ses_1", "userId": "usr_1", "reason": "admin", "revokedAt": now()}),
            ),
        )
        .await;
    wait::until("it is written", async || written.lock().unwrap().len() == 1).await;
    broker
        .publish(
            IAM_EVENTS,
            "usr_1",
            iam(
                &tenant,
                "user.locked",
                &json!({
        "userId": "usr_1", "at": now()}),
            ),
        )
        .await;
    broker.publish(IAM_EVENTS, "k", b"garbage".to_vec()).await;
    broker
        .publish(
            IAM_EVENTS,
            "dev_1",
            iam(
                &tenant,
                "device.revoked",
                &json!({
        "deviceId": "dev_1", "at": now()}),
            ),
        )
        .await;
    wait::until("all are written", async || written.lock().unwrap().len() == 3).await;

    shutdown.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    let written = written.lock().unwrap();
    let subjects: Vec<&RevokedSubject> = written.iter().map(|one| &one.subject).collect();
    assert_eq!(*subjects[0], RevokedSubject::Session("ses_1".to_owned()));
    assert!(subjects.contains(&&RevokedSubject::Operator("usr_1".parse().unwrap())));
    assert!(subjects.contains(&&RevokedSubject::Device("dev_1".parse().unwrap())));
    assert_eq!((written[0].reason.as_str(), &written[0].tenant_id), ("admin", &tenant));
    assert_eq!(*tries.lock().unwrap(), 4, "the first was tried twice");
}

/// An intake at work.
struct Running {
    intake: Intake,
    tasks: JoinSet<Result<(), IntakeError>>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(intake: Intake) -> Self {
        let (mut tasks, shutdown) = (JoinSet::new(), CancellationToken::new());
        let (worker, token) = (intake.clone(), shutdown.clone());
        tasks.spawn(async move { worker.run(&token).await });
        Self { intake, tasks, shutdown }
    }

    async fn stop(self) -> Result<(), IntakeError> {
        self.shutdown.cancel();
        self.ended().await
    }

    async fn ended(mut self) -> Result<(), IntakeError> {
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

fn intake(database: &TestDatabase, broker: &TestBroker) -> Intake {
    let pool = database.pools().intake().clone();
    Intake::new(pool, broker.pubsub.clone(), Settings::default(), Arc::new(SystemClock))
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}

fn tenant() -> TenantId {
    format!("tnt_{}", Ulid::generate()).parse().unwrap()
}

fn resolved(tenant: &TenantId, event_id: &str) -> String {
    let payload = json!({"alertId": "a1", "propertyId": "p1", "at": now()});
    event(tenant.as_str(), event_id, &payload)
}

fn event(tenant: &str, event_id: &str, payload: &Value) -> String {
    json!({"eventId": event_id, "subject": "melmastoon.notification.alert.resolved.v1",
        "tenantId": tenant, "occurredAt": now(), "payload": payload,
        "producedBy": {"service": "notification-service"}})
    .to_string()
}

fn iam(tenant: &TenantId, subject: &str, payload: &Value) -> String {
    json!({"eventId": Ulid::generate().to_string(),
        "subject": format!("melmastoon.iam.{subject}.v1"), "tenantId": tenant, "occurredAt": now(), "payload": payload})
    .to_string()
}

async fn delivery(subscription: &mut Subscription) -> Delivery {
    let next = timeout(Duration::from_secs(20), subscription.next()).await;
    next.expect("a message comes in time").unwrap().unwrap()
}

/// Fails unless every earlier message of the ordering key is acknowledged: one that is not would
/// come before the next.
async fn assert_all_acknowledged(broker: &TestBroker, topic: &str, ordering_key: &str) {
    broker.publish(topic, ordering_key, "the next").await;
    let mut subscription = broker.pubsub.subscribe(&subscription_of(topic));
    let next = delivery(&mut subscription).await;
    assert_eq!(next.data, "the next");
    next.ack();
    subscription.close().await;
}

/// Tenant and reason of each dead letter.
async fn reasons(database: &TestDatabase) -> Vec<(String, String)> {
    sqlx::query_as("select tenant_id, reason from inbox_dead_letter")
        .fetch_all(&mut database.connect_as(Role::Intake).await)
        .await
        .unwrap()
}
