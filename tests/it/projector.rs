use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backoffice::{
    clock::SystemClock,
    live::{CursorKeys, Hub, LiveItem, Subscriber, Subscription},
    projector::{
        self, Advance, BuildError, Builder, Lane, ProjectorError, Settings, Stores,
        rebuild::{self, Built},
    },
    views::{Building, View, view},
};
use events::TenantId;
use futures::{StreamExt, future::join_all};
use projections::{AlertInbox, Channel, Log, alert_inbox::Alert};
use sqlx::Connection;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{
    database::TestDatabase,
    facts::{at, commit_acknowledged, commit_raised, property, tenant},
    proxy::Proxy,
    redis::RedisServer,
    wait,
};

#[tokio::test]
async fn committed_facts_of_both_logs_show_in_the_view_and_in_live_streams() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let mut desktop = bench.subscribe(&tenant).await;
    assert!(bench.view(&tenant).await.is_empty());
    bench.raise(&tenant, &["a1", "a2"]).await;
    bench.acknowledge(&tenant, "a1").await;

    bench.fold_all().await;

    let alerts = bench.view(&tenant).await;
    assert_eq!(states(&alerts), [("a1", true, true), ("a2", true, false)]);
    let mut heard = Vec::new();
    for _ in 0..3 {
        let item = timeout(Duration::from_secs(20), desktop.next()).await.unwrap();
        let Some(LiveItem::Event(delivery)) = item else { panic!("{item:?}") };
        let data: serde_json::Value = serde_json::from_slice(&delivery.data).unwrap();
        heard.push(format!("{} {}", data["kind"].as_str().unwrap(), data["id"].as_str().unwrap()));
    }
    heard.sort();
    assert_eq!(heard, ["alert.acknowledged a1", "alert.raised a1", "alert.raised a2"]);
}

#[tokio::test]
async fn a_view_that_went_missing_is_built_from_the_logs_and_goes_on() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.raise(&tenant, &["a1"]).await;
    bench.fold_all().await;
    assert_eq!(bench.view(&tenant).await.len(), 1);

    bench.cache.command(&["FLUSHALL"]).await;
    bench.acknowledge(&tenant, "a1").await;
    bench.fold_all().await;
    assert!(bench.stored(&tenant).await.is_none(), "folding never creates a view");

    assert_eq!(states(&bench.view(&tenant).await), [("a1", true, true)]);
    bench.raise(&tenant, &["a2"]).await;
    bench.fold_all().await;
    assert_eq!(bench.stored(&tenant).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_property_nobody_spoke_of_has_an_empty_view() {
    let (bench, tenant) = (Bench::start().await, tenant());

    assert!(bench.view(&tenant).await.is_empty());

    assert_eq!(bench.stored(&tenant).await, Some(Vec::new()));
}

#[tokio::test]
async fn facts_that_arrive_while_a_view_is_built_again_and_again_are_neither_lost_nor_doubled() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let (mut ledger, mut inbox) = (bench.lane(Log::Ledger), bench.lane(Log::Inbox));
    let folding = CancellationToken::new();
    let lanes = async {
        while !folding.is_cancelled() {
            ledger.advance().await.unwrap();
            inbox.advance().await.unwrap();
        }
    };
    let facts = async {
        let mut db = bench.database.superuser().await;
        for n in 0..120 {
            let alert = format!("a{n:03}");
            commit_raised(&bench.stores.pools, &tenant, "p1", &[&alert]).await;
            commit_acknowledged(&mut db, &tenant, "p1", &alert).await;
        }
    };
    let forgetting = async {
        for _ in 0..40 {
            view::forget::<AlertInbox>(&bench.stores.cache, &tenant, &property("p1"))
                .await
                .unwrap();
            bench.view(&tenant).await;
            rebuild::view::<AlertInbox>(&bench.stores, &tenant, &property("p1"), |_| ())
                .await
                .unwrap();
        }
    };
    let all = async {
        tokio::join!(facts, forgetting);
        folding.cancel();
    };

    tokio::join!(lanes, all);
    Bench::fold_all_with(&mut ledger, &mut inbox).await;

    let alerts = bench.stored(&tenant).await.unwrap();
    assert_eq!(alerts.len(), 120);
    assert!(states(&alerts).iter().all(|(_, raised, acknowledged)| *raised && *acknowledged));
}

