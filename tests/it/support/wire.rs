//! HTTP/1.1 as bytes, for what no client library would send.

use std::{collections::BTreeMap, io, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::{interval, timeout},
};

/// By when everything a test waits for has long happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two bytes of a client that dribbles.
const DRIP: Duration = Duration::from_millis(20);

/// A header line: name and value as they go over the wire.
pub type Line = (String, Vec<u8>);

/// An answer as it came.
#[derive(Debug)]
pub struct RawAnswer {
    pub status: u16,
    /// Names in lower case, in the order of the answer.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

pub fn line(name: &str, value: impl AsRef<[u8]>) -> Line {
    (name.to_owned(), value.as_ref().to_vec())
}

/// Sends one request on a connection of its own and reads the answer to its end. `url` is that of
/// the server, with or without a path.
pub async fn exchange(url: &str, target: &str, lines: &[Line], body: &[u8]) -> RawAnswer {
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut request = format!("{target} HTTP/1.1\r\nhost: {address}\r\n").into_bytes();
    for (name, value) in lines {
        request.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    if !body.is_empty() {
        request.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    request.extend(b"connection: close\r\n\r\n");
    request.extend(body);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let (answer, end) = read_all(&mut stream).await;
    end.unwrap();
    RawAnswer::read(&answer)
}

/// Sends `request` as it is and reads until the server closes; what it sent before a reset counts.
pub async fn exchange_bytes(address: impl ToSocketAddrs, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read all of it.
    let _ = client.write_all(request).await;
    read_to_end(&mut client).await
}

/// Until the server closes; what it sent before a reset counts as well.
pub async fn read_to_end(client: &mut (impl AsyncRead + Unpin)) -> String {
    let (bytes, _) = read_all(client).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with its body, on a connection that stays open.
pub async fn read_answer(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            assert!(0 < client.read_buf(&mut bytes).await.unwrap(), "closed early");
            let text = String::from_utf8(bytes.clone()).unwrap();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                return text;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the server answers")
}

/// Sends one byte after the other, for ever. The pause between them is what is tried out: a server
/// that starts its clock anew with each byte would wait for ever, too.
pub async fn dribble(client: &mut (impl AsyncWrite + Unpin), byte: u8) {
    let mut ticks = interval(DRIP);
    loop {
        ticks.tick().await;
        if client.write_all(&[byte]).await.is_err() {
            // The server has closed; what it said is for the reader.
            std::future::pending::<()>().await;
        }
    }
}

/// The status of the first answer; 0 when the connection was closed without one.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// What came, and how it ended.
async fn read_all(client: &mut (impl AsyncRead + Unpin)) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let reading = async {
        while 0 < client.read_buf(&mut bytes).await? {}
        Ok(())
    };
    let end = timeout(PATIENCE, reading).await.expect("the server closes");
    (bytes, end)
}

impl RawAnswer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").expect("the end of the head");
        let head = std::str::from_utf8(&bytes[..end]).expect("a head of ASCII");
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let is_named = |(header, _): &&(String, String)| header == name;
        self.headers.iter().filter(is_named).map(|(_, value)| value.as_str()).collect()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The code of a problem, or the empty text.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn nonce(&self) -> Option<String> {
        self.all("dpop-nonce").first().map(|nonce| (*nonce).to_owned())
    }

    /// The one challenge: scheme and parameters, by the grammar of RFC 9110 §11.
    pub fn challenge(&self) -> (String, BTreeMap<String, String>) {
        let challenges = self.all("www-authenticate");
        assert_eq!(challenges.len(), 1, "one challenge: {:?}", self.headers);
        let (scheme, mut rest) = challenges[0].split_once(' ').expect("scheme and parameters");
        let mut parameters = BTreeMap::new();
        loop {
            let (name, value) = rest.split_once("=\"").expect("name and quoted text");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
            let (value, after) = value.split_once('"').expect("the end of the quoted text");
            assert!(value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'\\'));
            assert!(parameters.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice");
            match after.strip_prefix(", ") {
                Some(next) => rest = next,
                None if after.is_empty() => return (scheme.to_owned(), parameters),
                None => panic!("{after} after a parameter"),
            }
        }
    }
}
