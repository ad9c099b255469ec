//! Whether the network lets a device's streams live. Proxies that cut off what takes long, or hold
//! it back, break one stream after the other; such a device is better off with polls for a while.
//!
//! Session tier: sorted set `{tenant}:live:broken:<device>`, the numbers of the device's last
//! streams that broke, by when they did, unix milliseconds.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use events::{DeviceId, TenantId};
use redis::RedisError;
use tokio::runtime::Handle;

use super::{Hub, Subscriber, hub::Shared};
use crate::views::TenantKey;

/// So many that broke within the window are no accident.
const BROKEN_MAX: isize = 3;
const WINDOW: Duration = Duration::from_mins(5);
/// A stream that has lived so long shows that the network lets streams through.
const STEADY: TimeDelta = TimeDelta::minutes(1);

/// One stream from its opening to its end. Dropped early, and not because of us, it is broken.
pub(super) struct Life {
    shared: Arc<Shared>,
    tenant_id: TenantId,
    device_id: DeviceId,
    number: u64,
    opened_at: DateTime<Utc>,
    ends_in_time: bool,
}

impl Life {
    pub(super) fn of(shared: &Arc<Shared>, subscriber: &Subscriber, number: u64) -> Self {
        Self {
            shared: Arc::clone(shared),
            tenant_id: subscriber.tenant_id.clone(),
            device_id: subscriber.device_id.clone(),
            number,
            opened_at: shared.settings.clock.now(),
            ends_in_time: false,
        }
    }

    /// What ends it from here on is not the network.
    pub(super) fn ends_in_time(&mut self) {
        self.ends_in_time = true;
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let now = self.shared.settings.clock.now();
        let is_ours = self.ends_in_time || self.shared.shutdown.is_cancelled();
        if is_ours || STEADY <= now - self.opened_at {
            return;
        }
        metrics::counter!("bff_backoffice_live_broken_total").increment(1);
        // Without a runtime the process is ending.
        let Ok(runtime) = Handle::try_current() else { return };
        let (shared, number) = (Arc::clone(&self.shared), self.number);
        let key = key(&self.tenant_id, &self.device_id);
        let tracker = shared.tracker.clone();
        let noting = async move {
            if let Err(error) = note(&shared, &key, number, now).await {
                // The worst that comes of it is one more try.
                tracing::debug!(error = %error, "a broken stream was not noted");
            }
        };
        tracker.spawn_on(noting, &runtime);
    }
}

impl Hub {
    /// For how long a device had better poll: until the first of its last streams that broke lies
    /// far enough back. `None` when a stream is worth a try, as it is when nobody knows.
    pub async fn polls_for(&self, subscriber: &Subscriber) -> Option<Duration> {
        let shared = self.shared();
        let key = key(&subscriber.tenant_id, &subscriber.device_id);
        let broken: Result<Vec<(String, i64)>, RedisError> = redis::cmd("ZREVRANGE")
            .arg(&key)
            .arg(BROKEN_MAX - 1)
            .arg(BROKEN_MAX - 1)
            .arg("WITHSCORES")
            .query_async(&mut shared.redis.shared())
            .await;
        let broken = broken
            .inspect_err(|error| tracing::debug!(error = %error, "broken streams are not known"));
        let (_, broken_ms) = broken.ok()?.pop()?;
        let until = DateTime::from_timestamp_millis(broken_ms)? + WINDOW;
        let left =
            (until - shared.settings.clock.now()).to_std().ok().filter(|it| !it.is_zero())?;
        metrics::counter!("bff_backoffice_live_polls_advised_total").increment(1);
        Some(left)
    }
}

async fn note(
    shared: &Shared,
    key: &TenantKey,
    number: u64,
    at: DateTime<Utc>,
) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    pipe.cmd("ZADD").arg(key).arg(at.timestamp_millis()).arg(number).ignore();
    pipe.cmd("ZREMRANGEBYRANK").arg(key).arg(0).arg(-1 - BROKEN_MAX).ignore();
    let window_ms = u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
    pipe.cmd("PEXPIRE").arg(key).arg(window_ms).ignore();
    pipe.exec_async(&mut shared.redis.shared()).await
}

fn key(tenant_id: &TenantId, device_id: &DeviceId) -> TenantKey {
    TenantKey::new(tenant_id, "live").then("broken").then(device_id.as_str())
}
