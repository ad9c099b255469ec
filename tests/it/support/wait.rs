//! Waiting for what another task does, no longer than it takes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

const DEADLINE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is yes; fails the test when it never is.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let give_up_at = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < give_up_at, "never: {what}");
        sleep(INTERVAL).await;
    }
}