#[tokio::test]
async fn while_another_builds_a_reader_waits_and_then_has_the_view() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.raise(&tenant, &["a1"]).await;
    let mut connection = bench.stores.cache.shared();
    let view = View::<AlertInbox>::of(&bench.stores.cache, &tenant, &property("p1"));
    let building = Building::try_start(&mut connection, view).await.unwrap().unwrap();

    let impatient = Builder::new(bench.stores.clone(), TaskTracker::new(), Duration::ZERO);
    let refused = impatient.ensure_view::<AlertInbox>(&tenant, &property("p1")).await;
    assert!(matches!(refused, Err(BuildError::NotYet)));
    let (alerts, ()) = tokio::join!(bench.view(&tenant), async {
        building.abandon(&mut connection).await.unwrap();
    });

    assert_eq!(alerts.len(), 1);
}

#[tokio::test]
async fn readers_at_once_on_two_instances_all_have_the_view() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.raise(&tenant, &["a1", "a2"]).await;
    let other = Builder::new(bench.stores.clone(), TaskTracker::new(), Duration::from_secs(10));

    let found = join_all((0..20).map(|n| {
        let builder = if n % 2 == 0 { &bench.builder } else { &other };
        let tenant = &tenant;
        async move { builder.ensure_view::<AlertInbox>(tenant, &property("p1")).await.unwrap() }
    }))
    .await;

    assert!(found.iter().all(|alerts| alerts.len() == 2));
}

#[tokio::test]
async fn readers_who_gave_up_leave_no_queue_of_builds_behind() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let tracker = TaskTracker::new();
    let patience = Duration::from_millis(50);
    let builder = Builder::new(bench.stores.clone(), tracker.clone(), patience);
    // No build gets on while nobody can read the logs.
    let mut superuser = bench.database.superuser().await;
    let mut held = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table event, inbox_event in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();

    for number in 0..12 {
        let property = property(&format!("p{number}"));
        let refused = builder.ensure_view::<AlertInbox>(&tenant, &property).await;
        assert!(matches!(refused, Err(BuildError::NotYet)));
    }
    let left = tracker.len();
    held.rollback().await.unwrap();
    tracker.close();
    timeout(Duration::from_secs(20), tracker.wait()).await.unwrap();

    assert!((1..=4).contains(&left), "{left} builds");
}

#[tokio::test]
async fn a_build_that_an_eviction_cost_its_place_starts_over() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.raise(&tenant, &["a1"]).await;
    bench.view(&tenant).await;
    // A standing view that is said to be further keeps the build waiting beside it.
    let view = View::<AlertInbox>::of(&bench.stores.cache, &tenant, &property("p1"));
    let standing = view.key().as_str();
    bench.cache.command(&["HSET", standing, "@inbox", "1000"]).await;
    let evicting = wait::until("a build is under way", async || {
        let keys = bench.cache.keys().await;
        let is_build = |key: &&String| key.contains(":view-build:") && !key.ends_with(":p1");
        let Some(build) = keys.iter().find(is_build) else { return false };
        bench.cache.command(&["DEL", build, standing]).await;
        true
    });

    let property = property("p1");
    let building = rebuild::view::<AlertInbox>(&bench.stores, &tenant, &property, |_| ());
    let (built, ()) = tokio::join!(building, evicting);

    assert_eq!(built.unwrap(), Built::Done { rows: 1 });
    assert_eq!(bench.stored(&tenant).await.unwrap().len(), 1);
}

#[tokio::test]
async fn without_the_cache_tier_a_reader_still_has_its_alerts() {
    let (mut bench, tenant) = (Bench::start().await, tenant());
    bench.raise(&tenant, &["a1"]).await;
    bench.cache.kill();

    assert_eq!(states(&bench.view(&tenant).await), [("a1", true, false)]);
}

#[tokio::test]
async fn one_instance_folds_and_another_takes_over_when_it_leaves() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let (mut one, mut other) = (bench.lane(Log::Inbox), bench.lane(Log::Inbox));
    assert_eq!(one.advance().await.unwrap(), Advance::Idle);
    assert_eq!(other.advance().await.unwrap(), Advance::Standby);

    bench.raise(&tenant, &["a1"]).await;
    assert_eq!(other.advance().await.unwrap(), Advance::Standby);
    assert_eq!(one.advance().await.unwrap(), Advance::Folded(1));
    one.release().await.unwrap();

    bench.raise(&tenant, &["a2"]).await;
    assert_eq!(other.advance().await.unwrap(), Advance::Folded(1));
    assert_eq!(bench.folded(Log::Inbox).await, 2);
}

