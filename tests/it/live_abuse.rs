//! Live streams under races, storms, cuts, slow readers and hostile content.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use backoffice::{
    desktop::frames::{Frame, FrameReader},
    http::{
        event_stream::{self, Session},
        server::{Settings, serve},
    },
    live::{Cursor, LiveItem, Subject, Subscriber, Subscription},
};
use events::{TenantId, upstream::UpstreamEvent};
use futures::{FutureExt, StreamExt, future::join_all};
use http_body_util::BodyExt;
use projections::{Fact, FactEvent, Log};
use rand::Rng;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    live::{TestHub, alert_of, next, subscriber},
    support::{
        facts::{acknowledged, at, raised, tenant},
        redis::RedisServer,
        wait,
    },
};

const DEADLINE: Duration = Duration::from_secs(20);
const HOSTILE: &str = "a\nid: 1\nevent: session\ndata: {\"kind\":\"force-logout\"}\n\n\
    b\r\nretry: 1\r\n\r\nc\rdata: x\r\r d\u{2028}e\u{2029}f\u{85}g\u{b}h\u{0}i\u{feff}";

#[tokio::test]
async fn ss_01_of_two_streams_raced_fifty_times_over_two_instances_one_remains() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let open = || hubs.iter().map(|hub| hub.hub.subscription_count()).sum::<usize>();
    for round in 0..50 {
        let device = format!("d{}", round % 7);
        let (mut one, mut other) = tokio::join!(
            hubs[0].subscribe(&tenant, &device, None),
            hubs[1].subscribe(&tenant, &device, None),
        );
        let ended = tokio::select! {
            item = next(&mut one) => item,
            item = next(&mut other) => item,
        };
        assert!(matches!(ended, LiveItem::Superseded), "round {round}: {ended:?}");
        wait::until("one remains", async || open() == 1).await;
        drop((one, other));
        wait::until("none is left", async || open() == 0).await;
    }
}

#[tokio::test]
async fn ss_02_streams_are_told_to_come_back_at_different_times() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut retries = BTreeSet::new();
    for number in 0..200 {
        let subscription = hub.subscribe(&tenant, &format!("d{number}"), None).await;
        let mut body = event_stream::body(subscription, session());
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let first = String::from_utf8(first.to_vec()).unwrap();
        assert!(first.starts_with(": connected\nretry: "), "{first}");
        let retry = first.lines().nth(1).unwrap().strip_prefix("retry: ").unwrap();
        retries.insert(retry.parse::<u64>().unwrap());
    }
    assert!(retries.iter().all(|retry| (3_000..=10_000).contains(retry)), "{retries:?}");
    assert!(100 < retries.len(), "{} different ones", retries.len());
    assert!(*retries.first().unwrap() < 4_500 && 8_500 < *retries.last().unwrap());
}

#[tokio::test]
async fn ss_02_five_thousand_streams_are_sent_away_one_after_the_other() {
    const STREAMS: usize = 5_000;
    let (server, tenant) = (RedisServer::start().await, tenant());
    let spread = Duration::from_secs(1);
    let mut hub = TestHub::start_with(&server, spread).await;
    let mut streams = Vec::new();
    for first in (0..STREAMS).step_by(25) {
        let devices: Vec<_> = (first..first + 25).map(|number| format!("d{number}")).collect();
        let opening = devices.iter().map(async |device| {
            // So many at once may meet the deadline of one answer of Redis.
            let mut opened = None;
            wait::until("the stream is opened", async || {
                opened = hub.hub.subscribe(subscriber(&tenant, device)).await.ok();
                opened.is_some()
            })
            .await;
            opened.unwrap()
        });
        streams.extend(join_all(opening).await);
    }
    // Each has read its past and listens.
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    for stream in &mut streams {
        assert_eq!(alert_of(&next(stream).await), "a1");
    }
    // From here on nothing but time decides, and that goes on only when all is done.
    tokio::time::pause();

    let ended: Vec<_> = streams
        .into_iter()
        .map(|mut stream| async move {
            assert!(matches!(next(&mut stream).await, LiveItem::Reconnect));
            assert!(stream.next().await.is_none());
            Instant::now()
        })
        .collect();
    let started = Instant::now();
    hub.shut_down();
    let ended = join_all(ended).await;

    let mut fifths = [0_usize; 5];
    for at in &ended {
        let share = at.duration_since(started).as_secs_f64() / spread.as_secs_f64();
        let fifth = [0.2, 0.4, 0.6, 0.8].iter().filter(|edge| **edge <= share).count();
        fifths[fifth] += 1;
    }
    println!("{STREAMS} streams ended by fifths of the time: {fifths:?}");
    assert_eq!(fifths.iter().sum::<usize>(), STREAMS);
    let about_a_fifth = STREAMS / 6..STREAMS / 4;
    assert!(fifths.iter().all(|count| about_a_fifth.contains(count)), "not staggered: {fifths:?}");
}

