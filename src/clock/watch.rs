//! Notices that the machine's clock was set while the service runs: what is judged by the time is
//! in doubt then.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Clock, SharedClock};

const INTERVAL: Duration = Duration::from_secs(2);
/// Clocks are corrected by less all the time.
const TOLERANCE: TimeDelta = TimeDelta::seconds(2);

/// Compares the clock with the time that only counts and is never set.
pub struct Watch {
    clock_then: DateTime<Utc>,
    then: Instant,
}

impl Watch {
    pub fn start(clock: &dyn Clock) -> Self {
        Self { clock_then: clock.now(), then: Instant::now() }
    }

    /// By how much the clock was set since the last look, when it was.
    pub fn step(&mut self, clock: &dyn Clock) -> Option<TimeDelta> {
        let (clock_now, now) = (clock.now(), Instant::now());
        let passed = TimeDelta::from_std(now - self.then).unwrap_or(TimeDelta::MAX);
        let jump = (clock_now - self.clock_then) - passed;
        (self.clock_then, self.then) = (clock_now, now);
        (TOLERANCE < jump.abs()).then_some(jump)
    }
}

/// Worker: alarms when the clock is set, until shutdown.
pub async fn run(clock: SharedClock, shutdown: CancellationToken) {
    let mut watch = Watch::start(&*clock);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => (),
        }
        if let Some(jump) = watch.step(&*clock) {
            metrics::counter!("bff_backoffice_clock_jumps_total").increment(1);
            let jump_ms = jump.num_milliseconds();
            tracing::error!(jump_ms, "the clock was set: tokens and proofs are judged by it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::TestClock, *};

    #[tokio::test(start_paused = true)]
    async fn ab_27_a_clock_that_is_set_is_noticed_and_one_that_goes_is_not() {
        let clock = TestClock::at(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        let mut watch = Watch::start(&*clock);
        let go = |seconds: u64| {
            let clock = clock.clone();
            async move {
                tokio::time::advance(Duration::from_secs(seconds)).await;
                clock.advance(TimeDelta::seconds(i64::try_from(seconds).unwrap()));
            }
        };
        go(2).await;
        assert_eq!(watch.step(&*clock), None);
        clock.advance(TimeDelta::milliseconds(1_500));
        assert_eq!(watch.step(&*clock), None, "a correction");
        for hours in [1, -1] {
            go(2).await;
            clock.advance(TimeDelta::hours(hours));
            assert_eq!(watch.step(&*clock), Some(TimeDelta::hours(hours)));
            go(2).await;
            assert_eq!(watch.step(&*clock), None, "told once");
        }
        // The machine slept: both stood still, or the clock alone went on.
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(watch.step(&*clock), Some(TimeDelta::seconds(-60)));
    }
}