#[tokio::test]
async fn an_instance_that_lost_its_lease_moves_no_cursor() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let (mut frozen, mut successor) = (bench.lane(Log::Inbox), bench.lane(Log::Inbox));
    assert_eq!(frozen.advance().await.unwrap(), Advance::Idle);
    bench.expire_lease(Log::Inbox).await;
    assert_eq!(successor.advance().await.unwrap(), Advance::Idle);

    bench.raise(&tenant, &["a1"]).await;
    assert_eq!(frozen.advance().await.unwrap(), Advance::Standby);

    assert_eq!(bench.folded(Log::Inbox).await, 0);
    assert_eq!(successor.advance().await.unwrap(), Advance::Folded(1));
    assert_eq!(bench.folded(Log::Inbox).await, 1);
}

#[tokio::test]
async fn a_lane_whose_database_falls_silent_ends_so_that_it_can_be_started_again() {
    let bench = Bench::start().await;
    let proxy = Proxy::start(bench.database.address()).await;
    let pools = bench.database.pools_through(proxy.address, 1);
    let stores = Stores { pools, ..bench.stores.clone() };
    let settings = Settings { lease: Duration::from_millis(500), ..Bench::settings() };
    let (_, ledger) = watch::channel(0);
    let (_, inbox) = watch::channel(0);
    proxy.hold_the_answer_to(b"projector_cursor");

    let shutdown = CancellationToken::new();
    let running = projector::run(&stores, &settings, [ledger, inbox], &shutdown);
    let ended = timeout(Duration::from_secs(20), running).await.expect("it ends");

    assert!(matches!(ended, Err(ProjectorError::Timeout)), "{ended:?}");
}

#[tokio::test]
async fn the_cursor_waits_for_redis_and_folding_goes_on_from_it() {
    let (mut bench, tenant) = (Bench::start().await, tenant());
    let mut lane = bench.lane(Log::Inbox);
    bench.view(&tenant).await;
    bench.raise(&tenant, &["a1"]).await;
    assert_eq!(lane.advance().await.unwrap(), Advance::Folded(1));

    for lost in [true, false] {
        let server = if lost { &mut bench.cache } else { &mut bench.session };
        server.kill();
        bench.raise(&tenant, &["a2"]).await;
        let before = bench.folded(Log::Inbox).await;
        assert!(lane.advance().await.is_err());
        assert!(lane.advance().await.is_err());
        assert_eq!(bench.folded(Log::Inbox).await, before);

        let server = if lost { &mut bench.cache } else { &mut bench.session };
        server.start_again().await;
        wait::until("folding goes on", async || lane.advance().await.is_ok()).await;
        assert_eq!(bench.folded(Log::Inbox).await, before + 1);
    }

    wait::until("the shared connection is back", async || bench.try_stored(&tenant).await).await;
    assert_eq!(states(&bench.view(&tenant).await), [("a1", true, false), ("a2", true, false)]);
}

#[tokio::test]
async fn a_rebuild_of_all_views_says_how_far_it_is_and_builds_every_one() {
    let (bench, one, other) = (Bench::start().await, tenant(), tenant());
    bench.raise(&one, &["a1", "a2"]).await;
    bench.acknowledge(&one, "a1").await;
    bench.raise(&other, &["a1"]).await;
    commit_raised(&bench.stores.pools, &other, "p2", &["b1", "b2"]).await;
    let mut told = Vec::new();

    let rows =
        rebuild::all::<AlertInbox>(&bench.stores, |done, total| told.push((done, total))).await;

    assert_eq!(rows.unwrap(), 6);
    assert_eq!((told.first(), told.last()), (Some(&(0, 6)), Some(&(6, 6))));
    assert!(told.is_sorted());
    assert_eq!(
        states(&bench.stored(&one).await.unwrap()),
        [("a1", true, true), ("a2", true, false)]
    );
    assert_eq!(bench.stored(&other).await.unwrap().len(), 1);
    let second =
        view::list::<AlertInbox>(&bench.stores.cache, &other, &property("p2")).await.unwrap();
    assert_eq!(second.unwrap().len(), 2);
}

