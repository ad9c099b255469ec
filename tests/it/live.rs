use std::{collections::BTreeSet, sync::Arc, time::Duration};

use backoffice::{
    clock::TestClock,
    live::{
        Cursor, CursorKeys, Hub, LiveItem, Polled, Retention, Revocation, Settings, Subject,
        Subscriber, Subscription, revocations, streams,
    },
    views::Redis,
};
use chrono::TimeDelta;
use events::TenantId;
use futures::{StreamExt, future::join_all};
use projections::{Channel, Fact};
use rand::Rng;
use tokio::time::{Instant, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::support::{
    facts::{acknowledged, at, property, raised, tenant},
    redis::RedisServer,
    wait,
};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_published_event_reaches_its_subscribers_as_one_frame() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktops = Vec::new();
    for device in ["d1", "d2", "d3"] {
        desktops.push(hub.subscribe(&tenant, device, None).await);
    }

    hub.publish(&[raised(&tenant, 4, "p1", "a1")]).await;

    for desktop in &mut desktops {
        let LiveItem::Event(delivery) = next(desktop).await else { panic!("not an event") };
        let frame = std::str::from_utf8(&delivery.frame).unwrap();
        let (head, data) = frame.split_once("\ndata: ").unwrap();
        assert_eq!(head, format!("id: {}\nevent: alerts", delivery.cursor));
        let data: serde_json::Value =
            serde_json::from_str(data.strip_suffix("\n\n").unwrap()).unwrap();
        assert_eq!((&data["kind"], &data["id"]), (&"alert.raised".into(), &"a1".into()));
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_holds_up_nobody() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;
    let before = hub.cursor(&tenant, desktop.cursor());
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a1");

    let key = format!("{{{tenant}}}:live:inbox");
    server.command(&["XADD", &key, "2-0", "nothing", "known"]).await;
    hub.publish(&[raised(&tenant, 3, "p1", "a3")]).await;

    assert_eq!(alert_of(&next(&mut desktop).await), "a3");
    let mut late = hub.subscribe(&tenant, "d2", Some(before)).await;
    for expected in ["a1", "a3"] {
        assert_eq!(alert_of(&next(&mut late).await), expected);
    }
}

#[tokio::test]
async fn publishing_again_adds_nothing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let facts = [raised(&tenant, 1, "p1", "a1"), raised(&tenant, 2, "p1", "a2")];

    assert_eq!(hub.publish(&facts).await, 2);
    assert_eq!(hub.publish(&facts).await, 0);
    assert_eq!(hub.publish(&[raised(&tenant, 3, "p1", "a3")]).await, 1);
}

#[tokio::test]
async fn ti_34_only_the_wanted_channels_properties_and_tenant_are_heard() {
    let (server, one, other) = (RedisServer::start().await, tenant(), tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&one, "d1", None).await;
    let mut deaf = hub
        .subscribe_as(Subscriber { channels: vec![Channel::Ai], ..subscriber(&one, "d2") })
        .await;
    let mut nowhere =
        hub.subscribe_as(Subscriber { property_ids: vec![], ..subscriber(&one, "d3") }).await;

    hub.publish(&(1..=300).map(|n| raised(&other, n, "p1", "foreign")).collect::<Vec<_>>()).await;
    hub.publish(&[raised(&one, 301, "p2", "elsewhere"), raised(&one, 302, "p1", "here")]).await;

    assert_eq!(alert_of(&next(&mut desktop).await), "here");
    for silent in [&mut deaf, &mut nowhere] {
        assert!(timeout(Duration::from_millis(100), silent.next()).await.is_err());
    }
    // They do listen: the first that they hear is meant for them.
    revoke(&server, &one, Subject::Tenant, at()).await;
    for listening in [&mut deaf, &mut nowhere] {
        assert!(matches!(next(listening).await, LiveItem::ForceLogout { .. }));
    }
    // Nothing goes over channels of Redis, which a pattern of another tenant could match.
    let channels = server.command(&["PUBSUB", "CHANNELS"]).await;
    assert_eq!(redis::from_redis_value::<Vec<String>>(channels).unwrap(), Vec::<String>::new());
    let patterns = server.command(&["PUBSUB", "NUMPAT"]).await;
    assert_eq!(redis::from_redis_value::<i64>(patterns).unwrap(), 0);
}

