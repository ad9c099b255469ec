//! Live streams through nginx and haproxy as they are installed, and a client whose network is
//! gone.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backoffice::http::server::{Settings, serve};
use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    program::Program,
    support::{
        alerts::raise,
        desktop::Desktop,
        platform::tenant,
        port,
        service::{Service, World},
        wait,
    },
};

/// Longer than a heartbeat takes to come.
const PATIENCE: Duration = Duration::from_secs(20);
const COMPRESSING: &str = "gzip on; gzip_proxied any; gzip_min_length 1;";
const IN_NAMESPACE: &str = "BACKOFFICE_TEST_IN_NAMESPACE";

#[tokio::test(flavor = "multi_thread")]
async fn ss_10_nginx_and_haproxy_pass_a_stream_on_at_once() {
    let world = World::start().await;
    let service = world.service().await;
    let proxies = [
        // As far as its defaults and a usual setting let it, it buffers and compresses.
        ("nginx", Program::nginx(port::free(), service.address(), (COMPRESSING, "")).await),
        ("haproxy", Program::haproxy(service.address()).await),
    ];
    let mut streams = Vec::new();
    for proxy in &proxies {
        let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
        desktop.get(&service, "/bootstrap").await;
        streams.push(Stream::open(proxy, &desktop, &service).await);
        if streams.len() == proxies.len() {
            raise(&world, &desktop, "x").await;
        }
    }
    for stream in &mut streams {
        let name = stream.name;
        assert!(stream.first_byte_after < Duration::from_secs(1), "{name}");
        let head = stream.head.to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{name}: {head}");
        assert!(head.contains("content-type: text/event-stream"), "{name}: {head}");
        assert!(head.contains("cache-control: no-store, no-transform"), "{name}: {head}");
        assert!(!head.contains("content-encoding"), "{name}: {head}");
        let started = Instant::now();
        stream.read_until("event: alerts").await;
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{name}: an event after {took:?}");
        // Well within the minute after which either closes what is silent.
        stream.read_until(": heartbeat").await;
        println!("{name}: first byte after {:?}, an event after {took:?}", stream.first_byte_after);
    }
}

/// Re-run in a network of its own, whose only interface it takes down.
#[test]
fn ss_11_a_client_that_vanishes_without_a_word_is_let_go() {
    if std::env::var_os(IN_NAMESPACE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(vanish());
        return;
    }
    let test = "proxies::ss_11_a_client_that_vanishes_without_a_word_is_let_go";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(IN_NAMESPACE, "1")
        .output()
        .expect("unshare is on the path (util-linux)");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("let go after"), "{said}");
    println!("{said}");
}

async fn vanish() {
    let open = Arc::new(AtomicUsize::new(0));
    let streams = Arc::clone(&open);
    let route = get(async move || {
        streams.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(streams);
        Body::from_stream(heartbeats(counted))
    });
    let settings = Settings { unconfirmed_timeout: Duration::from_secs(1), ..Settings::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/live", route);
    let serving = serve(listener, router, settings, CancellationToken::new());
    TaskTracker::new().spawn(serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(0 < client.read(&mut [0; 512]).await.unwrap());
    assert_eq!(open.load(Ordering::SeqCst), 1);

    let down = Command::new("ip").args(["link", "set", "lo", "down"]).status();
    assert!(down.expect("ip is on the path (iproute2)").success());

    let started = Instant::now();
    wait::until("the stream is let go", async || open.load(Ordering::SeqCst) == 0).await;
    println!("let go after {:?}", started.elapsed());
    // The client's socket knows nothing of it.
    assert!(timeout(Duration::from_millis(1), client.read_exact(&mut [0; 4096])).await.is_err());
}

/// Thirteen bytes ten times a second, as a stream has them: far too few to fill a buffer.
fn heartbeats(
    counted: Counted,
) -> impl futures::Stream<Item = Result<&'static str, Infallible>> + Send {
    let beats = interval(Duration::from_millis(100));
    futures::stream::unfold((beats, counted), async |(mut beats, counted)| {
        beats.tick().await;
        Some((Ok(": heartbeat\n\n"), (beats, counted)))
    })
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One stream through a proxy.
struct Stream {
    name: &'static str,
    socket: TcpStream,
    head: String,
    rest: String,
    first_byte_after: Duration,
}

impl Stream {
    async fn open(
        (name, proxy): &(&'static str, Program),
        desktop: &Desktop,
        service: &Service,
    ) -> Self {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await.unwrap();
        let request = format!(
            "GET /bff/backoffice/v1/live HTTP/1.1\r\nhost: 127.0.0.1:{}\r\naccept: text/event-stream\r\n\
             accept-encoding: gzip, br\r\nauthorization: DPoP {}\r\ndpop: {}\r\nx-device-id: {}\r\n\r\n",
            proxy.port,
            desktop.text("accessToken"),
            desktop.proof(service, &Method::GET, "/live"),
            desktop.text("deviceId"),
        );
        let started = Instant::now();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut stream = Self {
            name,
            socket,
            head: String::new(),
            rest: String::new(),
            first_byte_after: Duration::ZERO,
        };
        stream.read_until(": connected").await;
        stream.first_byte_after = started.elapsed();
        let (head, rest) = stream.rest.split_once("\r\n\r\n").unwrap();
        (stream.head, stream.rest) = (head.to_owned(), rest.to_owned());
        stream
    }

    async fn read_until(&mut self, wanted: &str) {
        while !self.rest.contains(wanted) {
            let mut bytes = [0; 4096];
            let reading = timeout(PATIENCE, self.socket.read(&mut bytes)).await;
            let count = reading.unwrap_or_else(|_| panic!("{}: no {wanted}", self.name)).unwrap();
            assert!(0 < count, "{} closed the stream: {}", self.name, self.rest);
            self.rest.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}
