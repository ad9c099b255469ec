//! The accept loop against clients that hold on to what they get, over real sockets.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use backoffice::http::server::{PeerAddress, Settings, serve};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::support::wire::{read_answer, read_to_end};

const HEAD_READ: Duration = Duration::from_millis(300);
/// By when everything a test waits for has long happened.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &str = "GET /peer HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn ab_08_a_silent_connection_is_closed() {
    let server = Server::start(settings()).await;
    let mut silent = server.connect().await;
    let started = Instant::now();
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(HEAD_READ <= started.elapsed());
    server.stop().await;
}

#[tokio::test]
async fn ab_08_a_head_that_is_not_finished_in_time_ends_the_connection() {
    let server = Server::start(settings()).await;
    for beginning in ["GET /peer HTTP/1.1\r\nhost:", "PRI * HT", "G"] {
        let mut client = server.connect().await;
        client.write_all(beginning.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn ab_08_an_idle_connection_is_kept_for_a_while_and_then_closed() {
    let server = Server::start(settings()).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(read_answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(read_to_end(&mut client).await, "");
    server.stop().await;
}

#[tokio::test]
async fn ab_03_too_many_or_too_long_headers_are_answered_431() {
    let server = Server::start(settings()).await;
    let many = |count: usize| {
        (0..count).fold(String::new(), |headers, n| format!("{headers}x-{n}: y\r\n"))
    };
    let long = |length: usize| format!("x-long: {}\r\n", "y".repeat(length));
    let block = long(10 * 1024).repeat(40);
    for headers in [many(64), many(101), long(40 * 1024), long(64 * 1024), block] {
        let mut client = server.connect().await;
        let head = format!("GET /peer HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        // The server may answer and close before it has read all of it.
        let _ = client.write_all(head.as_bytes()).await;
        let answer = read_to_end(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_knows_where_it_came_from() {
    let server = Server::start(settings()).await;
    let mut client = server.connect().await;
    client.write_all(REQUEST.as_bytes()).await.unwrap();
    let answer = read_answer(&mut client).await;
    assert!(answer.ends_with(&client.local_addr().unwrap().to_string()), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn ab_11_connections_over_the_cap_are_closed_and_the_others_served() {
    for capped in [
        Settings { connections_max: 2, ..settings() },
        Settings { connections_per_address_max: Some(2), ..settings() },
    ] {
        let capped = Settings { head_read_timeout: PATIENCE, ..capped };
        let server = Server::start(capped).await;
        let mut first = server.connect().await;
        let _second = server.connect().await;
        let mut third = server.connect().await;

        assert_eq!(read_to_end(&mut third).await, "");
        first.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(read_answer(&mut first).await.starts_with("HTTP/1.1 200"));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_new() {
    let mut server = Server::start(settings()).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let finish = server.slow_request().await;

    server.shutdown.cancel();
    let refused = async {
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.expect("the listener is closed");
    finish.send(()).unwrap();

    let answer = read_to_end(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_in_time_whatever_is_under_way() {
    let drain_timeout = Duration::from_millis(200);
    let mut server = Server::start(Settings { drain_timeout, ..settings() }).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let _never_sent = server.slow_request().await;

    let started = Instant::now();
    server.stop().await;

    assert!(drain_timeout <= started.elapsed());
    assert_eq!(read_to_end(&mut stuck).await, "");
}

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    /// One sender for each `/slow` request that has begun; sending lets it end.
    slow: mpsc::Receiver<oneshot::Sender<()>>,
    running: JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(settings: Settings) -> Self {
        let (begun, slow) = mpsc::channel(1);
        let router = Router::new()
            .route(
                "/slow",
                get(async move || {
                    let (finish, finished) = oneshot::channel();
                    begun.send(finish).await.unwrap();
                    finished.await.unwrap();
                    "done"
                }),
            )
            .route(
                "/peer",
                get(async |request: axum::extract::Request| {
                    request.extensions().get::<PeerAddress>().unwrap().0.to_string()
                }),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve(listener, router, settings, shutdown.clone());
        let running = tokio_util::task::TaskTracker::new().spawn(serving);
        Self { address, shutdown, slow, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn slow_request(&mut self) -> oneshot::Sender<()> {
        timeout(PATIENCE, self.slow.recv()).await.expect("the request arrives").unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.running).await.expect("the drain ends").unwrap().unwrap();
    }
}

fn settings() -> Settings {
    Settings { head_read_timeout: HEAD_READ, ..Settings::default() }
}