#[tokio::test]
async fn ss_07_a_desktop_that_comes_back_again_and_again_hears_every_event_once_and_in_order() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let first = hubs[0].subscribe(&tenant, "d1", None).await;
    let mut cursor = hubs[0].cursor(&tenant, first.cursor());
    drop(first);

    let publishing = async {
        for n in 1..=200 {
            hubs[0].publish(&[raised(&tenant, n, "p1", &format!("i{n}"))]).await;
            hubs[1].publish(&[acknowledged(&tenant, n, "p1", &format!("l{n}"))]).await;
        }
    };
    let listening = async {
        let mut heard = Vec::new();
        for hub in hubs.iter().cycle() {
            let mut desktop = hub.subscribe(&tenant, "d1", Some(cursor)).await;
            for _ in 0..rand::rng().random_range(1..20) {
                let item = next(&mut desktop).await;
                let LiveItem::Event(delivery) = &item else { panic!("{item:?}") };
                cursor = hub.cursor(&tenant, &delivery.cursor);
                heard.push(alert_of(&item));
                if heard.len() == 400 {
                    return heard;
                }
            }
        }
        heard
    };
    let (heard, ()) = tokio::join!(listening, publishing);

    let of_log = |log: &str| -> Vec<String> {
        heard.iter().filter(|alert| alert.starts_with(log)).cloned().collect()
    };
    let all = |log: &str| -> Vec<String> { (1..=200).map(|n| format!("{log}{n}")).collect() };
    assert_eq!(of_log("i"), all("i"));
    assert_eq!(of_log("l"), all("l"));
}

#[tokio::test]
async fn ss_06_a_cursor_of_another_epoch_is_reset() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let first = hub.subscribe(&tenant, "d1", None).await;
    let cursor = hub.cursor(&tenant, first.cursor());
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;

    server.command(&["FLUSHALL"]).await;
    let mut desktop = hub.subscribe(&tenant, "d1", Some(cursor)).await;

    let LiveItem::Reset { cursor } = next(&mut desktop).await else { panic!("no reset") };
    assert_eq!(hub.cursor(&tenant, &cursor).inbox.position, 0);
    hub.publish(&[raised(&tenant, 2, "p1", "a2")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a2");
}

#[tokio::test]
async fn a_running_stream_is_reset_when_redis_lost_its_events() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a1");

    server.command(&["FLUSHALL"]).await;
    hub.publish(&[raised(&tenant, 2, "p1", "a2")]).await;

    assert!(matches!(next(&mut desktop).await, LiveItem::Reset { .. }));
    hub.publish(&[raised(&tenant, 3, "p1", "a3")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a3");
}

#[tokio::test]
async fn a_running_stream_survives_the_server_and_is_reset_once_it_is_back() {
    let (mut server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a1");

    server.kill();
    server.start_again().await;

    assert!(matches!(next(&mut desktop).await, LiveItem::Reset { .. }));
    hub.publish(&[raised(&tenant, 2, "p1", "a2")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a2");
}

#[tokio::test]
async fn a_broken_connection_alone_costs_nothing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;

    for n in 1..=20 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        let publisher = server.connect().await;
        publish(&publisher, &[raised(&tenant, n, "p1", &format!("a{n}"))], &keep_all()).await;
        assert_eq!(alert_of(&next(&mut desktop).await), format!("a{n}"));
    }
}

#[tokio::test]
async fn ss_06_old_events_are_trimmed_and_a_cursor_from_before_is_reset() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let first = hub.subscribe(&tenant, "d1", None).await;
    let old = hub.cursor(&tenant, first.cursor());
    let short = Retention { age_min: Duration::ZERO, entries_min: 10, entries_max: 50_000 };
    let redis = server.connect().await;
    for n in 1..=30 {
        // Apart by more than the age that protects.
        tokio::time::sleep(Duration::from_millis(2)).await;
        publish(&redis, &[raised(&tenant, n, "p1", &format!("a{n}"))], &short).await;
    }

    let mut late = hub.subscribe(&tenant, "d1", Some(old)).await;
    assert!(matches!(next(&mut late).await, LiveItem::Reset { .. }));

    let mut within = old;
    within.inbox.position = 25;
    let mut in_time = hub.subscribe(&tenant, "d2", Some(within)).await;
    assert_eq!(alert_of(&next(&mut in_time).await), "a26");
    let length = server.command(&["XLEN", &format!("{{{tenant}}}:live:inbox")]).await;
    assert!((10..=12).contains(&redis::from_redis_value::<i64>(length).unwrap()));
}

#[tokio::test]
async fn within_the_age_nothing_is_trimmed_up_to_the_bound() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    let retention = Retention { age_min: Duration::from_mins(5), entries_min: 10, entries_max: 40 };

    for n in 1..=60 {
        publish(&redis, &[raised(&tenant, n, "p1", "a")], &retention).await;
    }

    let length = server.command(&["XLEN", &format!("{{{tenant}}}:live:inbox")]).await;
    assert_eq!(redis::from_redis_value::<i64>(length).unwrap(), 40);
}

#[tokio::test]
async fn ss_08_a_desktop_that_does_not_keep_up_is_sent_away_and_others_are_not() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut slow = hub.subscribe(&tenant, "d1", None).await;
    let mut quick = hub.subscribe(&tenant, "d2", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut slow).await), "a1");
    assert_eq!(alert_of(&next(&mut quick).await), "a1");

    for n in 2..=400 {
        hub.publish(&[raised(&tenant, n, "p1", &format!("a{n}"))]).await;
        assert_eq!(alert_of(&next(&mut quick).await), format!("a{n}"));
    }

    assert!(matches!(next(&mut slow).await, LiveItem::Reconnect));
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn ss_01_a_newer_stream_of_a_device_ends_the_older_one_on_another_instance() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let mut older = hubs[0].subscribe(&tenant, "d1", None).await;
    let mut bystander = hubs[0].subscribe(&tenant, "d2", None).await;

    let mut newer = hubs[1].subscribe(&tenant, "d1", None).await;

    assert!(matches!(next(&mut older).await, LiveItem::Superseded));
    assert!(older.next().await.is_none());
    hubs[0].publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut newer).await), "a1");
    assert_eq!(alert_of(&next(&mut bystander).await), "a1");
}

