//! HTTP byte by byte, for requests that no client library would send.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, ToSocketAddrs},
    time::timeout,
};

/// By when everything a test waits for has long happened.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends `request` as it is and reads until the server closes; what it sent before a reset counts.
pub async fn exchange(address: impl ToSocketAddrs, request: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read all of it.
    let _ = client.write_all(request).await;
    read_to_end(&mut client).await
}

/// Until the server closes; what it sent before a reset counts as well.
pub async fn read_to_end(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = async { while client.read_buf(&mut bytes).await.is_ok_and(|count| 0 < count) {} };
    timeout(PATIENCE, reading).await.expect("the server closes");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of the first answer; 0 when the connection was closed without one.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
