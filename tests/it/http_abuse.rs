//! What strangers may send to the accept loop and the layers, byte by byte over real sockets.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, routing::get};
use backoffice::http::{
    self,
    body::Json,
    health::Readiness,
    layers,
    server::{PeerAddress, Settings, serve},
};
use bytes::Bytes;
use garde::Validate;
use serde::Deserialize;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use utoipa_axum::router::OpenApiRouter;

use crate::support::{
    wait,
    wire::{dribble, exchange_bytes, read_to_end, status},
};

const ECHO: &str = "/bff/backoffice/v1/echo";
const BODY_MAX: usize = 256 * 1024;

#[derive(Deserialize, Validate)]
#[serde(deny_unknown_fields)]
struct Comment {
    #[garde(length(chars, max = 1000))]
    text: String,
    #[garde(length(max = 100), inner(range(max = 1000)))]
    #[serde(default)]
    items: Vec<i64>,
}

#[tokio::test]
async fn ab_01_a_body_over_the_limit_is_refused_early_whatever_it_declares() {
    let server = Server::start(quick()).await;
    let over = BODY_MAX + 1;
    for length in [over.to_string(), "1099511627776".to_owned(), u64::MAX.to_string()] {
        // No byte of it is sent: the answer does not wait for any.
        let answer = server.send(&post(&format!("content-length: {length}\r\n"), "")).await;
        // No parser takes the last of them for a length.
        assert!([400, 413, 431].contains(&status(&answer)), "{length}: {answer}");
    }
    let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
    let chunked = post("transfer-encoding: chunked\r\n", &chunk.repeat(9));
    assert_eq!(status(&server.send(&chunked).await), 413, "chunked, without an end");

    let mut liar = server.connect().await;
    liar.write_all(post("content-length: 100\r\n", "{").as_bytes()).await.unwrap();
    liar.shutdown().await.unwrap();
    assert_ne!(status(&read_to_end(&mut liar).await), 200, "less than it declares");
    let more = post("content-length: 13\r\n", r#"{"text": "a"}{"text": "b"}"#);
    let answer = server.send(&more).await;
    assert_eq!(status(&answer), 200);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 2, "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "what is over is no request: {answer}");
    assert_eq!(server.reached(), 1);
    server.stop().await;
}

#[tokio::test]
async fn ab_02_19_only_plain_json_is_read() {
    let server = Server::start(quick()).await;
    let bomb = [0x1f_u8, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    for fields in [
        "content-type: application/json\r\ncontent-encoding: gzip\r\n",
        "content-type: application/json\r\ncontent-encoding: deflate\r\n",
        "content-type: application/json\r\ncontent-encoding: br\r\n",
        "content-type: application/json\r\ncontent-encoding: zstd\r\n",
        "content-type: application/json\r\ncontent-encoding: identity, gzip\r\n",
        "content-type: application/json\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\n",
        "",
        "content-type: text/plain\r\n",
        "content-type: text/json\r\n",
        "content-type: application/json; charset=utf-16\r\n",
        "content-type: application/json; charset=utf-8; charset=latin1\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: multipart/form-data; boundary=x\r\n",
        "content-type: application/json\r\ncontent-type: application/json\r\n",
        "content-type: application/json, text/plain\r\n",
    ] {
        let head = format!(
            "POST {ECHO} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}content-length: {}\r\n\r\n",
            bomb.len()
        );
        let answer = server.send_bytes(&[head.as_bytes(), &bomb].concat()).await;
        assert_eq!(status(&answer), 415, "{fields}: {answer}");
    }
    assert_eq!(server.reached(), 0);
    let plain = "connection: close\r\ncontent-type: application/json; charset=UTF-8\r\n\
        content-length: 13\r\n";
    let head = format!("POST {ECHO} HTTP/1.1\r\nhost: x\r\n{plain}\r\n{}", r#"{"text": "a"}"#);
    assert_eq!(status(&server.send(&head).await), 200);
    server.stop().await;
}

#[tokio::test]
async fn ab_04_a_target_that_is_too_long_or_broken_is_refused() {
    let server = Server::start(quick()).await;
    let long = |length: usize| "x".repeat(length);
    let parameters = (0..10_000).fold(String::new(), |query, n| format!("{query}p{n}=1&"));
    for target in [
        format!("/bff/{}", long(8 * 1024)),
        format!("/bff/{}", long(20_000)),
        format!("/bff/{}", long(70_000)),
        format!("/health/live?{parameters}"),
        format!("/health/live?q={}", long(8 * 1024)),
        "/health/live%00".to_owned(),
        "/health/live?q=%00".to_owned(),
        "/health/live?q=%".to_owned(),
        "/health/%zz".to_owned(),
        "/health/%e0%80%".to_owned(),
        "/health/live?q=%u0041".to_owned(),
    ] {
        let answer = server
            .send(&format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            .await;
        let shown = &target[..target.len().min(40)];
        // Longer than a whole head may be.
        let is_refused_as_head = 32 * 1024 < target.len() && status(&answer) == 431;
        let is_refused = [400, 414].contains(&status(&answer)) || is_refused_as_head;
        assert!(is_refused, "{shown}: {answer}");
    }
    let good = server
        .send("GET /health/live?q=%20 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(status(&good), 200);
    server.stop().await;
}

#[tokio::test]
async fn ab_05_what_two_parties_could_delimit_differently_is_refused_and_closed() {
    let server = Server::start(Settings { head_read_timeout: LONG, ..quick() }).await;
    let body = r#"{"text": "a"}"#;
    let length = "content-length: 13\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    for fields in [
        "content-length: 13\r\ncontent-length: 13\r\n",
        "content-length: 13\r\ncontent-length: 2\r\n",
        "content-length: 13, 13\r\n",
        "content-length: +13\r\n",
        "content-length: -1\r\n",
        "content-length: 0x0d\r\n",
        "content-length: 13 \x0b\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        &format!("{length}{chunked}"),
        &format!("{chunked}{length}"),
        &format!("{chunked}{chunked}"),
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: x\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "transfer-encoding : chunked\r\n",
        &format!("{length}host: y\r\n"),
        &format!("{length}x-folded: a\r\n b\r\n"),
        &format!("{length}x-nul: a\0b\r\n"),
        &format!("{length}x-return: a\rb\r\n"),
        &format!("{length}x-line: a\nx-other: b\r\n"),
        &format!("{length}x-space : a\r\n"),
        &format!("{length}x no colon\r\n"),
        &format!("{length}: no name\r\n"),
        &format!("{length}\u{1}name: a\r\n"),
    ] {
        let answer = server.send(&post(fields, body)).await;
        refused_and_closed(&answer, fields);
    }
    for head in [
        "POST /bff/backoffice/v1/echo HTTP/1.1\r\n\r\n",
        "GET /health/live HTTP/1.1\nhost: x\n\n",
        "GET  /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /health/live HTTP/1.1 \r\nhost: x\r\n\r\n",
        "GET /health/live HTTP/1.2\r\nhost: x\r\n\r\n",
        "GET /health/live HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET /health/live\r\n\r\n",
        " GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nhost: x\r\n\r \n",
    ] {
        refused_and_closed(&server.send(head).await, head);
    }
    // The second of two requests on one connection is judged like the first.
    let second = format!("{}{}", post(length, body), post(&format!("{chunked}{length}"), body));
    let answer = server.send(&second).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("HTTP/1.1 400"), "{answer}");
    // And behind a chunked body there is no second one.
    let chunks = "d\r\n{\"text\": \"a\"}\r\n0\r\n\r\n";
    let smuggled = format!("{}{}", post(chunked, chunks), post(length, body));
    let answer = server.send(&smuggled).await;
    assert_eq!((status(&answer), answer.matches("HTTP/1.1 ").count()), (200, 1), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    for chunks in
        ["d;x=\n\r\n", "d\n{\"text\": \"a\"}\r\n0\r\n\r\n", "-d\r\n", "fffffffffffffffff\r\n"]
    {
        let answer = server.send(&post(chunked, chunks)).await;
        assert_ne!(status(&answer), 200, "{chunks:?}: {answer}");
    }
    assert_eq!(server.reached(), 2);
    server.stop().await;
}

#[tokio::test]
async fn ab_08_a_head_that_drips_in_or_speaks_http_2_ends_in_time() {
    let server =
        Server::start(Settings { head_read_timeout: Duration::from_millis(300), ..quick() }).await;
    let mut dripping = server.connect().await;
    let started = Instant::now();
    let head = b"GET /health/live HTTP/1.1\r\nhost: x\r\nx-slow: ";
    dripping.write_all(head).await.unwrap();
    let (mut reading, mut writing) = dripping.split();
    let answer = tokio::select! {
        answer = read_to_end(&mut reading) => answer,
        () = dribble(&mut writing, b'a') => unreachable!("it never ends"),
    };
    assert_ne!(status(&answer), 200);
    assert!(started.elapsed() < LONG, "the bytes did not keep it alive");
    for preface in [
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let answer = server.send(preface).await;
        assert!([0, 400].contains(&status(&answer)), "{preface:?}: {answer}");
        assert!(!answer.contains("\0\0\0\x04"), "no settings frame: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn ab_09_a_body_that_drips_in_is_given_up_with_408() {
    let server = Server::start(Settings { head_read_timeout: LONG, ..quick() }).await;
    let mut client = server.connect().await;
    client.write_all(post("content-length: 1000\r\n", "{").as_bytes()).await.unwrap();
    let (mut reading, mut writing) = client.split();
    let answer = tokio::select! {
        answer = read_to_end(&mut reading) => answer,
        () = dribble(&mut writing, b' ') => unreachable!("it never ends"),
    };
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(server.reached(), 0);
    server.stop().await;
}

#[tokio::test]
async fn ab_10_a_reader_that_takes_nothing_loses_its_answer_and_costs_a_bounded_amount() {
    let stalled = Duration::from_millis(300);
    let server = Server::start(Settings { write_stall_timeout: stalled, ..quick() }).await;
    for path in ["/bff/backoffice/v1/endless", "/bff/backoffice/v1/live"] {
        let mut client = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        wait::until("the answer begins", async || server.streaming() == 1).await;
        wait::until("the answer is given up", async || server.streaming() == 0).await;
        let produced = server.produced.swap(0, Ordering::SeqCst);
        // What two socket buffers take, and no more.
        assert!(produced < 64 << 20, "{path}: {produced} bytes");
    }
    server.stop().await;
}

#[tokio::test]
async fn ab_11_of_twenty_thousand_connections_a_share_is_kept_and_accepting_goes_on() {
    let capped = Settings {
        connections_max: 500,
        connections_per_address_max: Some(50),
        head_read_timeout: Duration::from_mins(5),
        ..Settings::default()
    };
    let server = Server::start(capped).await;
    let mut kept = Vec::new();
    let mut closed = 0;
    for number in 0..20_000_u32 {
        // Eleven addresses with fifty each would be more than all may have.
        let [.., high, low] = (number % 400 + 2).to_be_bytes();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 1, high, low], 0))).unwrap();
        let mut client = socket.connect(server.address).await.unwrap();
        if kept.len() < 500 {
            kept.push(client);
        } else {
            assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0, "closed at once");
            closed += 1;
        }
    }
    assert_eq!((kept.len(), closed), (500, 19_500));
    drop(kept.split_off(100));
    wait::until("the places are free again", async || {
        let answer = exchange_bytes(server.address, HEALTH.as_bytes()).await;
        status(&answer) == 200
    })
    .await;
    let mut one_address = Vec::new();
    for _ in 0..50 {
        one_address.push(server.connect().await);
    }
    let mut over = server.connect().await;
    assert_eq!(over.read(&mut [0]).await.unwrap_or_default(), 0, "one address has its share");
    server.stop().await;
}

#[tokio::test]
async fn ab_12_what_is_not_http_is_closed() {
    let server = Server::start(quick()).await;
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03abcdefghijklmnopqrstuvwxyz\r\n\r\n";
    let version_2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x50";
    let version_1 = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
    let request = "GET /bff/backoffice/v1/peer HTTP/1.1\r\nhost: x\r\n\r\n";
    for (name, bytes) in [
        ("TLS", hello.to_vec()),
        ("PROXY 1", format!("{version_1}{request}").into_bytes()),
        ("PROXY 2", [version_2, request.as_bytes()].concat()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        ("SMTP", b"EHLO x\r\n\r\n".to_vec()),
    ] {
        let answer = server.send_bytes(&bytes).await;
        assert!([0, 400].contains(&status(&answer)), "{name}: {answer}");
        assert!(!answer.contains("203.0.113.9"), "{name}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn ab_13_14_15_16_17_18_a_document_that_readers_could_take_differently_is_refused() {
    let server = Server::start(quick()).await;
    let text = |text: &str| json!({ "text": text.repeat(1001) }).to_string();
    let (too_long, invisible, turned_around) = (text("x"), text("\u{200b}"), text("\u{202e}"));
    let wide = format!(r#"{{"text": "a", "items": [{}0]}}"#, "0,".repeat(100_000));
    let (deep, deepest) = (nested(129), nested(100_000));
    let endless = "[".repeat(200_000);
    let rows: &[(&str, &[u8])] = &[
        ("AB-13 not UTF-8", b"{\"text\": \"\xff\"}"),
        ("AB-13 overlong", b"{\"text\": \"\xc0\xaf\"}"),
        ("AB-13 surrogate in UTF-8", b"{\"text\": \"\xed\xa0\x80\"}"),
        ("AB-13 byte order mark", b"\xef\xbb\xbf{\"text\": \"a\"}"),
        ("AB-13 UTF-16", b"\xff\xfe{\0\"\0t\0\"\0"),
        ("AB-14 NUL in a text", br#"{"text": "a\u0000b"}"#),
        ("AB-14 NUL in a name", br#"{"text": "a", "x\u0000": 1}"#),
        ("AB-14 bare NUL", b"{\"text\": \"a\0\"}"),
        ("AB-15 high surrogate", br#"{"text": "\ud800"}"#),
        ("AB-15 low surrogate", br#"{"text": "\udc00\ud800"}"#),
        ("AB-15 too long", too_long.as_bytes()),
        ("AB-15 invisible but long", invisible.as_bytes()),
        ("AB-15 turned around and long", turned_around.as_bytes()),
        ("AB-16 129 levels", &deep),
        ("AB-16 as deep as a body is long", &deepest),
        ("AB-16 without an end", endless.as_bytes()),
        ("AB-17 a member twice", br#"{"text": "a", "text": "b"}"#),
        ("AB-17 a member twice, escaped", br#"{"text": "a", "\u0074ext": "b"}"#),
        ("AB-17 unknown member", br#"{"text": "a", "role": "owner"}"#),
        ("AB-17 NaN", br#"{"text": "a", "items": [NaN]}"#),
        ("AB-17 infinite", br#"{"text": "a", "items": [1e999]}"#),
        ("AB-17 1e400", br#"{"text": "a", "items": [1e400]}"#),
        ("AB-17 a fraction", br#"{"text": "a", "items": [1.5]}"#),
        ("AB-17 minus zero", br#"{"text": "a", "items": [-0.0]}"#),
        ("AB-17 2^63", br#"{"text": "a", "items": [9223372036854775808]}"#),
        ("AB-17 a comma too many", br#"{"text": "a",}"#),
        ("AB-17 two documents", br#"{"text": "a"}{"text": "b"}"#),
        ("AB-17 an array for an object", br#"["a"]"#),
        ("AB-17 a comment", br#"{"text": "a" /* x */}"#),
        ("AB-17 single quotes", b"{'text': 'a'}"),
        ("AB-18 a hundred thousand items", wide.as_bytes()),
    ];
    for (name, body) in rows {
        let answer = server.send_bytes(&post_json(body)).await;
        assert_eq!(status(&answer), 400, "{name}: {answer}");
        assert!(answer.contains("application/problem+json"), "{name}: {answer}");
    }
    let megabyte = json!({ "text": "x".repeat(1 << 20) }).to_string();
    assert_eq!(status(&server.send_bytes(&post_json(megabyte.as_bytes())).await), 413, "AB-15");
    assert_eq!(server.reached(), 0);

    // Zero width joiners and marks of direction belong to the languages of our operators.
    let text = "می\u{200c}روم \u{202b}دروازه\u{202c} 🔑";
    let answer =
        server.send_bytes(&post_json(json!({ "text": text }).to_string().as_bytes())).await;
    assert!(status(&answer) == 200 && answer.ends_with(text), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn ab_20_methods_that_are_not_for_us_are_refused() {
    let server = Server::start(quick()).await;
    for request in [
        "TRACE /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-secret: reflected\r\n\r\n",
        "CONNECT db.internal:5432 HTTP/1.1\r\nhost: db.internal:5432\r\nconnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "DELETE /bff/backoffice/v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "FOO /bff/backoffice/v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "get /bff/backoffice/v1/peer HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "GET /bff/backoffice/v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-http-method-override: POST\r\n\r\n",
    ] {
        let answer = server.send(request).await;
        assert!([405, 501].contains(&status(&answer)), "{request}: {answer}");
        assert!(!answer.contains("reflected"), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nallow: "), "{request}: {answer}");
    }
    assert_eq!(server.reached(), 0);
    server.stop().await;
}

#[tokio::test]
async fn ab_21_a_path_has_one_spelling() {
    let server = Server::start(quick()).await;
    for path in [
        "/bff/backoffice/v1/../v1/peer",
        "/bff/backoffice/v1/./peer",
        "/bff/backoffice/v1//peer",
        "/bff/backoffice/v1/%2e%2e/v1/peer",
        "/bff/backoffice/v1/%2E/peer",
        "/bff/backoffice/v1%2fpeer",
        "/bff/backoffice/v1%5cpeer",
        "/bff/backoffice/v1\\peer",
        "/bff/backoffice/v1/%252e%252e/v1/peer",
        "/bff/backoffice/v1/..%252fv1/peer",
        "/bff/backoffice/v1/..;/v1/peer",
        "/bff/backoffice/v1/peer;jsessionid=1",
        "/bff/backoffice/v1/peer.",
        "/bff/backoffice/v1/peer/",
        "/bff/backoffice/v1/peer%20",
        "/bff/backoffice/v1/peer%0a",
        "/bff/backoffice/v1/Peer",
        "/bff/backoffice/v1/p%65er/..",
        "/bff/backoffice/V1/peer",
        "/api/api/bff/backoffice/v1/peer",
        "bff/backoffice/v1/peer",
        "/../../../../etc/passwd",
        "/docs/../openapi.json",
        "/docs/%2e%2e/%2e%2e/Cargo.toml",
    ] {
        let answer = server
            .send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            .await;
        assert!([400, 404].contains(&status(&answer)), "{path}: {answer}");
    }
    assert_eq!(server.reached(), 0);
    server.stop().await;
}

#[tokio::test]
async fn ab_25_a_client_cannot_say_where_it_comes_from() {
    let server = Server::start(quick()).await;
    let mut client = server.connect().await;
    let address = client.local_addr().unwrap().to_string();
    let request = "GET /bff/backoffice/v1/peer HTTP/1.1\r\nhost: evil.example\r\n\
        x-forwarded-for: 203.0.113.9\r\nx-real-ip: 203.0.113.9\r\nforwarded: for=203.0.113.9;host=y\r\n\
        x-forwarded-host: evil.example\r\nx-forwarded-proto: https\r\nx-forwarded-prefix: /evil\r\n\
        connection: close\r\nx-original-url: /health/live\r\nx-rewrite-url: /health/live\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.ends_with(&address) && !answer.contains("203.0.113.9"), "{answer}");
    assert_eq!(server.reached(), 1);
    server.stop().await;
}

/// Longer than anything here takes, shorter than the patience of a reader.
const LONG: Duration = Duration::from_secs(8);
const HEALTH: &str = "GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

struct Server {
    address: SocketAddr,
    /// Requests whose route was reached.
    reached: Arc<AtomicUsize>,
    /// Endless answers that are open, and what they have produced.
    streaming: Arc<AtomicUsize>,
    produced: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    running: JoinHandle<std::io::Result<()>>,
}

/// Counts an endless answer for as long as it exists.
struct Streaming(Arc<AtomicUsize>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    async fn start(settings: Settings) -> Self {
        let counters: [Arc<AtomicUsize>; 3] = std::array::from_fn(|_| Arc::default());
        let [reached, streaming, produced] = counters;
        let router = http::router(
            api(&reached, &streaming, &produced),
            OpenApiRouter::new(),
            (),
            Readiness::default(),
            layers::Settings {
                body_size_max: BODY_MAX,
                body_read_timeout: Duration::from_millis(400),
                ..layers::Settings::default()
            },
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = serve(listener, router, settings, shutdown.clone());
        let running = TaskTracker::new().spawn(serving);
        Self { address, reached, streaming, produced, shutdown, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, request: &str) -> String {
        self.send_bytes(request.as_bytes()).await
    }

    async fn send_bytes(&self, request: &[u8]) -> String {
        exchange_bytes(self.address, request).await
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    fn streaming(&self) -> usize {
        self.streaming.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

fn api(
    reached: &Arc<AtomicUsize>,
    streaming: &Arc<AtomicUsize>,
    produced: &Arc<AtomicUsize>,
) -> OpenApiRouter {
    let (echoed, asked) = (Arc::clone(reached), Arc::clone(reached));
    let endless = || {
        let (streaming, produced) = (Arc::clone(streaming), Arc::clone(produced));
        get(async move || {
            streaming.fetch_add(1, Ordering::SeqCst);
            let open = Streaming(streaming);
            let chunk = Bytes::from(vec![b' '; 64 * 1024]);
            Body::from_stream(futures::stream::repeat_with(move || {
                let _ = &open;
                produced.fetch_add(chunk.len(), Ordering::SeqCst);
                Ok::<_, Infallible>(chunk.clone())
            }))
        })
    };
    OpenApiRouter::new()
        .route(
            "/echo",
            axum::routing::post(async move |Json(comment): Json<Comment>| {
                echoed.fetch_add(1, Ordering::SeqCst);
                drop(comment.items);
                comment.text
            }),
        )
        .route(
            "/peer",
            get(async move |request: axum::extract::Request| {
                asked.fetch_add(1, Ordering::SeqCst);
                request.extensions().get::<PeerAddress>().unwrap().0.to_string()
            }),
        )
        .route("/endless", endless())
        .route("/live", endless())
}

/// Closes idle connections soon, so that reading to the end of one does not take long.
fn quick() -> Settings {
    Settings { head_read_timeout: Duration::from_secs(3), ..Settings::default() }
}

fn post(fields: &str, body: &str) -> String {
    format!(
        "POST {ECHO} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{fields}\r\n{body}"
    )
}

fn post_json(body: &[u8]) -> Vec<u8> {
    [post(&format!("connection: close\r\ncontent-length: {}\r\n", body.len()), "").as_bytes(), body]
        .concat()
}

fn nested(depth: usize) -> Vec<u8> {
    let (open, close) = ("[".repeat(depth), "]".repeat(depth));
    format!(r#"{{"text": "a", "items": {open}{close}}}"#).into_bytes()
}

fn refused_and_closed(answer: &str, name: &str) {
    assert_eq!(status(answer), 400, "{name:?}: {answer}");
    assert!(answer.contains("connection: close"), "{name:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name:?}: {answer}");
}