#[tokio::test]
async fn ss_01_of_fifty_streams_opened_at_once_for_one_device_one_remains() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];

    let streams =
        join_all(hubs.iter().cycle().take(50).map(|hub| hub.subscribe(&tenant, "d1", None))).await;

    let marker = raised(&tenant, 1, "p1", "a1");
    let ended = join_all(streams.into_iter().map(|mut stream| async move {
        let item = next(&mut stream).await;
        (matches!(item, LiveItem::Superseded), stream)
    }));
    let (ended, _) = tokio::join!(ended, async {
        wait::until("one remains", async || {
            hubs.iter().map(|hub| hub.hub.subscription_count()).sum::<usize>() == 1
        })
        .await;
        hubs[0].publish(&[marker]).await
    });
    assert_eq!(ended.iter().filter(|(superseded, _)| *superseded).count(), 49);
}

#[tokio::test]
async fn a_revocation_ends_the_streams_it_means_on_every_instance() {
    let (server, one, other) = (RedisServer::start().await, tenant(), tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    for subject in [
        Subject::Session("sid-d1".to_owned()),
        Subject::Operator("usr_d1".parse().unwrap()),
        Subject::Device("d1".parse().unwrap()),
    ] {
        server.command(&["FLUSHALL"]).await;
        let mut meant = hubs[0].subscribe(&one, "d1", None).await;
        let mut colleague = hubs[1].subscribe(&one, "d2", None).await;
        let mut namesake = hubs[1].subscribe(&other, "d1", None).await;

        revoke(&server, &one, subject, at()).await;

        let LiveItem::ForceLogout { reason } = next(&mut meant).await else { panic!("not ended") };
        assert_eq!(reason, "admin");
        for other in [&mut colleague, &mut namesake] {
            assert!(timeout(Duration::from_millis(50), other.next()).await.is_err());
        }
        // They go on: what they hear next is an alert.
        for (tenant, stream) in [(&one, &mut colleague), (&other, &mut namesake)] {
            hubs[0].publish(&[raised(tenant, 1, "p1", "a1")]).await;
            assert_eq!(alert_of(&next(stream).await), "a1");
        }
    }
}

#[tokio::test]
async fn a_suspended_tenant_loses_every_stream() {
    let (server, one, other) = (RedisServer::start().await, tenant(), tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let mut first = hubs[0].subscribe(&one, "d1", None).await;
    let mut second = hubs[1].subscribe(&one, "d2", None).await;
    let mut namesake = hubs[1].subscribe(&other, "d1", None).await;

    revoke(&server, &one, Subject::Tenant, at()).await;

    assert!(matches!(next(&mut first).await, LiveItem::ForceLogout { .. }));
    assert!(matches!(next(&mut second).await, LiveItem::ForceLogout { .. }));
    assert!(timeout(Duration::from_millis(50), namesake.next()).await.is_err());
    hubs[0].publish(&[raised(&other, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut namesake).await), "a1");
}

#[tokio::test]
async fn a_revocation_of_before_the_sign_in_ends_nothing_but_its_own_session() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let earlier = at() - TimeDelta::days(1);
    for subject in [Subject::Operator("usr_d1".parse().unwrap()), Subject::Tenant] {
        revoke(&server, &tenant, subject, earlier).await;
    }

    let mut desktop = hub.subscribe(&tenant, "d1", None).await;
    assert!(timeout(Duration::from_millis(50), desktop.next()).await.is_err());

    revoke(&server, &tenant, Subject::Session("sid-d1".to_owned()), earlier).await;
    assert!(matches!(next(&mut desktop).await, LiveItem::ForceLogout { .. }));
}

#[tokio::test]
async fn a_revocation_at_any_moment_of_opening_ends_the_stream() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    for n in 0..60 {
        let device = format!("d{n}");
        let operator = format!("usr_{device}").parse().unwrap();
        let opening = hub.subscribe(&tenant, &device, None);
        let revoking = async {
            // The moment itself is what is tried out.
            tokio::time::sleep(Duration::from_micros(40 * n)).await;
            revoke(&server, &tenant, Subject::Operator(operator), at()).await;
        };

        let (mut stream, ()) = tokio::join!(opening, revoking);

        assert!(matches!(next(&mut stream).await, LiveItem::ForceLogout { .. }), "{n}");
    }
}