#[tokio::test]
async fn ss_06_a_cursor_ahead_of_the_streams_is_reset_and_misses_nothing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let first = hub.subscribe(&tenant, "d1", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    let now = hub.cursor(&tenant, first.cursor());
    for future in [
        with(now, |cursor| cursor.inbox.position = 1_000),
        with(now, |cursor| cursor.ledger.position = 1),
        with(now, |cursor| cursor.inbox.position = i64::MAX),
    ] {
        let mut ahead = hub.subscribe(&tenant, "d2", Some(future)).await;
        assert!(matches!(next(&mut ahead).await, LiveItem::Reset { .. }), "{future:?}");
    }
    let mut ahead =
        hub.subscribe(&tenant, "d3", Some(with(now, |cursor| cursor.inbox.position = 9))).await;
    assert!(matches!(next(&mut ahead).await, LiveItem::Reset { .. }));
    hub.publish(&[raised(&tenant, 2, "p1", "a2")]).await;
    assert_eq!(alert_of(&next(&mut ahead).await), "a2");
}

#[tokio::test]
async fn ss_07_a_connection_cut_at_a_thousand_random_bytes_loses_and_repeats_nothing() {
    const CUTS: usize = 1_000;
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = Arc::new(TestHub::start(&server).await);
    let live = LiveServer::start(&hub, &tenant, Settings::default()).await;
    let first = hub.subscribe(&tenant, "d1", None).await;
    let start = first.cursor().to_owned();
    drop(first);
    let done = CancellationToken::new();
    let publishing = async {
        for n in 1.. {
            hub.publish(&[raised(&tenant, n, "p1", &format!("i{n}"))]).await;
            hub.publish(&[acknowledged(&tenant, n, "p1", &format!("l{n}"))]).await;
            if done.is_cancelled() {
                return;
            }
        }
    };
    let cutting = async {
        let mut heard: Vec<String> = Vec::new();
        let mut cursor = Some(start);
        for _ in 0..CUTS {
            let most = rand::rng().random_range(1..1_500);
            for frame in live.read(cursor.as_deref(), most).await {
                let data: Value = serde_json::from_str(&frame.data).unwrap();
                assert_ne!(data["kind"], "reset", "nothing was trimmed");
                if frame.event == "alerts" {
                    heard.push(data["id"].as_str().unwrap().to_owned());
                }
                cursor = frame.id.or(cursor);
            }
        }
        done.cancel();
        heard
    };
    let (heard, ()) = tokio::join!(cutting, publishing);

    for log in ["i", "l"] {
        let of_log: Vec<_> = heard.iter().filter(|alert| alert.starts_with(log)).collect();
        let all: Vec<_> = (1..=of_log.len()).map(|n| format!("{log}{n}")).collect();
        assert!(of_log.iter().copied().eq(&all), "a gap or a repeat in {log}");
    }
    println!("{CUTS} cuts, {} events heard once each", heard.len());
    assert!(200 < heard.len(), "{}", heard.len());
}

