//! Marks: that a subject has changed, and in which order things have.

use std::{fmt, sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use events::DeviceId;
use futures::future::try_join_all;
use redis::{RedisError, Script};

use super::{
    super::{Redis, TenantKey, millis},
    Subject,
};

/// Before a mark's number: the change is waited for by everybody.
const AWAITED: &str = "awaited:";
/// Longer than any snapshot, so that one composed without a mark cannot outlive a later one.
const MARK_KEPT_FOR: Duration = Duration::from_mins(15);
/// How long a device that has changed something waits for what is new: longer than that takes.
const CHANGING_FOR: Duration = Duration::from_secs(5);

/// Sets a number that no mark of the subject had before, also where the mark before it is lost.
static SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local now = redis.call('time') \
         local before = tonumber(string.match(redis.call('get', KEYS[1]) or '', '%d+$')) or 0 \
         local number = string.format('%.0f', math.max(now[1] * 1000000 + now[2], before + 1)) \
         redis.call('set', KEYS[1], ARGV[1] .. number, 'px', ARGV[2]) \
         if KEYS[2] then \
           redis.call('hset', KEYS[2], ARGV[3], number) \
           redis.call('pexpire', KEYS[2], ARGV[4]) \
         end",
    )
});

/// That a subject has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of a later change it is greater: when it was heard of, unix microseconds by the tier's clock.
    pub(super) number: u64,
    /// Nobody may look at what was before: it is not being composed anew.
    is_awaited: bool,
}

impl Mark {
    /// In the place of one that does not read: nothing was composed after it.
    pub(super) const UNREADABLE: Self = Self { number: u64::MAX, is_awaited: true };

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_awaited, number) = match text.strip_prefix(AWAITED) {
            Some(number) => (true, number),
            None => (false, text),
        };
        Some(Self { number: number.parse().ok()?, is_awaited })
    }

    /// When the change was heard of, if somebody who looks at it may look at what was before for a
    /// moment.
    pub(super) fn shown_since(self) -> Option<DateTime<Utc>> {
        if self.is_awaited {
            return None;
        }
        DateTime::from_timestamp_micros(i64::try_from(self.number).ok()?)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.is_awaited { AWAITED } else { "" };
        write!(f, "{prefix}{}", self.number)
    }
}

/// Marks these as changed. The device that has changed them, if one has, waits for what is new.
///
/// # Errors
/// When Redis fails.
pub async fn mark(
    cache: &Redis,
    subjects: &[Subject],
    by: Option<&DeviceId>,
) -> Result<(), RedisError> {
    try_join_all(subjects.iter().map(|subject| set(cache, subject, "", by))).await.map(drop)
}

/// Marks these as changed so that nobody looks at what was before: it is not being composed anew.
///
/// # Errors
/// When Redis fails.
pub async fn await_change(cache: &Redis, subjects: &[Subject]) -> Result<(), RedisError> {
    try_join_all(subjects.iter().map(|subject| set(cache, subject, AWAITED, None))).await.map(drop)
}

async fn set(
    cache: &Redis,
    subject: &Subject,
    prefix: &str,
    by: Option<&DeviceId>,
) -> Result<(), RedisError> {
    let mut script = SET.key(subject.mark_key());
    if let Some(device_id) = by {
        script.key(changing_key(subject, device_id));
    }
    script.arg(prefix).arg(millis(MARK_KEPT_FOR)).arg(subject.part).arg(millis(CHANGING_FOR));
    script.invoke_async(&mut cache.shared()).await
}

/// Hash: part → number of the mark that the device has set.
pub(super) fn changing_key(subject: &Subject, device_id: &DeviceId) -> TenantKey {
    let key = TenantKey::new(&subject.tenant_id, "changing").then(subject.property_id.as_str());
    key.then(device_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_as_it_was_written() {
        for text in ["1795392000000000", "awaited:1795392000000001"] {
            assert_eq!(Mark::parse(text).unwrap().to_string(), text);
        }
        for other in ["", "awaited:", "01M823X77E21C8WAACFA2B2PKD", "-1"] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_awaited_is_not_shown_as_it_was() {
        let shown = |text| Mark::parse(text).unwrap().shown_since();
        assert_eq!(shown("1795392000000000").unwrap().timestamp_micros(), 1_795_392_000_000_000);
        assert_eq!(shown("awaited:1795392000000000"), None);
        assert_eq!(Mark::UNREADABLE.shown_since(), None);
    }
}
