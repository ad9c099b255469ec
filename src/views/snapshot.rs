//! What upstream services last said about one part of a property's screens, and whether it has
//! changed since.
//!
//! Redis, cache tier:
//! - hash `{tenant}:snapshot:<propertyId>:<part>[:<date>]`: `s` summary (JSON), `i` items (JSON list),
//!   `a` composed at (unix milliseconds), `m` the mark that stood before it was composed: its source
//!   position. Ten minutes.
//! - string `{tenant}:changed:<propertyId>:<part>`: the mark, greater with every change ([`Mark`]).
//! - hash `{tenant}:changing:<propertyId>:<deviceId>`: what this device has changed there a moment ago, as
//!   part → position. Five seconds.
//! - string `{tenant}:used:<propertyId>:<part>`: somebody has read it in the last minute.
//! - sorted set `g:snapshots`: the keys of the snapshots, so that nobody has to look through all keys.
//! - sorted set `{tenant}:composed`: the tenant's properties that a snapshot is kept of, by the last one.
//! - string `{tenant}:composing:<propertyId>:<part>[:<date>]`: the instance that composes it now.

mod lead;
mod mark;

use std::{collections::HashMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use events::{DeviceId, PropertyId, TenantId};
use redis::{RedisError, Value};

use self::mark::changing_key;
pub use self::{
    lead::{Lead, lead, release},
    mark::{Mark, await_change, mark},
};
use super::{Redis, TenantKey, key::SNAPSHOTS, millis};

/// How long a snapshot may stand in for an upstream that is away.
pub const KEPT_FOR: Duration = Duration::from_mins(10);
const AREA: &str = "snapshot";
/// What was read so long ago is on nobody's screen.
const USED_FOR: Duration = Duration::from_mins(1);

/// What a snapshot is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    pub tenant_id: TenantId,
    pub property_id: PropertyId,
    /// A name of the catalogue.
    pub part: &'static str,
    /// Property-local; `None` for the upstream's today.
    pub date: Option<NaiveDate>,
}

/// A snapshot as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// JSON object.
    pub summary: String,
    /// JSON list; absent when it was not asked for.
    pub items: Option<String>,
    pub as_of: DateTime<Utc>,
    /// The mark that stood before the upstream was asked: it reflects every change up to there.
    pub mark: Option<Mark>,
}

/// What stands about a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub snapshot: Option<Snapshot>,
    /// The last change, as far as it was heard of.
    pub mark: Option<Mark>,
    /// The reader has changed it after the snapshot was composed, or looks at a day that no worker
    /// composes anew: what has changed is waited for.
    pub is_awaited: bool,
}

impl Standing {
    /// When it changed last, if somebody who looks at it may look at what was before for a moment:
    /// it is being composed anew.
    pub fn changing_since(&self) -> Option<DateTime<Utc>> {
        self.mark.filter(|_| !self.is_awaited)?.shown_since()
    }

    /// Whether nothing is known to have changed since the snapshot was composed.
    pub fn is_unchanged(&self) -> bool {
        self.snapshot.as_ref().is_some_and(|snapshot| snapshot.mark == self.mark)
    }

    /// The snapshot, if it was composed after the one that was seen, and nothing has changed since or it
    /// is after the change that was known then.
    pub fn newer(&self, than: &Self) -> Option<Snapshot> {
        let composed_at = |standing: &Self| standing.snapshot.as_ref().map(|it| it.as_of);
        let snapshot = self.snapshot.as_ref()?;
        let is_newer = composed_at(than) < composed_at(self)
            && (self.is_unchanged() || than.mark.is_some() && snapshot.is_after(than.mark));
        is_newer.then(|| snapshot.clone())
    }
}

impl Snapshot {
    /// Whether its upstream was asked after this change. Where none is known, perhaps only because the
    /// tier was late, nothing is after it but what was composed without one.
    pub fn is_after(&self, change: Option<Mark>) -> bool {
        match change {
            Some(change) => self.position() >= Some(change.position()),
            None => self.mark.is_none(),
        }
    }

    fn position(&self) -> Option<u64> {
        self.mark.map(Mark::position)
    }
}

impl Subject {
    fn snapshot_key(&self) -> TenantKey {
        self.dated(AREA)
    }

    fn lead_key(&self) -> TenantKey {
        self.dated("composing")
    }

    fn mark_key(&self) -> TenantKey {
        self.key("changed")
    }

    fn used_key(&self) -> TenantKey {
        self.key("used")
    }

    fn key(&self, area: &str) -> TenantKey {
        TenantKey::new(&self.tenant_id, area).then(self.property_id.as_str()).then(self.part)
    }