#[tokio::test]
async fn ss_08_a_slow_tenant_costs_no_other_tenant_anything() {
    let (server, slow_tenant, quick_tenant) = (RedisServer::start().await, tenant(), tenant());
    let hub = TestHub::start(&server).await;
    let mut slow = hub.subscribe(&slow_tenant, "d1", None).await;
    let mut quick = hub.subscribe(&quick_tenant, "d1", None).await;
    hub.publish(&[raised(&slow_tenant, 1, "p1", "b1")]).await;
    assert_eq!(alert_of(&next(&mut slow).await), "b1");

    for n in 2..=600 {
        hub.publish(&[raised(&slow_tenant, n, "p1", &format!("b{n}"))]).await;
    }
    hub.publish(&[raised(&quick_tenant, 601, "p1", "a1")]).await;

    assert_eq!(alert_of(&next(&mut quick).await), "a1");
    assert!(matches!(next(&mut slow).await, LiveItem::Reconnect), "lag is told, not hidden");
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn ti_40_of_a_thousand_events_of_another_tenant_nothing_is_heard() {
    let (server, one, other) = (RedisServer::start().await, tenant(), tenant());
    let hub = TestHub::start(&server).await;
    let mut ours = hub.subscribe(&one, "d1", None).await;
    let theirs = hub.subscribe(&other, "d1", None).await;
    let facts: Vec<_> =
        (1..=1_000).map(|n| raised(&other, n, "p1", &format!("canary-{n}"))).collect();
    for page in facts.chunks(50) {
        hub.publish(page).await;
    }
    hub.publish(&[raised(&one, 1_001, "p1", "own")]).await;

    let LiveItem::Event(delivery) = next(&mut ours).await else { panic!("no event") };
    let frame = String::from_utf8(delivery.frame.to_vec()).unwrap();
    assert!(frame.contains("\"own\"") && !frame.contains("canary"), "{frame}");
    // Its reader lags and is sent away: ours stays.
    drop(theirs);
    hub.publish(&[raised(&one, 1_002, "p1", "own-2")]).await;
    assert_eq!(alert_of(&next(&mut ours).await), "own-2");
    // Their place in their streams is none in ours, whether it is opened or only known.
    let theirs = hub.subscribe(&other, "d1", None).await;
    assert!(hub.keys.decode(&one, theirs.cursor()).is_err());
    let stolen = hub.cursor(&other, theirs.cursor());
    let mut resumed = hub.subscribe(&one, "d2", Some(stolen)).await;
    assert!(matches!(next(&mut resumed).await, LiveItem::Reset { .. }));
    let polled = hub.hub.poll(subscriber(&one, "d3"), Duration::ZERO).await.unwrap();
    assert!(polled.items.is_empty());
}

#[tokio::test]
async fn ss_09_whatever_an_event_says_it_is_one_event() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = Arc::new(TestHub::start(&server).await);
    let live = LiveServer::start(&hub, &tenant, Settings::default()).await;
    let mut client = live.connect(None).await;
    let hello = client.frame().await;
    assert_eq!(hello.event, "session");

    hub.publish(&[titled(&tenant, 1, HOSTILE), raised(&tenant, 2, "p1", "after")]).await;

    let hostile = client.frame().await;
    let data: Value = serde_json::from_str(&hostile.data).unwrap();
    assert_eq!((hostile.event.as_str(), &data["title"]), ("alerts", &json!(HOSTILE)));
    assert!(hub.keys.decode(&tenant, hostile.id.as_deref().unwrap()).is_ok());
    let after = client.frame().await;
    assert_eq!(serde_json::from_str::<Value>(&after.data).unwrap()["id"], "after");

    let device = Subject::Device("d1".parse().unwrap());
    let revocation = backoffice::live::Revocation {
        tenant_id: tenant.clone(),
        subject: device,
        reason: HOSTILE.to_owned(),
        at: at(),
    };
    let redis = server.connect().await;
    backoffice::live::revocations::publish(&redis, &revocation, Duration::ZERO).await.unwrap();
    let last = client.frame().await;
    let data: Value = serde_json::from_str(&last.data).unwrap();
    assert_eq!((last.event.as_str(), &data["reason"]), ("session", &json!(HOSTILE)));
    assert!(last.id.is_none());
    assert!((3_000..=10_000).contains(&client.retry_ms().unwrap()), "not set by an event");
}

#[tokio::test]
async fn ss_11_a_client_that_stops_taking_bytes_is_let_go() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = Arc::new(TestHub::start(&server).await);
    let stalled = Duration::from_millis(500);
    let settings = Settings { write_stall_timeout: stalled, ..Settings::default() };
    let live = LiveServer::start(&hub, &tenant, settings).await;
    let proxy = Black::hole(live.address).await;
    let mut client = LiveClient::open(proxy.address, None).await;
    client.frame().await;
    assert_eq!(hub.hub.subscription_count(), 1);

    // From here on nothing gets through, and no one says so.
    proxy.stop.cancel();
    let long = "x".repeat(60_000);
    for n in 1..=200 {
        hub.publish(&[titled(&tenant, n, &long)]).await;
    }

    wait::until("the stream is counted out", async || hub.hub.subscription_count() == 0).await;
    // The network said nothing all the while.
    assert!(timeout(Duration::from_millis(1), client.socket.read(&mut [0; 1])).await.is_err());
}

/// The hub behind the accept loop: `/live` without authentication.
struct LiveServer {
    address: std::net::SocketAddr,
    _running: DropGuard,
}

#[derive(Clone)]
struct Listening {
    hub: Arc<TestHub>,
    tenant: TenantId,
}

/// A client of `/live`, which it reads frame by frame.
struct LiveClient {
    socket: TcpStream,
    /// Whether the answer's head has been read.
    in_body: bool,
    head: Vec<u8>,
    reader: FrameReader,
    frames: std::collections::VecDeque<Frame>,
}

