//! An embedded Pub/Sub broker for machines without Google's emulator: in memory, for development
//! and tests only. It serves the gRPC methods of `google.pubsub.v1` that Google's clients use.

mod catalogue;
mod grpc;
mod names;
mod subscription;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use anyhow::Context as _;
use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Duration, Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;

use self::catalogue::Catalogue;

/// How long open connections may take to finish after shutdown has begun.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Calls one connection may have under way at once.
const CONCURRENT_CALLS_MAX: u32 = 1_000;

/// How often an idle connection is pinged, and how long the peer has to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_mins(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Topics, subscriptions and their messages. Clones share them; they live until the last is gone,
/// longer than any one [`Broker::serve`].
#[derive(Clone, Debug)]
pub struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    catalogue: Mutex<Catalogue>,
    /// Something is due earlier than the timekeeper thinks.
    rescheduled: Notify,
    /// Cancelled and replaced to end the streams that are open.
    streams: Mutex<CancellationToken>,
}

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl Broker {
    /// A broker without topics.
    #[expect(clippy::disallowed_methods, reason = "messages carry the wall time of their publish")]
    pub fn new() -> Self {
        let catalogue = Catalogue::new(Instant::now(), SystemTime::now());
        let shared = Shared {
            catalogue: Mutex::new(catalogue),
            rescheduled: Notify::new(),
            streams: Mutex::new(CancellationToken::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves gRPC over cleartext HTTP/2, and REST over HTTP/1.1, until `shutdown`, then ends open
    /// streams with `UNAVAILABLE` and waits up to 5 s for connections to close.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let address = listener.local_addr().context("the broker's listener has no address")?;
        tracing::warn!(
            %address,
            "embedded Pub/Sub broker: in memory, for development only; everything is lost at exit"
        );
        let server = tonic::transport::Server::builder()
            // For the REST calls of Google's Rust client; gRPC stays on HTTP/2.
            .accept_http1(true)
            .max_concurrent_streams(CONCURRENT_CALLS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(grpc::routes(self, &shutdown))
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                shutdown.clone().cancelled_owned(),
            );
        let drained = async {
            shutdown.cancelled().await;
            sleep_until(Instant::now() + DRAIN_MAX).await;
        };
        tokio::select! {
            end = server => end.context("the broker's server failed"),
            () = drained => Ok(()),
            () = self.keep_time() => Ok(()),
        }
    }

    /// Ends every open stream and pull with `UNAVAILABLE`, as Google's servers do now and then;
    /// clients come back.
    pub fn end_streams(&self) {
        let mut streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *streams).cancel();
    }

    /// A token that [`Self::end_streams`] cancels.
    fn stream_end(&self) -> CancellationToken {
        self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `operate` on the catalogue at the present time.
    fn with<R>(&self, operate: impl FnOnce(&mut Catalogue, Instant) -> R) -> R {
        let mut catalogue = self.catalogue();
        let result = operate(&mut catalogue, Instant::now());
        if catalogue.is_rescheduled() {
            self.shared.rescheduled.notify_one();
        }
        result
    }

    /// A panic under this lock is a defect of the broker; what it left is still the best there is.
    fn catalogue(&self) -> MutexGuard<'_, Catalogue> {
        self.shared.catalogue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends leases and backoffs when they are due, for as long as it is polled.
    async fn keep_time(&self) {
        loop {
            let rescheduled = self.shared.rescheduled.notified();
            match self.with(Catalogue::advance_due) {
                None => rescheduled.await,
                Some(due) => drop(timeout_at(due, rescheduled).await),
            }
        }
    }
}

/// Serves a broker of its own; see [`Broker::serve`].
///
/// # Errors
/// When the listener fails.
pub fn serve(
    listener: TcpListener,
    shutdown: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> {
    let broker = Broker::new();
    async move { broker.serve(listener, shutdown).await }
}