#[tokio::test]
async fn a_repeated_revocation_keeps_the_later_moment_and_a_day_of_life() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let later = at() + TimeDelta::seconds(5);

    revoke(&server, &tenant, Subject::Tenant, later).await;
    revoke(&server, &tenant, Subject::Tenant, at()).await;

    let key = format!("{{{tenant}}}:fence:tenant");
    let value = server.command(&["GET", &key]).await;
    assert_eq!(redis::from_redis_value::<i64>(value).unwrap(), later.timestamp_millis());
    let left_ms: i64 = redis::from_redis_value(server.command(&["PTTL", &key]).await).unwrap();
    assert!(86_390_000 < left_ms);
}

#[tokio::test]
async fn a_poll_answers_with_what_is_there_or_waits_for_what_comes() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let start = hub.poll(&tenant, None, Duration::ZERO).await;
    assert!(start.items.is_empty());
    hub.publish(&[raised(&tenant, 1, "p1", "a1"), raised(&tenant, 2, "p1", "a2")]).await;

    let there = hub.poll(&tenant, Some(&start.next), DEADLINE).await;
    assert_eq!(there.items.iter().map(alert_of).collect::<Vec<_>>(), ["a1", "a2"]);

    let (came, _) = tokio::join!(hub.poll(&tenant, Some(&there.next), DEADLINE), async {
        wait::until("the poll waits", async || hub.hub.subscription_count() == 1).await;
        hub.publish(&[raised(&tenant, 3, "p1", "a3")]).await
    });
    assert_eq!(came.items.iter().map(alert_of).collect::<Vec<_>>(), ["a3"]);
    let nothing = hub.poll(&tenant, Some(&came.next), Duration::from_millis(30)).await;
    assert!(nothing.items.is_empty());
    assert_eq!(hub.hub.subscription_count(), 0);
}

#[tokio::test]
async fn a_poll_leaves_the_stream_of_its_device_alone() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;

    hub.poll(&tenant, None, Duration::ZERO).await;

    assert!(timeout(Duration::from_millis(50), desktop.next()).await.is_err());
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    assert_eq!(alert_of(&next(&mut desktop).await), "a1");
}

#[tokio::test]
async fn ss_02_at_shutdown_every_stream_is_sent_away() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let mut hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;
    drop(hub.running.take());

    assert!(matches!(next(&mut desktop).await, LiveItem::Reconnect));
    hub.tracker.close();
    timeout(DEADLINE, hub.tracker.wait()).await.unwrap();
}

#[tokio::test]
async fn two_thousand_streams_hear_one_event() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut streams = Vec::new();
    for n in 0..2_000 {
        streams.push(hub.subscribe(&tenant, &format!("d{n}"), None).await);
    }
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    for stream in &mut streams {
        assert_eq!(alert_of(&next(stream).await), "a1");
    }
    let listening = hub.tracker.spawn(join_all(streams.into_iter().map(|mut stream| async move {
        next(&mut stream).await;
        (Instant::now(), stream)
    })));
    tokio::task::yield_now().await;

    hub.publish(&[raised(&tenant, 2, "p1", "a2")]).await;
    let published_at = Instant::now();

    let heard = listening.await.unwrap();
    let last = heard.iter().map(|(at, _)| *at).max().unwrap();
    let took = last.saturating_duration_since(published_at);
    println!("last of 2,000 after {took:?}");
    // Figures for the target are measured with an optimised build on a quiet machine.
    assert!(took < DEADLINE, "{took:?}");
}

