//! Waiting for something to become true, with a bound, returning as soon as it is.

use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(5);

/// Asks until the answer is yes; fails with `what` after twenty seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    some(what, || {
        let asked = ask();
        async move { asked.await.then_some(()) }
    })
    .await;
}

/// Asks until there is an answer; fails with `what` after twenty seconds.
pub async fn some<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(STEP).await;
    }
}
