//! A TCP proxy that can lose a server's answer: what was asked has happened, and nobody hears of
//! it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Forwards to one server until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    marker: Arc<Mutex<Option<Vec<u8>>>>,
    _connections: JoinSet<()>,
}

impl Proxy {
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let marker = Arc::new(Mutex::new(None));
        let mut connections = JoinSet::new();
        let armed = Arc::clone(&marker);
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                open.spawn(forward(client, server, Arc::clone(&armed)));
            }
        });
        Self { address, marker, _connections: connections }
    }

    /// The answer to the next message that contains `marker` is lost, and its connection with it.
    pub fn lose_the_answer_to(&self, marker: &[u8]) {
        *self.marker.lock().unwrap() = Some(marker.to_vec());
    }

    /// Whether the answer has been lost by now.
    pub fn has_lost(&self) -> bool {
        self.marker.lock().unwrap().is_none()
    }
}

async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    marker: Arc<Mutex<Option<Vec<u8>>>>,
) {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut is_marked = false;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(read @ 1..) = read else { return };
                {
                    let mut marker = marker.lock().unwrap();
                    let has_marker = marker.as_ref().is_some_and(|marker| {
                        request[..read].windows(marker.len()).any(|window| window == marker)
                    });
                    if has_marker {
                        is_marked = true;
                        *marker = None;
                    }
                }
                if server.write_all(&request[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answer) => {
                let Ok(read @ 1..) = read else { return };
                if is_marked || client.write_all(&answer[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}