    fn dated(&self, area: &str) -> TenantKey {
        match self.date {
            Some(date) => self.key(area).then(&date.to_string()),
            None => self.key(area),
        }
    }
}

/// What stands about each subject, in their order, in one round trip; `with_items`: the lists too. All
/// are of one property, which `reader` may have changed itself.
///
/// # Errors
/// When Redis fails.
pub async fn read(
    cache: &Redis,
    subjects: &[Subject],
    (with_items, reader): (bool, Option<&DeviceId>),
) -> Result<Vec<Standing>, RedisError> {
    let mut pipe = redis::pipe();
    match (subjects.first(), reader) {
        (Some(subject), Some(reader)) => pipe.cmd("HGETALL").arg(changing_key(subject, reader)),
        _ => pipe.cmd("ECHO").arg(""),
    };
    for subject in subjects {
        pipe.cmd("HMGET").arg(subject.snapshot_key()).arg("s").arg("a").arg("m");
        if with_items {
            pipe.arg("i");
        }
        pipe.cmd("GET").arg(subject.mark_key());
    }
    let found: Vec<Value> = pipe.query_async(&mut cache.shared()).await?;
    let [own, found @ ..] = &found[..] else { return Ok(Vec::new()) };
    let own: HashMap<String, u64> = match reader {
        Some(_) => redis::from_redis_value(own.clone())?,
        None => HashMap::new(),
    };
    let standing = |(subject, found): (&Subject, &[Value])| {
        let mut standing = standing(found)?;
        let position = standing.snapshot.as_ref().and_then(Snapshot::position);
        let is_own = own.get(subject.part).is_some_and(|own| position < Some(*own));
        standing.is_awaited = is_own || subject.date.is_some();
        Ok(standing)
    };
    subjects.iter().zip(found.chunks(2)).map(standing).collect()
}

fn standing(found: &[Value]) -> Result<Standing, RedisError> {
    let [snapshot, mark] = found else { return Ok(Standing::default()) };
    let fields: Vec<Option<String>> = redis::from_redis_value(snapshot.clone())?;
    let mut fields = fields.into_iter();
    let mut next = || fields.next().flatten();
    let (summary, as_of, composed_after, items) = (next(), next(), next(), next());
    let as_of = as_of.and_then(|at| DateTime::from_timestamp_millis(at.parse().ok()?));
    let snapshot = summary.zip(as_of).map(|(summary, as_of)| Snapshot {
        summary,
        items,
        as_of,
        mark: composed_after.and_then(|mark| Mark::parse(&mark)),
    });
    let mark: Option<String> = redis::from_redis_value(mark.clone())?;
    let mark = mark.map(|mark| Mark::parse(&mark).unwrap_or(Mark::UNREADABLE));
    Ok(Standing { snapshot, mark, is_awaited: false })
}

/// Keeps a snapshot for ten minutes.
///
/// # Errors
/// When Redis fails.
pub async fn keep(cache: &Redis, subject: &Subject, snapshot: &Snapshot) -> Result<(), RedisError> {
    let key = subject.snapshot_key();
    let mut pipe = redis::pipe();
    pipe.cmd("HSET")
        .arg(&key)
        .arg("s")
        .arg(&snapshot.summary)
        .arg("i")
        .arg(snapshot.items.as_deref().unwrap_or("[]"))
        .arg("a")
        .arg(snapshot.as_of.timestamp_millis())
        .arg("m")
        .arg(snapshot.mark.map(|mark| mark.to_string()).unwrap_or_default())
        .ignore();
    pipe.cmd("PEXPIRE").arg(&key).arg(millis(KEPT_FOR)).ignore();
    let (composed_at, kept_ms) = (snapshot.as_of.timestamp_millis(), KEPT_FOR.as_millis());
    pipe.cmd("ZADD").arg(SNAPSHOTS).arg(composed_at).arg(&key).ignore();
    let oldest = composed_at - i64::try_from(kept_ms).unwrap_or(i64::MAX);
    pipe.cmd("ZREMRANGEBYSCORE").arg(SNAPSHOTS).arg("-inf").arg(oldest).ignore();
    let properties = properties_key(&subject.tenant_id);
    pipe.cmd("ZADD").arg(&properties).arg(composed_at).arg(subject.property_id.as_str()).ignore();
    pipe.cmd("ZREMRANGEBYSCORE").arg(&properties).arg("-inf").arg(oldest).ignore();
    pipe.cmd("PEXPIRE").arg(&properties).arg(millis(KEPT_FOR)).ignore();
    pipe.exec_async(&mut cache.shared()).await
}

