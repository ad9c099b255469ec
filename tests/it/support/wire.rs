//! HTTP/1.1 as bytes, for what no client library would send.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

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
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    read.await.expect("an answer within twenty seconds").unwrap();
    RawAnswer::read(&answer)
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