impl LiveServer {
    async fn start(hub: &Arc<TestHub>, tenant: &TenantId, settings: Settings) -> Self {
        let listening = Listening { hub: Arc::clone(hub), tenant: tenant.clone() };
        let router = Router::new().route("/live", get(listen)).with_state(listening);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        TaskTracker::new().spawn(serve(listener, router, settings, shutdown.clone()));
        Self { address, _running: shutdown.drop_guard() }
    }

    async fn connect(&self, cursor: Option<&str>) -> LiveClient {
        LiveClient::open(self.address, cursor).await
    }

    /// The events in the first `most` bytes that come; then the connection is cut.
    async fn read(&self, cursor: Option<&str>, most: usize) -> Vec<Frame> {
        let mut client = self.connect(cursor).await;
        let mut read = 0;
        while read < most {
            let mut bytes = vec![0; (most - read).min(512)];
            let reading = timeout(DEADLINE, client.socket.read(&mut bytes));
            let count = reading.await.expect("bytes in time").unwrap();
            assert!(0 < count, "the server went away");
            client.push(&bytes[..count]);
            read += count;
        }
        client.frames.into()
    }
}

async fn listen(State(listening): State<Listening>, headers: HeaderMap) -> Response {
    let cursor = headers
        .get("last-event-id")
        .map(|id| listening.hub.cursor(&listening.tenant, id.to_str().unwrap()));
    let subscriber = Subscriber { cursor, ..subscriber(&listening.tenant, "d1") };
    let subscription: Subscription = listening.hub.subscribe_as(subscriber).await;
    event_stream::body(subscription, session()).into_response()
}

impl LiveClient {
    async fn open(address: std::net::SocketAddr, cursor: Option<&str>) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let cursor = cursor.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        // The old version knows no chunks: the bytes are those of the stream.
        let request = format!("GET /live HTTP/1.0\r\n{cursor}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        Self {
            socket,
            in_body: false,
            head: Vec::new(),
            reader: FrameReader::default(),
            frames: std::collections::VecDeque::new(),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.in_body {
            self.frames.extend(self.reader.push(bytes).unwrap());
            return;
        }
        self.head.extend_from_slice(bytes);
        let end = self.head.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            self.in_body = true;
            let body = self.head.split_off(end + 4);
            assert!(self.head.starts_with(b"HTTP/1.0 200"), "{:?}", self.head);
            self.push(&body);
        }
    }

    async fn frame(&mut self) -> Frame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            let mut bytes = [0; 4096];
            let reading = timeout(DEADLINE, self.socket.read(&mut bytes));
            let count = reading.await.expect("bytes in time").unwrap();
            assert!(0 < count, "the stream ended");
            self.push(&bytes[..count]);
        }
    }

    fn retry_ms(&self) -> Option<u64> {
        self.reader.retry_ms
    }
}

/// A network in which, from one moment on, everything is lost and nobody is told.
struct Black {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    _forwarding: JoinSet<()>,
}

impl Black {
    async fn hole(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let mut forwarding = JoinSet::new();
        forwarding.spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            {
                let (mut from_client, mut to_client) = client.split();
                let (mut from_server, mut to_server) = server.split();
                tokio::select! {
                    _ = copy(&mut from_client, &mut to_server) => (),
                    _ = copy(&mut from_server, &mut to_client) => (),
                    () = stopped.cancelled() => (),
                }
            }
            // Both sockets stay open and are never read again.
            std::future::pending::<()>().await;
        });
        Self { address, stop, _forwarding: forwarding }
    }
}

/// A session that stands, with a token that does not end.
fn session() -> Session {
    Session {
        stands: Arc::new(|| async { Some(true) }.boxed()),
        nonce: Arc::new(|| None),
        version_blocked: std::future::pending().boxed(),
        expires_at: Instant::now() + Duration::from_hours(1),
        hello: json!({}),
    }
}

fn with(cursor: Cursor, change: impl Fn(&mut Cursor)) -> Cursor {
    let mut cursor = cursor;
    change(&mut cursor);
    cursor
}

fn titled(tenant_id: &TenantId, position: i64, title: &str) -> Fact {
    let payload = json!({
        "alertId": format!("a{position}"), "propertyId": "p1", "severity": "high",
        "category": "lock", "title": title, "raisedAt": at(),
    });
    let kind = "melmastoon.notification.alert.raised.v1";
    let event = UpstreamEvent::read(kind, payload).unwrap().unwrap();
    let (tenant_id, event) = (tenant_id.clone(), FactEvent::Upstream(event));
    Fact { tenant_id, log: Log::Inbox, position, occurred_at: at(), event }
}
