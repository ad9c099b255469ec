//! The right to compose one subject, among all instances.

use std::{sync::LazyLock, time::Duration};

use redis::{RedisError, Script};
use ulid::Ulid;

use super::{
    super::{Redis, TenantKey, millis},
    Subject,
};

static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end")
});

/// The right. It lapses by itself.
#[derive(Debug)]
pub struct Lead {
    key: TenantKey,
    token: String,
}

/// Takes the right to compose a subject for `within`; `None` while another instance has it.
///
/// # Errors
/// When Redis fails.
pub async fn lead(
    cache: &Redis,
    subject: &Subject,
    within: Duration,
) -> Result<Option<Lead>, RedisError> {
    let lead = Lead { key: subject.lead_key(), token: Ulid::generate().to_string() };
    let mut command = redis::cmd("SET");
    command.arg(&lead.key).arg(&lead.token).arg("NX").arg("PX").arg(millis(within));
    let taken: Option<String> = command.query_async(&mut cache.shared()).await?;
    Ok(taken.map(|_| lead))
}

/// Gives the right back, unless it has lapsed.
///
/// # Errors
/// When Redis fails.
pub async fn release(cache: &Redis, lead: &Lead) -> Result<(), RedisError> {
    RELEASE.key(&lead.key).arg(&lead.token).invoke_async(&mut cache.shared()).await
}