#[tokio::test]
async fn every_key_is_a_tenants_or_one_of_the_few_global_ones() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let _desktop = hub.subscribe(&tenant, "d1", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    revoke(&server, &tenant, Subject::Tenant, at()).await;

    let keys: BTreeSet<String> = server
        .keys()
        .await
        .into_iter()
        .map(|key| key.split(":wake:").next().unwrap_or_default().to_owned())
        .collect();

    let own = ["fence:tenant", "live:device:d1", "live:head", "live:inbox"]
        .map(|area| format!("{{{tenant}}}:{area}"));
    let global = ["g:live", "g:revocations", "g:supersede"].map(str::to_owned);
    assert_eq!(keys, own.into_iter().chain(global).collect());
}

pub struct TestHub {
    pub hub: Hub,
    pub keys: CursorKeys,
    pub clock: Arc<TestClock>,
    redis: Redis,
    tracker: TaskTracker,
    running: Option<DropGuard>,
}

impl TestHub {
    pub async fn start(server: &RedisServer) -> Self {
        Self::start_with(server, Duration::from_millis(10)).await
    }

    pub async fn start_with(server: &RedisServer, drain_spread: Duration) -> Self {
        let redis = server.connect().await;
        let keys = CursorKeys::new("a secret of the test".into(), Vec::new());
        let shutdown = CancellationToken::new();
        let (tracker, clock) = (TaskTracker::new(), TestClock::at(at()));
        let settings = Settings { drain_spread, ..Settings::new(keys.clone(), clock.clone()) };
        let hub = Hub::start(redis.clone(), settings, &tracker, shutdown.clone());
        Self { hub, keys, clock, redis, tracker, running: Some(shutdown.drop_guard()) }
    }

    /// As SIGTERM does.
    pub fn shut_down(&mut self) {
        drop(self.running.take());
    }

    pub async fn subscribe(
        &self,
        tenant: &TenantId,
        device: &str,
        cursor: Option<Cursor>,
    ) -> Subscription {
        self.subscribe_as(Subscriber { cursor, ..subscriber(tenant, device) }).await
    }

    pub async fn subscribe_as(&self, subscriber: Subscriber) -> Subscription {
        self.hub.subscribe(subscriber).await.unwrap()
    }

    pub async fn poll(&self, tenant: &TenantId, after: Option<&str>, wait: Duration) -> Polled {
        let cursor = after.map(|text| self.cursor(tenant, text));
        self.hub.poll(Subscriber { cursor, ..subscriber(tenant, "d1") }, wait).await.unwrap()
    }

    /// Tries again where the connection was lost with its server.
    pub async fn publish(&self, facts: &[Fact]) -> usize {
        let mut published = None;
        wait::until("published", async || {
            let mut connection = self.redis.shared();
            published = streams::publish(&mut connection, facts, 0, &keep_all()).await.ok();
            published.is_some()
        })
        .await;
        published.unwrap_or_default()
    }

    pub fn cursor(&self, tenant: &TenantId, text: &str) -> Cursor {
        self.keys.decode(tenant, text).unwrap()
    }
}

async fn publish(redis: &Redis, facts: &[Fact], retention: &Retention) -> usize {
    streams::publish(&mut redis.shared(), facts, 0, retention).await.unwrap()
}

fn keep_all() -> Retention {
    Retention::default()
}

async fn revoke(
    server: &RedisServer,
    tenant_id: &TenantId,
    subject: Subject,
    at: chrono::DateTime<chrono::Utc>,
) {
    let (tenant_id, reason) = (tenant_id.clone(), "admin".to_owned());
    let revocation = Revocation { tenant_id, subject, reason, at };
    let redis = server.connect().await;
    revocations::publish(&redis, &revocation, Duration::ZERO).await.unwrap();
}

pub fn subscriber(tenant: &TenantId, device: &str) -> Subscriber {
    Subscriber {
        tenant_id: tenant.clone(),
        operator_id: format!("usr_{device}").parse().unwrap(),
        device_id: device.parse().unwrap(),
        sid: format!("sid-{device}"),
        authenticated_at: at() - TimeDelta::minutes(1),
        property_ids: vec![property("p1")],
        channels: Channel::ALL.to_vec(),
        works_by_sharia: false,
        cursor: None,
    }
}

pub async fn next(stream: &mut Subscription) -> LiveItem {
    timeout(DEADLINE, stream.next()).await.expect("an item in time").expect("an item")
}

pub fn alert_of(item: &LiveItem) -> String {
    let LiveItem::Event(delivery) = item else { panic!("not an event: {item:?}") };
    let data: serde_json::Value = serde_json::from_slice(&delivery.data).unwrap();
    data["id"].as_str().unwrap().to_owned()
}
