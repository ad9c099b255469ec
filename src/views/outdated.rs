//! Which snapshots are to be composed anew in the background, and when: one plan for all instances.
//!
//! Redis, cache tier: sorted sets `RECOMPOSE` and `RECOMPOSE_AGAIN` of `views/key.rs`, member `<tenant> <property>
//! <part>`, score unix milliseconds. Losing them loses nothing: a snapshot whose time is over is
//! composed when it is read.

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use events::{DeviceId, PropertyId, TenantId};
use redis::{Pipeline, RedisError, Script};

use super::{
    Redis, TenantKey, claim,
    key::{RECOMPOSE, RECOMPOSE_AGAIN},
    snapshot::{self, Subject},
};

static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, ARGV[2]) \
         if #due > 0 then redis.call('zrem', KEYS[1], unpack(due)) end \
         return due",
    )
});

/// More are planned on a busy platform only when nobody works: the latest are dropped then.
const PLANNED_MAX: i64 = 100_000;
/// One part of one property is composed in the background at most so often, by all instances
/// together.
pub const PACE: Duration = Duration::from_secs(1);

/// A plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// To be composed anew, if somebody looks at it.
    Renew,
    /// To be taken for changed once more: an upstream may answer what was, just after its event.
    Again,
}

/// What is planned: tenant, property, and the name of the part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    pub tenant_id: TenantId,
    pub property_id: PropertyId,
    pub part: String,
}

impl Plan {
    const fn key(self) -> &'static str {
        match self {
            Self::Renew => RECOMPOSE,
            Self::Again => RECOMPOSE_AGAIN,
        }
    }
}

/// Takes these for changed, by this device if it is one's doing: what was composed before is not fresh any more, and is to be composed
/// anew at the first time; at the second, if there is one, it is to be taken for changed once more.
///
/// # Errors
/// When Redis fails; then they may count as fresh until their time is over.
pub async fn changed(
    cache: &Redis,
    (subjects, by): (&[Subject], Option<&DeviceId>),
    (at, again_at): (DateTime<Utc>, Option<DateTime<Utc>>),
) -> Result<(), RedisError> {
    if subjects.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    plan(&mut pipe, Plan::Renew, subjects.iter().map(|subject| (subject, at)));
    if let Some(again_at) = again_at {
        plan(&mut pipe, Plan::Again, subjects.iter().map(|subject| (subject, again_at)));
    }
    // One connection, and the marks first: what is composed as planned is composed after the change.
    let mut connection = cache.shared();
    tokio::try_join!(
        biased;
        snapshot::mark(cache, subjects, (by, at)),
        pipe.exec_async(&mut connection)
    )?;
    Ok(())
}

/// Plans each to be composed anew at its time, unless it is planned for an earlier one.
///
/// # Errors
/// When Redis fails.
pub async fn renew(cache: &Redis, renewals: &[(Subject, DateTime<Utc>)]) -> Result<(), RedisError> {
    if renewals.is_empty() {
        return Ok(());
    }
    let mut pipe = redis::pipe();
    plan(&mut pipe, Plan::Renew, renewals.iter().map(|(subject, at)| (subject, *at)));
    pipe.exec_async(&mut cache.shared()).await
}

fn plan<'a>(
    pipe: &mut Pipeline,
    plan: Plan,
    planned: impl Iterator<Item = (&'a Subject, DateTime<Utc>)>,
) {
    pipe.cmd("ZADD").arg(plan.key()).arg("LT");
    for (subject, at) in planned {
        let member = format!("{} {} {}", subject.tenant_id, subject.property_id, subject.part);
        pipe.arg(at.timestamp_millis()).arg(member);
    }
    pipe.ignore();
    pipe.cmd("ZREMRANGEBYRANK").arg(plan.key()).arg(PLANNED_MAX).arg(-1).ignore();
}

/// Takes what is due, at most `limit`; no other instance gets it.
///
/// # Errors
/// When Redis fails.
pub async fn take_due(
    cache: &Redis,
    plan: Plan,
    (now, limit): (DateTime<Utc>, usize),
) -> Result<Vec<Planned>, RedisError> {
    let due: Vec<String> = TAKE
        .key(plan.key())
        .arg(now.timestamp_millis())
        .arg(limit)
        .invoke_async(&mut cache.shared())
        .await?;
    Ok(due.iter().filter_map(|member| planned(member)).collect())
}

/// Takes this second's right to compose a subject in the background.
///
/// # Errors
/// When Redis fails.
pub async fn take_pace(cache: &Redis, subject: &Subject) -> Result<bool, RedisError> {
    let key = TenantKey::new(&subject.tenant_id, "paced").then(subject.property_id.as_str());
    claim(cache, &key.then(subject.part), PACE).await
}

fn planned(member: &str) -> Option<Planned> {
    let mut words = member.split(' ');
    let (tenant_id, property_id) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Planned { tenant_id, property_id, part: words.next()?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_of_ours_is_passed_over() {
        let member = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY ppt_1 arrivals";
        assert_eq!(planned(member).unwrap().part, "arrivals");
        for other in ["", "tnt_1 ppt_1 arrivals", "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY ppt_1"] {
            assert_eq!(planned(other), None, "{other}");
        }
    }
}
