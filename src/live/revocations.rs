//! Revocations: the fence that keeps the revoked out, and the word to every instance to end their
//! live streams.

use std::{sync::LazyLock, time::Duration};

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, TenantId};
use redis::{RedisError, Script, streams::StreamId};

use super::streams::field;
use crate::views::{Redis, TenantKey, key::REVOCATIONS};

static FENCE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("fence.lua")));

/// Revocations kept for instances that were cut off for a while.
const ENTRIES_MAX: u32 = 10_000;
/// No token outlives this, so a fence older than it keeps nobody out.
pub const FENCE_LIFETIME_MIN: Duration = Duration::from_hours(24);

/// Whose access ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// iam's session, the token's `sid`.
    Session(String),
    Operator(OperatorId),
    Device(DeviceId),
    /// Everybody of the tenant.
    Tenant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub tenant_id: TenantId,
    pub subject: Subject,
    /// As iam says it: `user`, `admin`, `refresh_replay`, `suspend` …
    pub reason: String,
    /// Sign-ins after this moment are not meant, except for a session, which never comes back.
    pub at: DateTime<Utc>,
}

/// Writes the fence and announces the revocation, both or neither. Once this returns, no request
/// and no new stream gets past the fence, and running streams end as soon as their instance reads
/// the announcement.
///
/// Session tier: `{tenant}:fence:session:<sid>` · `:operator:<id>` · `:device:<id>` · `:tenant` =
/// revoked at, unix milliseconds; and one entry of `g:revocations`.
///
/// # Errors
/// When Redis fails: do not acknowledge the message, publish again. Repeating is harmless.
pub async fn publish(
    session_tier: &Redis,
    revocation: &Revocation,
    lifetime: Duration,
) -> Result<(), RedisError> {
    let lifetime = lifetime.max(FENCE_LIFETIME_MIN);
    FENCE
        .key(fence_key(&revocation.tenant_id, &revocation.subject))
        .key(REVOCATIONS)
        .arg(revocation.at.timestamp_millis())
        .arg(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
        .arg(revocation.tenant_id.as_str())
        .arg(revocation.subject.kind())
        .arg(revocation.subject.id())
        .arg(&revocation.reason)
        .arg(ENTRIES_MAX)
        .invoke_async(&mut session_tier.shared())
        .await
}

/// Where the fence of a subject stands.
pub fn fence_key(tenant_id: &TenantId, subject: &Subject) -> TenantKey {
    let key = TenantKey::new(tenant_id, "fence").then(subject.kind());
    match subject {
        Subject::Tenant => key,
        Subject::Session(_) | Subject::Operator(_) | Subject::Device(_) => key.then(subject.id()),
    }
}

impl Subject {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Session(_) => "session",
            Self::Operator(_) => "operator",
            Self::Device(_) => "device",
            Self::Tenant => "tenant",
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Session(sid) => sid,
            Self::Operator(operator_id) => operator_id.as_str(),
            Self::Device(device_id) => device_id.as_str(),
            Self::Tenant => "",
        }
    }

    fn read(kind: &str, id: String) -> Option<Self> {
        match kind {
            "session" => Some(Self::Session(id)),
            "operator" => id.parse().ok().map(Self::Operator),
            "device" => id.parse().ok().map(Self::Device),
            "tenant" => Some(Self::Tenant),
            _ => None,
        }
    }
}

impl Revocation {
    /// Reads an announcement; `None` for a kind that only a newer version knows.
    pub(super) fn read(entry: &StreamId) -> Result<Option<Self>, RedisError> {
        let (tenant_id, kind): (String, String) = (field(entry, "tenant")?, field(entry, "kind")?);
        let (id, at_ms): (String, i64) = (field(entry, "id")?, field(entry, "at")?);
        let reason = field(entry, "reason")?;
        let (Ok(tenant_id), Some(subject), Some(at)) = (
            TenantId::try_from(tenant_id),
            Subject::read(&kind, id),
            DateTime::from_timestamp_millis(at_ms),
        ) else {
            return Ok(None);
        };
        Ok(Some(Self { tenant_id, subject, reason, at }))
    }
}
