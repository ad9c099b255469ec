//! How many requests are let in: a device's by this instance before any store is asked, a device's
//! and a tenant's over all instances by the script of admission.
//!
//! Both are GCRA: a bucket that refills steadily, so that no window's edge lets a double burst
//! through. A bucket that is full again is forgotten.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use moka::sync::Cache;
use tokio::time::Instant;

const MICROSECONDS: u64 = 1_000_000;
/// More devices than one instance serves in a minute; each bucket is some 200 bytes.
const BUCKETS_MAX: u64 = 65_536;
const BUCKET_IDLE_MIN: Duration = Duration::from_secs(10);

/// How much is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requests a second, steadily.
    pub per_second: NonZeroU32,
    /// Requests at once after a pause.
    pub burst: NonZeroU32,
}

/// The quotas of one instance; all instances must have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Of one device's key.
    pub device: Quota,
    /// Of all devices of a tenant together.
    pub tenant: Quota,
}

/// What is left of a quota after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Requests that would be let in at once.
    pub left: u64,
    /// Until all of the quota is there again.
    pub full_in: Duration,
}

/// Where a request leaves its device and its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standings {
    pub settings: Settings,
    pub device: Standing,
    pub tenant: Standing,
}

/// Whose quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Device,
    Tenant,
}

/// A request that comes too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    pub limit: Limit,
    /// After that one more is let in.
    pub retry_after: Duration,
    pub settings: Settings,
}

impl Default for Settings {
    fn default() -> Self {
        const fn quota(per_second: u32, burst: u32) -> Quota {
            let least = NonZeroU32::MIN;
            Quota {
                per_second: least.saturating_add(per_second - 1),
                burst: least.saturating_add(burst - 1),
            }
        }
        Self { device: quota(50, 100), tenant: quota(1_000, 1_000) }
    }
}

impl Quota {
    /// Microseconds between two requests at the steady rate.
    pub(super) fn step_us(self) -> u64 {
        (MICROSECONDS / u64::from(self.per_second.get())).max(1)
    }

    /// From an empty bucket to a full one.
    pub fn window(self) -> Duration {
        Duration::from_micros(self.step_us() * u64::from(self.burst.get()))
    }
}

impl Limit {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Tenant => "tenant",
        }
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, Stopwatch, NoOpMiddleware<Duration>>;

/// The buckets of this instance, one a key of a device. They keep a flood away from the session
/// tier; what is left over all instances is counted there.
pub(super) struct LocalRates {
    settings: Settings,
    quota: governor::Quota,
    buckets: Cache<(String, String), Arc<Bucket>>,
    stopwatch: Stopwatch,
}

impl LocalRates {
    pub(super) fn new(settings: Settings) -> Self {
        let Quota { per_second, burst } = settings.device;
        let idle = settings.device.window().max(BUCKET_IDLE_MIN);
        Self {
            settings,
            quota: governor::Quota::per_second(per_second).allow_burst(burst),
            buckets: Cache::builder().max_capacity(BUCKETS_MAX).time_to_idle(idle).build(),
            stopwatch: Stopwatch(Instant::now()),
        }
    }

    /// Counts a request of a key that proved itself; `tenant` is empty for a proof without a token.
    ///
    /// # Errors
    /// The key's quota is used up; nothing was counted.
    pub(super) fn count(&self, tenant: &str, jkt: &str) -> Result<(), Limited> {
        let bucket = self.buckets.get_with((tenant.to_owned(), jkt.to_owned()), || {
            Arc::new(RateLimiter::direct_with_clock(self.quota, self.stopwatch))
        });
        bucket.check().map_err(|not_until| Limited {
            limit: Limit::Device,
            retry_after: not_until.wait_time_from(self.stopwatch.now()),
            settings: self.settings,
        })
    }
}

/// The time since the start by tokio's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
struct Stopwatch(Instant);

impl Clock for Stopwatch {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_second: u32, burst: u32) -> LocalRates {
        let device =
            Quota { per_second: per_second.try_into().unwrap(), burst: burst.try_into().unwrap() };
        LocalRates::new(Settings { device, ..Settings::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_in_and_then_the_steady_rate() {
        let rates = rates(50, 100);
        for _ in 0..100 {
            assert_eq!(rates.count("a", "k"), Ok(()));
        }
        let limited = rates.count("a", "k").unwrap_err();
        assert_eq!((limited.limit, limited.retry_after.as_millis()), (Limit::Device, 20));

        tokio::time::advance(Duration::from_millis(19)).await;
        assert!(rates.count("a", "k").is_err());
        for _ in 0..200 {
            tokio::time::advance(Duration::from_millis(20)).await;
            assert_eq!(rates.count("a", "k"), Ok(()));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!((0..200).filter(|_| rates.count("a", "k").is_ok()).count(), 100);
    }

    #[test]
    fn ti_33_the_same_key_in_two_tenants_has_two_buckets() {
        let rates = rates(1, 1);
        assert_eq!(rates.count("a", "k"), Ok(()));
        assert!(rates.count("a", "k").is_err());
        assert_eq!(rates.count("b", "k"), Ok(()));
        assert_eq!(rates.count("a", "other"), Ok(()));
    }

    #[test]
    fn buckets_have_a_bound() {
        let rates = rates(1, 1);
        for number in 0..2 * BUCKETS_MAX {
            assert_eq!(rates.count("a", &number.to_string()), Ok(()));
        }
        rates.buckets.run_pending_tasks();
        assert!(rates.buckets.entry_count() <= BUCKETS_MAX);
    }

    #[test]
    fn a_quota_says_its_window() {
        let Settings { device, tenant } = Settings::default();
        assert_eq!((device.step_us(), device.window().as_secs()), (20_000, 2));
        assert_eq!((tenant.step_us(), tenant.window().as_secs()), (1_000, 1));
    }
}
