//! What has changed: of every part of a property, the position of the last change that was heard of.

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use events::DeviceId;
use redis::{Pipeline, RedisError, Script};

use super::{
    super::{Redis, TenantKey, millis},
    Subject,
};

static MARK: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("mark.lua")));

/// How long a device that has changed something waits for what is new: longer than that takes.
const CHANGING_FOR: Duration = Duration::from_secs(5);
/// Before the position of a change that is waited for by everybody.
const AWAITED: &str = "awaited:";
const MARK_KEPT_FOR: Duration = Duration::from_mins(15);

/// A change of one part of a property, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    pub(super) fn read(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the change stands among all changes of its part: it grows with each of them. A part whose
    /// mark was lost goes on at the time of its next change (microseconds since 1970), so that no
    /// position comes twice. `None` for a mark of another version of this service.
    pub fn position(&self) -> Option<i64> {
        self.0.strip_prefix(AWAITED).unwrap_or(&self.0).parse().ok()
    }

    /// When that was; `None` where everybody waits for what is new.
    pub(super) fn at(&self) -> Option<DateTime<Utc>> {
        if self.0.starts_with(AWAITED) {
            return None;
        }
        DateTime::from_timestamp_micros(self.position()?)
    }
}

/// Marks these as changed. The device that has changed them, if one has, waits for what is new.
pub fn mark(
    pipe: &mut Pipeline,
    (subjects, by): (&[Subject], Option<&DeviceId>),
    now: DateTime<Utc>,
) {
    if let Some((subject, device_id)) = subjects.first().zip(by) {
        let key = changing_key(subject, device_id);
        pipe.cmd("SET").arg(key).arg(1).arg("PX").arg(millis(CHANGING_FOR)).ignore();
    }
    set_marks(pipe, subjects, (now, ""));
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
    let mut pipe = redis::pipe();
    set_marks(&mut pipe, subjects, (now, AWAITED));
    pipe.exec_async(&mut cache.shared()).await
}

fn set_marks(pipe: &mut Pipeline, subjects: &[Subject], (now, before): (DateTime<Utc>, &str)) {
    let mut marking = MARK.prepare_invoke();
    for subject in subjects {
        marking.key(subject.mark_key());
    }
    marking.arg(now.timestamp_micros()).arg(before).arg(millis(MARK_KEPT_FOR));
    // Loaded along with it: a tier that has started again knows no script, and a pipeline tries once.
    pipe.load_script(&MARK).ignore().invoke_script(&marking).ignore();
}

pub(super) fn changing_key(subject: &Subject, device_id: &DeviceId) -> TenantKey {
    let key = TenantKey::new(&subject.tenant_id, "changing").then(subject.property_id.as_str());
    key.then(device_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_where_its_change_stands_and_when_it_was() {
        let mark = |text: &str| Mark::read(text.to_owned());
        assert_eq!(mark(""), None);
        let plain = mark("1700000000000001").unwrap();
        assert_eq!(plain.position(), Some(1_700_000_000_000_001));
        assert_eq!(plain.at().unwrap().timestamp(), 1_700_000_000);
        let awaited = mark("awaited:1700000000000001").unwrap();
        assert_eq!((awaited.position(), awaited.at()), (plain.position(), None));
        let of_another_version = mark("01HZX3V7Q8M4N5P6R7S8T9W0XY").unwrap();
        assert_eq!((of_another_version.position(), of_another_version.at()), (None, None));
    }
}
