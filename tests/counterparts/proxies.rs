//! Live streams through nginx and haproxy as they are installed, and a client whose network is
//! gone.

use std::{
    convert::Infallible,
    fs,
    net::{SocketAddr, TcpListener as Probe},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backoffice::http::server::{Settings, serve};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::support::{
    desktop::Desktop,
    service::{Service, World},
    wait,
};

/// Longer than a heartbeat takes to come.
const PATIENCE: Duration = Duration::from_secs(20);
const IN_NAMESPACE: &str = "BACKOFFICE_TEST_IN_NAMESPACE";

#[tokio::test(flavor = "multi_thread")]
async fn ss_10_nginx_and_haproxy_pass_a_stream_on_at_once() {
    let world = World::start().await;
    let service = world.service().await;
    let proxies = [Proxy::nginx(service.address()), Proxy::haproxy(service.address())];
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut streams = Vec::new();
    for proxy in &proxies {
        let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
        desktop.get(&service, "/bootstrap").await;
        streams.push(Stream::open(proxy, &desktop, &service).await);
        if streams.len() == proxies.len() {
            raise(&world, &desktop).await;
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
        let beats = tokio_stream_of_heartbeats(counted);
        Body::from_stream(beats)
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

/// Thirteen bytes ten times a second: far too few to fill a buffer.
fn tokio_stream_of_heartbeats(
    counted: Counted,
) -> impl futures::Stream<Item = Result<&'static str, Infallible>> + Send {
    futures::stream::unfold(counted, async |counted| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok(": heartbeat\n\n"), counted))
    })
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A proxy in front of the service; it ends with this value.
struct Proxy {
    name: &'static str,
    address: SocketAddr,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Buffers and compresses as far as its defaults and a usual setting let it.
    fn nginx(server: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let path = folder.path().display();
        let settings = format!(
            "daemon off; pid {path}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n\
               access_log off; client_body_temp_path {path}/1; proxy_temp_path {path}/2;\n\
               fastcgi_temp_path {path}/3; uwsgi_temp_path {path}/4; scgi_temp_path {path}/5;\n\
               gzip on; gzip_proxied any; gzip_min_length 1;\n\
               server {{ listen {address}; location / {{ proxy_pass http://{server}; }} }}\n\
             }}\n"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, settings).unwrap();
        let prefix = path.to_string();
        let arguments = ["-e", "stderr", "-p", &prefix, "-c"];
        Self::start("nginx", &arguments, &file, address, folder)
    }

    fn haproxy(server: &str) -> Self {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let settings = format!(
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n\
             frontend public\n  bind {address}\n  compression algo gzip\n  compression type text/event-stream\n\
             \x20 default_backend service\n\
             backend service\n  server service {server}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, settings).unwrap();
        Self::start("haproxy", &["-db", "-f"], &file, address, folder)
    }

    fn start(
        name: &'static str,
        arguments: &[&str],
        file: &Path,
        address: SocketAddr,
        folder: tempfile::TempDir,
    ) -> Self {
        let process = Command::new(name)
            .args(arguments)
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} has to be installed: {error}"));
        Self { name, address, process, _folder: folder }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Already gone when it could not start.
        let _ = self.process.kill();
        let _ = self.process.wait();
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
    async fn open(proxy: &Proxy, desktop: &Desktop, service: &Service) -> Self {
        let mut socket = None;
        wait::until("the proxy listens", async || {
            socket = TcpStream::connect(proxy.address).await.ok();
            socket.is_some()
        })
        .await;
        let mut socket = socket.unwrap();
        let request = format!(
            "GET /bff/backoffice/v1/live HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n\
             accept-encoding: gzip, br\r\nauthorization: DPoP {}\r\ndpop: {}\r\nx-device-id: {}\r\n\r\n",
            proxy.address,
            desktop.text("accessToken"),
            desktop.proof(service, &Method::GET, "/live"),
            desktop.text("deviceId"),
        );
        let started = Instant::now();
        socket.write_all(request.as_bytes()).await.unwrap();
        let (name, rest) = (proxy.name, String::new());
        let mut stream =
            Self { name, socket, head: String::new(), rest, first_byte_after: Duration::ZERO };
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

async fn raise(world: &World, desktop: &Desktop) {
    let event: Value = json!({
        "producer": "notification",
        "subject": "melmastoon.notification.alert.raised.v1",
        "tenantId": desktop.text("tenantId"),
        "payload": {
            "propertyId": desktop.property(), "severity": "high", "category": "lock", "title": "x",
        },
    });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/sim/events", world.simulator.url());
    http.post(url).json(&event).send().await.unwrap().error_for_status().unwrap();
}

fn free_address() -> SocketAddr {
    Probe::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
