//! Keeps workers running: one that fails or panics is started again, later each time, until
//! shutdown.

use std::{convert::Infallible, fmt::Display, panic::AssertUnwindSafe, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const DELAY_MIN: Duration = Duration::from_millis(200);
const DELAY_MAX: Duration = Duration::from_secs(15);
/// A worker that ran this long has recovered: its next failure is a first one.
const STEADY_AFTER: Duration = Duration::from_mins(1);

/// Runs `work` on `tracker` until it returns without an error or `shutdown`.
pub fn supervise<F, Work, E>(
    name: &'static str,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
    mut work: F,
) where
    F: FnMut(CancellationToken) -> Work + Send + 'static,
    Work: Future<Output = Result<(), E>> + Send,
    E: Display + Send,
{
    let shutdown = shutdown.clone();
    tracker.spawn(async move {
        let mut delays = delays();
        while !shutdown.is_cancelled() {
            let started = Instant::now();
            // What a worker knows is in the stores: the next start goes on from there.
            let error = match AssertUnwindSafe(work(shutdown.clone())).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                // The panic hook has logged where; the payload may hold anything.
                Err(_payload) => "it panicked".to_owned(),
            };
            if STEADY_AFTER < started.elapsed() {
                delays = self::delays();
            }
            let delay = delays.next().unwrap_or(DELAY_MAX);
            metrics::counter!("bff_backoffice_worker_restarts_total", "worker" => name)
                .increment(1);
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(worker = name, error, delay_ms, "a worker failed");
            tokio::select! {
                () = shutdown.cancelled() => (),
                () = tokio::time::sleep(delay) => (),
            }
        }
    });
}

/// The same for work that cannot fail but by a panic.
pub fn keep_running<F, Work>(
    name: &'static str,
    tracker: &TaskTracker,
    shutdown: &CancellationToken,
    mut work: F,
) where
    F: FnMut(CancellationToken) -> Work + Send + 'static,
    Work: Future<Output = ()> + Send,
{
    supervise(name, tracker, shutdown, move |shutdown| {
        let working = work(shutdown);
        async {
            working.await;
            Ok::<(), Infallible>(())
        }
    });
}

fn delays() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(DELAY_MIN)
        .with_max_delay(DELAY_MAX)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failed_worker_is_started_again_until_shutdown() {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let starts = Arc::new(AtomicU32::new(0));
        let (counter, stop) = (Arc::clone(&starts), shutdown.clone());

        supervise("test", &tracker, &shutdown, move |_| {
            if counter.fetch_add(1, Ordering::SeqCst) == 4 {
                stop.cancel();
            }
            async { Err::<(), _>("broken") }
        });
        tracker.close();
        tracker.wait().await;

        assert_eq!(starts.load(Ordering::SeqCst), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_started_again() {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let starts = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&starts);

        supervise("test", &tracker, &shutdown, move |_| {
            let start = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_ne!(start, 0, "the first start breaks");
                Ok::<(), &str>(())
            }
        });
        tracker.close();
        tracker.wait().await;

        assert_eq!(starts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_worker_that_ends_is_left_alone() {
        let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
        supervise("test", &tracker, &shutdown, |_| async { Ok::<(), &str>(()) });
        tracker.close();
        tracker.wait().await;
        assert!(!shutdown.is_cancelled());
    }
}
