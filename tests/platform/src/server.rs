//! Accepts connections, and can cut one instead of answering on it.

use std::{fmt, time::Duration};

use axum::{Router, body::Body, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

/// How long open requests may take after the shutdown began.
const DRAIN: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which mostly means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Marks a response that must never reach the wire.
#[derive(Clone, Copy)]
struct Cut;

/// The "answer" on which the server resets the connection without sending a byte.
pub fn cut_connection() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

/// Why hyper gives a connection up.
#[derive(Debug)]
struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is cut on purpose")
    }
}

impl std::error::Error for ConnectionCut {}

/// Serves until `shutdown`, then lets open requests end within 2 s.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(error = %error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "a connection ended before it began");
        return;
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let Ok(response) = router.oneshot(request).await;
            if response.extensions().get::<Cut>().is_some() {
                return Err(ConnectionCut);
            }
            Ok(response)
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown.cancelled() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            match tokio::time::timeout(DRAIN, &mut connection).await {
                Ok(ended) => ended,
                // Dropped by leaving; a request that outlasts the drain is lost with it.
                Err(_) => return,
            }
        }
    };
    let Err(error) = ended else { return };
    if error.is_user() {
        let stream = connection.into_parts().io.into_inner();
        // With no linger, closing sends a reset instead of an orderly end.
        if let Err(error) = stream.set_zero_linger() {
            tracing::warn!(error = %error, "a connection was closed instead of reset");
        }
    }
}
