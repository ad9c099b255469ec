//! Waiting for what another task does, no longer than it takes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(20);
/// Between two questions: the first, doubled until the last.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// Asks until the answer is yes; fails the test when it never is.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    until_some(what, async || is_so().await.then_some(())).await;
}

/// Asks until there is an answer, and gives it; fails the test when there never is one.
pub async fn until_some<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(DEADLINE, what, ask).await
}

/// The same for what may take longer.
pub async fn within<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up_at = Instant::now() + patience;
    let mut interval = INTERVALS.0;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up_at, "never: {what}");
        sleep(interval).await;
        interval = (interval * 2).min(INTERVALS.1);
    }
}
