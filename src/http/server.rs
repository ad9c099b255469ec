//! The accept loop: HTTP/1.1 with a bound on everything a client can hold on to, and a drain at the
//! end.

mod address_cap;
mod head_guard;
mod patient_stream;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, gauge};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use self::{
    address_cap::{AddressCap, AddressPermit},
    head_guard::GuardedStream,
    patient_stream::PatientStream,
};

/// Waiting after the machine refused another connection: it is out of descriptors or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What one listener allows.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at once; further ones are closed at once.
    pub connections_max: usize,
    /// Connections of one address at once; `None` behind a trusted hop, where all come from few.
    pub connections_per_address_max: Option<usize>,
    /// For the head of a request, and for an idle connection until its next one.
    pub head_read_timeout: Duration,
    /// Without the client taking a single byte of an answer.
    pub write_stall_timeout: Duration,
    /// Without the client's machine confirming what was sent: it is gone without a word.
    pub unconfirmed_timeout: Duration,
    /// Fields of a request's head.
    pub headers_max: usize,
    /// Bytes of a request's head, and about what is buffered of a connection. At least 8 KiB.
    pub head_size_max: usize,
    /// After shutdown began, for requests that are under way.
    pub drain_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: Some(100),
            head_read_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(30),
            unconfirmed_timeout: Duration::from_secs(30),
            headers_max: 64,
            head_size_max: 32 * 1024,
            drain_timeout: Duration::from_secs(8),
        }
    }
}

/// Where a request's connection came from; in its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub SocketAddr);

/// One accepted connection and what it counts against.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    _connection: OwnedSemaphorePermit,
    _address: Option<AddressPermit>,
}

/// What all connections share.
#[derive(Clone)]
struct Shared {
    router: Router,
    settings: Settings,
    /// No new requests.
    draining: CancellationToken,
    /// Time is up for those under way.
    abandoned: CancellationToken,
}

/// Serves until `shutdown`, then finishes what is under way, within the drain's time.
///
/// # Errors
/// The listener is of no use from the start; a failing accept later is waited out.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    settings: Settings,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "listening");
    let connections = TaskTracker::new();
    let abandoned = CancellationToken::new();
    let shared =
        Shared { router, settings, draining: shutdown.clone(), abandoned: abandoned.clone() };
    let all = Arc::new(Semaphore::new(settings.connections_max));
    let addresses = settings.connections_per_address_max.map(AddressCap::new);

    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(accepted) = admit(stream, peer, &all, addresses.as_ref()) {
                    connections.spawn(converse(accepted, shared.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    drain(&connections, &abandoned, settings.drain_timeout).await;
    Ok(())
}

/// Counts the connection, or closes it by dropping it.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    all: &Arc<Semaphore>,
    addresses: Option<&AddressCap>,
) -> Option<Accepted> {
    let refused = |reason: &'static str| {
        counter!("bff_backoffice_connections_refused_total", "reason" => reason).increment(1);
    };
    let Ok(connection) = all.clone().try_acquire_owned() else {
        refused("all");
        return None;
    };
    let address = match addresses.map(|addresses| addresses.enter(peer.ip())) {
        Some(None) => {
            refused("address");
            return None;
        }
        Some(permit) => permit,
        None => None,
    };
    Some(Accepted { stream, peer, _connection: connection, _address: address })
}

async fn converse(accepted: Accepted, shared: Shared) {
    let Shared { router, settings, draining, abandoned } = shared;
    let open = gauge!("bff_backoffice_connections");
    open.increment(1.0);
    if let Err(error) = prepare(&accepted.stream, &settings) {
        tracing::debug!(%error, "a connection went away at once");
    }
    let stream = PatientStream::new(accepted.stream, settings.write_stall_timeout);
    let stream = GuardedStream::new(stream);
    let peer = PeerAddress(accepted.peer);
    let (clear, served) = (stream.clear(), AtomicU64::new(0));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let number = served.fetch_add(1, Ordering::SeqCst) + 1;
        answer(router.clone(), request, number <= clear.load(Ordering::SeqCst))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_read_timeout)
        .max_headers(settings.headers_max)
        .max_header_size(settings.head_size_max)
        .max_buf_size(settings.head_size_max)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => Some(ended),
                () = abandoned.cancelled() => None,
            }
        }
    };
    if let Some(Err(error)) = ended {
        // A client's doing, and nothing of what it sent.
        tracing::debug!(%error, "a connection ended early");
    }
    open.decrement(1.0);
}

/// Answers one request; one whose end is in doubt without looking at it.
async fn answer(
    mut router: Router,
    request: Request<Incoming>,
    is_clear: bool,
) -> Result<Response, Infallible> {
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let mut response = if is_clear {
        router.call(request.map(Body::new)).await?
    } else {
        StatusCode::BAD_REQUEST.into_response()
    };
    if is_chunked || !is_clear {
        // What follows on this connection is in doubt.
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    Ok(response)
}

fn prepare(stream: &TcpStream, settings: &Settings) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let unconfirmed_ms = u32::try_from(settings.unconfirmed_timeout.as_millis());
    rustix::net::sockopt::set_tcp_user_timeout(stream, unconfirmed_ms.unwrap_or(u32::MAX))?;
    Ok(())
}

async fn drain(connections: &TaskTracker, abandoned: &CancellationToken, within: Duration) {
    let started = Instant::now();
    let open = connections.len();
    connections.close();
    let cut = if timeout(within, connections.wait()).await.is_ok() {
        0
    } else {
        let cut = connections.len();
        abandoned.cancel();
        connections.wait().await;
        cut
    };
    let duration_ms = started.elapsed().as_secs_f64() * 1000.0;
    tracing::info!(open, cut, duration_ms, "drained");
}
