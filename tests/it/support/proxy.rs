//! A TCP proxy that can lose or hold back a server's answer, so that what was asked has happened
//! and nobody hears of it, or can cut the line altogether.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards to one server until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    trap: Arc<Mutex<Option<Trap>>>,
    is_cut: watch::Sender<bool>,
    _connections: JoinSet<()>,
}

/// What the proxy waits for.
#[derive(Clone)]
struct Trap {
    marker: Vec<u8>,
    /// The connection stays open and silent; else it is closed.
    holds: bool,
}

impl Proxy {
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let trap = Arc::new(Mutex::new(None));
        let is_cut = watch::Sender::new(false);
        let mut connections = JoinSet::new();
        let (set, cut) = (Arc::clone(&trap), is_cut.subscribe());
        connections.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (server, set, mut cut) = (server.clone(), Arc::clone(&set), cut.clone());
                open.spawn(async move {
                    tokio::select! {
                        biased;
                        // The sender lives as long as the proxy.
                        _ = cut.wait_for(|is_cut| *is_cut) => (),
                        () = forward(client, &server, &set) => (),
                    }
                });
            }
        });
        Self { address, trap, is_cut, _connections: connections }
    }

    /// The answer to the next message that contains `marker` is lost, and its connection with it.
    pub fn lose_the_answer_to(&self, marker: &[u8]) {
        *self.trap.lock().unwrap() = Some(Trap { marker: marker.to_vec(), holds: false });
    }

    /// The answer to the next message that contains `marker` never comes.
    pub fn hold_the_answer_to(&self, marker: &[u8]) {
        *self.trap.lock().unwrap() = Some(Trap { marker: marker.to_vec(), holds: true });
    }

    /// Whether the answer has been lost, or is being held, by now.
    pub fn has_lost(&self) -> bool {
        self.trap.lock().unwrap().is_none()
    }

    /// Ends every connection and each new one, until mended.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn forward(mut client: TcpStream, server: &str, trap: &Mutex<Option<Trap>>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut sprung: Option<Trap> = None;
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(read @ 1..) = read else { return };
                sprung = sprung.or_else(|| spring(trap, &request[..read]));
                if server.write_all(&request[..read]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut answer) => {
                let Ok(read @ 1..) = read else { return };
                match &sprung {
                    Some(Trap { holds: true, .. }) => (),
                    Some(Trap { holds: false, .. }) => return,
                    None => {
                        if client.write_all(&answer[..read]).await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// Takes the trap if the message contains its marker.
fn spring(trap: &Mutex<Option<Trap>>, message: &[u8]) -> Option<Trap> {
    let mut trap = trap.lock().unwrap();
    trap.take_if(|trap| message.windows(trap.marker.len()).any(|window| window == trap.marker))
}