#[tokio::test]
async fn a_build_of_thousands_of_facts_pages_through_both_logs() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let alerts: Vec<String> = (0..2_500).map(|n| format!("a{n:04}")).collect();
    let alerts: Vec<&str> = alerts.iter().map(String::as_str).collect();
    bench.raise(&tenant, &alerts).await;
    let rows = AtomicU64::new(0);

    let built = rebuild::view::<AlertInbox>(&bench.stores, &tenant, &property("p1"), |page| {
        rows.fetch_add(page, Ordering::Relaxed);
    })
    .await
    .unwrap();

    assert_eq!(built, Built::Done { rows: 2_500 });
    assert_eq!(rows.into_inner(), 2_500);
    assert_eq!(bench.stored(&tenant).await.unwrap().len(), 2_500);
}

#[tokio::test]
async fn a_fact_this_version_cannot_read_stops_nothing() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.view(&tenant).await;
    bench.raise(&tenant, &["a1"]).await;
    let mut superuser = bench.database.superuser().await;
    sqlx::query("update inbox_event set payload = '{\"propertyId\": \"p1\"}'")
        .execute(&mut superuser)
        .await
        .unwrap();
    bench.raise(&tenant, &["a2"]).await;

    bench.fold_all().await;

    assert_eq!(states(&bench.view(&tenant).await), [("a2", true, false)]);
}

#[tokio::test]
async fn a_committed_fact_reaches_the_desktop_without_waiting_for_a_poll() {
    let (bench, tenant) = (Bench::start().await, tenant());
    bench.view(&tenant).await;
    let mut desktop = bench.subscribe(&tenant).await;
    let shutdown = CancellationToken::new();
    let (wake, inbox_head) = watch::channel(0);
    let (_ledger_wake, ledger_head) = watch::channel(0);
    let stores = bench.stores.clone();
    let settings = Settings { poll: Duration::from_secs(3), ..Bench::settings() };
    let stop = shutdown.clone();
    let running = TaskTracker::new().spawn(async move {
        projector::run(&stores, &settings, [ledger_head, inbox_head], &stop).await
    });

    let mut took = Vec::new();
    for n in 0..60 {
        let position = bench.raise(&tenant, &[&format!("a{n}")]).await;
        let committed_at = Instant::now();
        wake.send_replace(position);
        let item = timeout(Duration::from_secs(20), desktop.next()).await.unwrap();
        assert!(matches!(item, Some(LiveItem::Event(_))), "{item:?}");
        took.push(committed_at.elapsed());
    }
    shutdown.cancel();
    running.await.unwrap().unwrap();

    took.sort();
    println!("commit to desktop: p50={:?} p95={:?}", took[30], took[57]);
    assert!(took[57] < Duration::from_secs(2), "{took:?}");
    assert_eq!(bench.lane(Log::Inbox).advance().await.unwrap(), Advance::Idle, "lease given back");
}

#[tokio::test]
async fn two_projectors_and_no_wake_still_deliver_once_and_in_order() {
    let (bench, tenant) = (Bench::start().await, tenant());
    let mut desktop = bench.subscribe(&tenant).await;
    let shutdown = CancellationToken::new();
    let tracker = TaskTracker::new();
    for _ in 0..2 {
        let (stores, settings, stop) = (bench.stores.clone(), Bench::settings(), shutdown.clone());
        let (_, ledger) = watch::channel(0);
        let (_, inbox) = watch::channel(0);
        tracker.spawn(async move {
            projector::run(&stores, &settings, [ledger, inbox], &stop).await.unwrap();
        });
    }

    let alerts: Vec<String> = (0..200).map(|n| format!("a{n:03}")).collect();
    for alert in &alerts {
        bench.raise(&tenant, &[alert]).await;
    }
    let mut heard = Vec::new();
    while heard.len() < alerts.len() {
        let item = timeout(Duration::from_secs(20), desktop.next()).await.unwrap();
        let Some(LiveItem::Event(delivery)) = item else { panic!("{item:?}") };
        let data: serde_json::Value = serde_json::from_slice(&delivery.data).unwrap();
        heard.push(data["id"].as_str().unwrap().to_owned());
    }
    shutdown.cancel();
    tracker.close();
    timeout(Duration::from_secs(20), tracker.wait()).await.unwrap();

    assert_eq!(heard, alerts);
}

