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

/// Before a position: the change is waited for by everybody.
const AWAITED: &str = "awaited:";
/// Longer than any snapshot, so that one composed without a mark cannot outlive a later one.
const MARK_KEPT_FOR: Duration = Duration::from_mins(15);
/// How long a device that has changed something waits for what is new: longer than that takes.
const CHANGING_FOR: Duration = Duration::from_secs(5);

static MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("mark.lua")));

/// That a subject has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    position: u64,
    /// Nobody may look at what was before: it is not being composed anew.
    is_awaited: bool,
}

impl Mark {
    /// In the place of one that does not read: nothing was composed after it.
    pub(super) const UNREADABLE: Self = Self { position: u64::MAX, is_awaited: true };

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (is_awaited, position) = match text.strip_prefix(AWAITED) {
            Some(position) => (true, position),
            None => (false, text),
        };
        Some(Self { position: position.parse().ok()?, is_awaited })
    }

    /// Where the change stands among all of its subject: when it was heard of, unix microseconds, and
    /// at least one more than the change before it, whatever the clocks of instances say.
    pub const fn position(self) -> u64 {
        self.position
    }

    /// When the change was heard of, if somebody who looks at it may look at what was before for a
    /// moment.
    pub(super) fn shown_since(self) -> Option<DateTime<Utc>> {
        if self.is_awaited {
            return None;
        }
        DateTime::from_timestamp_micros(i64::try_from(self.position).ok()?)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.is_awaited { AWAITED } else { "" };
        write!(f, "{prefix}{}", self.position)
    }
}

/// Marks these as changed. The device that has changed them, if one has, waits for what is new; then
/// all are of one property.
///
/// # Errors
/// When Redis fails.
pub async fn mark(
    cache: &Redis,
    subjects: &[Subject],
    (by, now): (Option<&DeviceId>, DateTime<Utc>),
) -> Result<(), RedisError> {
    set(cache, subjects, (now, ""), by).await
}

/// Marks these as changed so that nobody looks at what was before: it is not being composed anew.
///
/// # Errors
/// When Redis fails.
pub async fn await_change(
    cache: &Redis,
    subjects: &[Subject],
    now: DateTime<Utc>,
) -> Result<(), RedisError> {
    set(cache, subjects, (now, AWAITED), None).await
}

async fn set(
    cache: &Redis,
    subjects: &[Subject],
    (now, prefix): (DateTime<Utc>, &str),
    by: Option<&DeviceId>,
) -> Result<(), RedisError> {
    // A script may touch the keys of one tenant.
    let sets = subjects.chunk_by(|one, next| one.tenant_id == next.tenant_id).map(|subjects| {
        let mut script = MARK.prepare_invoke();
        for subject in subjects {
            script.key(subject.mark_key());
        }
        if let Some((device_id, subject)) = by.zip(subjects.first()) {
            script.key(changing_key(subject, device_id));
        }
        script.arg(now.timestamp_micros()).arg(prefix);
        script.arg(millis(MARK_KEPT_FOR)).arg(millis(CHANGING_FOR));
        for subject in subjects {
            script.arg(subject.part);
        }
        async move { script.invoke_async::<()>(&mut cache.shared()).await }
    });
    try_join_all(sets).await.map(drop)
}

/// Hash: part → position of the device's own change.
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