/// The properties of a tenant that a snapshot is kept of.
///
/// # Errors
/// When Redis fails.
pub async fn properties(
    cache: &Redis,
    tenant_id: &TenantId,
) -> Result<Vec<PropertyId>, RedisError> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(properties_key(tenant_id)).arg(0).arg(-1);
    let ids: Vec<String> = command.query_async(&mut cache.shared()).await?;
    Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
}

fn properties_key(tenant_id: &TenantId) -> TenantKey {
    TenantKey::new(tenant_id, "composed")
}

/// What is kept of these parts, of every tenant.
///
/// # Errors
/// When Redis fails.
pub async fn kept(cache: &Redis, parts: &[&'static str]) -> Result<Vec<Subject>, RedisError> {
    let mut command = redis::cmd("ZRANGE");
    command.arg(SNAPSHOTS).arg(0).arg(-1);
    let keys: Vec<String> = command.query_async(&mut cache.shared()).await?;
    Ok(keys.iter().filter_map(|key| subject_of(key, parts)).collect())
}

/// The subject of a snapshot's key; `None` when it is of no part of these.
fn subject_of(key: &str, parts: &[&'static str]) -> Option<Subject> {
    let (tenant_id, of) = key.strip_prefix('{')?.split_once("}:")?;
    let of = of.strip_prefix(AREA)?.strip_prefix(':')?;
    let (of, date) = match of.rsplit_once(':') {
        Some((rest, last)) if last.parse::<NaiveDate>().is_ok() => (rest, last.parse().ok()),
        _ => (of, None),
    };
    let (property_id, name) = of.rsplit_once(':')?;
    let part = parts.iter().find(|part| **part == name)?;
    let (tenant_id, property_id) = (tenant_id.parse().ok()?, property_id.parse().ok()?);
    Some(Subject { tenant_id, property_id, part, date })
}

/// Notes that somebody looks at these.
///
/// # Errors
/// When Redis fails.
pub async fn note_use(cache: &Redis, subjects: &[Subject]) -> Result<(), RedisError> {
    let mut pipe = redis::pipe();
    for subject in subjects {
        pipe.cmd("SET").arg(subject.used_key()).arg(1).arg("PX").arg(millis(USED_FOR)).ignore();
    }
    pipe.exec_async(&mut cache.shared()).await
}

/// Whether somebody has looked at it in the last minute.
///
/// # Errors
/// When Redis fails.
pub async fn is_used(cache: &Redis, subject: &Subject) -> Result<bool, RedisError> {
    redis::cmd("EXISTS").arg(subject.used_key()).query_async(&mut cache.shared()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(at: i64, after: Option<&str>) -> Snapshot {
        Snapshot {
            summary: String::new(),
            items: None,
            as_of: DateTime::from_timestamp_millis(at).unwrap(),
            mark: after.and_then(Mark::parse),
        }
    }

    fn standing(snapshot: Snapshot, mark: Option<&str>) -> Standing {
        Standing { snapshot: Some(snapshot), mark: mark.and_then(Mark::parse), is_awaited: false }
    }

    #[test]
    fn what_somebody_else_composed_will_do_if_it_is_after_the_known_change() {
        let seen = standing(composed(1, Some("10")), Some("20"));
        let is_newer = |at, after, mark| standing(composed(at, after), mark).newer(&seen).is_some();
        assert!(is_newer(2, Some("20"), Some("20")));
        assert!(is_newer(2, Some("20"), Some("30")), "what came later is another change");
        assert!(!is_newer(2, Some("10"), Some("20")), "asked for before the change");
        assert!(!is_newer(1, Some("10"), Some("20")), "the one that was seen");
    }

    #[test]
    fn who_knows_of_no_change_takes_nothing_that_has_changed() {
        let nothing = Standing::default();
        let is_newer = |after, mark| standing(composed(2, after), mark).newer(&nothing).is_some();
        assert!(is_newer(Some("10"), Some("10")) && is_newer(None, None));
        assert!(!is_newer(Some("10"), Some("20")) && !is_newer(None, Some("20")));
        assert!(composed(2, None).is_after(None) && !composed(2, Some("10")).is_after(None));
    }

    #[test]
    fn a_key_says_what_it_is_about() {
        for date in [None, NaiveDate::from_ymd_opt(2026, 11, 22)] {
            let subject = Subject {
                tenant_id: "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
                property_id: "ppt:1".parse().unwrap(),
                part: "in-house",
                date,
            };
            let key = subject.snapshot_key();
            assert_eq!(subject_of(key.as_str(), &["rates", "in-house"]), Some(subject));
            assert_eq!(subject_of(key.as_str(), &["rates"]), None);
        }
        assert_eq!(subject_of("{tnt_1}:snapshot:ppt_1:rates", &["rates"]), None);
    }
}