/// A database, two Redis tiers, and what works between them.
struct Bench {
    database: TestDatabase,
    cache: RedisServer,
    session: RedisServer,
    stores: Stores,
    builder: Builder,
    hub: Hub,
    _running: DropGuard,
}

impl Bench {
    async fn start() -> Self {
        let (database, cache, session) =
            tokio::join!(TestDatabase::create(), RedisServer::start(), RedisServer::start());
        let stores = Stores {
            pools: database.pools(),
            cache: cache.connect().await,
            session: session.connect().await,
        };
        let tracker = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let keys = CursorKeys::new("a secret of the test".into(), Vec::new());
        let settings = backoffice::live::Settings::new(keys, Arc::new(SystemClock));
        let hub = Hub::start(stores.session.clone(), settings, &tracker, shutdown.clone());
        let builder = Builder::new(stores.clone(), tracker, Duration::from_secs(10));
        let running = shutdown.drop_guard();
        Self { database, cache, session, stores, builder, hub, _running: running }
    }

    fn settings() -> Settings {
        Settings { poll: Duration::from_millis(20), ..Settings::default() }
    }

    fn lane(&self, log: Log) -> Lane {
        Lane::new(&self.stores, &Self::settings(), log)
    }

    async fn subscribe(&self, tenant: &TenantId) -> Subscription {
        let subscriber = Subscriber {
            tenant_id: tenant.clone(),
            operator_id: "usr_1".parse().unwrap(),
            device_id: "d1".parse().unwrap(),
            sid: "sid-1".to_owned(),
            authenticated_at: at(),
            property_ids: vec![property("p1")],
            channels: vec![Channel::Alerts],
            works_by_sharia: false,
            cursor: None,
        };
        self.hub.subscribe(subscriber).await.unwrap()
    }

    async fn raise(&self, tenant: &TenantId, alerts: &[&str]) -> i64 {
        commit_raised(&self.stores.pools, tenant, "p1", alerts).await
    }

    async fn acknowledge(&self, tenant: &TenantId, alert: &str) -> i64 {
        commit_acknowledged(&mut self.database.superuser().await, tenant, "p1", alert).await
    }

    /// Folds until both logs are done, then gives the leases back.
    async fn fold_all(&self) {
        let (mut ledger, mut inbox) = (self.lane(Log::Ledger), self.lane(Log::Inbox));
        Self::fold_all_with(&mut ledger, &mut inbox).await;
        ledger.release().await.unwrap();
        inbox.release().await.unwrap();
    }

    async fn fold_all_with(ledger: &mut Lane, inbox: &mut Lane) {
        for lane in [ledger, inbox] {
            while lane.advance().await.unwrap() != Advance::Idle {}
        }
    }

    /// As a reader has it: built if it is missing.
    async fn view(&self, tenant: &TenantId) -> Vec<Alert> {
        self.builder.ensure_view::<AlertInbox>(tenant, &property("p1")).await.unwrap()
    }

    /// As it is in Redis.
    async fn stored(&self, tenant: &TenantId) -> Option<Vec<Alert>> {
        view::list::<AlertInbox>(&self.stores.cache, tenant, &property("p1")).await.unwrap()
    }

    async fn try_stored(&self, tenant: &TenantId) -> bool {
        view::list::<AlertInbox>(&self.stores.cache, tenant, &property("p1")).await.is_ok()
    }

    async fn folded(&self, log: Log) -> i64 {
        projector::folded(&self.stores.pools, log).await.unwrap()
    }

    async fn expire_lease(&self, log: Log) {
        sqlx::query("update projector_cursor set lease_until = '-infinity' where log = $1")
            .bind(log.name())
            .execute(&mut self.database.superuser().await)
            .await
            .unwrap();
    }
}

/// Alert, raised, acknowledged.
fn states(alerts: &[Alert]) -> Vec<(&str, bool, bool)> {
    let by_id: BTreeMap<&str, &Alert> = alerts.iter().map(|it| (it.id.as_str(), it)).collect();
    by_id
        .into_iter()
        .map(|(id, alert)| (id, alert.raised.is_some(), alert.acknowledged.is_some()))
        .collect()
}
