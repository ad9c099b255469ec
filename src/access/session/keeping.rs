//! What moves with a session: the way from iam's session to its device, the tenant's devices, and
//! the list of sessions somebody has to look after.
//!
//! `{tnt_…}:session:by-sid:<sid>` = device; `{tnt_…}:session:devices`, devices by the time of their
//! session's last renewal; `g:session:due`, `<tenant> <device> <session>` by the time somebody has
//! to look whether it is idle or gone. All are written with the session, in one script.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use events::{DeviceId, SessionId, TenantId};
use redis::Script;

use super::{Session, SessionStore, key, read};
use crate::access::{
    fence::{self, Holder},
    store::{StoreError, milliseconds},
};

const DUE: &str = "g:session:due";
/// How long a session that was taken to be looked after is nobody else's.
const LOOKING: Duration = Duration::from_secs(30);
/// A token ends with some slack; only after it is a session idle.
const IDLE_AFTER: Duration = Duration::from_secs(30);

/// What became of a session that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    Stored,
    /// Session, operator, device or tenant was revoked after the token was issued.
    Fenced,
    /// The session to renew is not there any more, or another one is in its place.
    Gone,
}

/// A session somebody has to look after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub tenant_id: TenantId,
    pub device_id: DeviceId,
    pub session_id: SessionId,
}

#[derive(Clone)]
pub(super) struct Scripts {
    put: Arc<Script>,
    remove: Arc<Script>,
    of_tenant: Arc<Script>,
    take_due: Arc<Script>,
    look_after: Arc<Script>,
}

impl Default for Scripts {
    fn default() -> Self {
        let script = |text| Arc::new(Script::new(text));
        Self {
            put: Arc::new(fence::script(include_str!("put.lua"))),
            remove: script(include_str!("remove.lua")),
            of_tenant: script(include_str!("of_tenant.lua")),
            take_due: script(include_str!("take_due.lua")),
            look_after: script(include_str!("look_after.lua")),
        }
    }
}

impl SessionStore {
    /// Puts a session in the place of the device's last one, unless it was revoked meanwhile.
    ///
    /// # Errors
    /// The session tier did not answer in time; the session may have been stored.
    pub async fn put(&self, session: &Session) -> Result<Kept, StoreError> {
        self.keep(session, "").await
    }

    /// Puts a session in its own place.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn renew(&self, session: &Session) -> Result<Kept, StoreError> {
        self.keep(session, session.session_id.as_str()).await
    }

    async fn keep(&self, session: &Session, replaces: &str) -> Result<Kept, StoreError> {
        let json = serde_json::to_vec(session).expect("a session has string keys only");
        let (tenant_id, device_id) = (&session.tenant_id, &session.device_id);
        let holder = Holder::from(session);
        let look_at = (session.token_expires_at + IDLE_AFTER).timestamp_millis();
        let mut call = self.scripts.put.prepare_invoke();
        call.key(&holder.fences())
            .key(key(tenant_id, device_id))
            .key(by_sid_key(tenant_id, &session.sid))
            .key(devices_key(tenant_id))
            .key(DUE)
            .arg(holder.issued_at_ms())
            .arg(json)
            .arg(milliseconds(self.ttl))
            // A session slides without being renewed, but not for longer than its token lives.
            .arg(milliseconds(self.ttl * 2))
            .arg(device_id.as_str())
            .arg(holder.issued_at_ms())
            .arg(look_at)
            .arg(Due::of(session).entry())
            .arg(replaces);
        let answer: String = self.tier.run(&call).await?;
        Ok(match answer.as_str() {
            "stored" => Kept::Stored,
            "gone" => Kept::Gone,
            _ => Kept::Fenced,
        })
    }

    /// Forgets a session unless a newer one has taken its place; whether it was there.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn remove(&self, session: &Session) -> Result<bool, StoreError> {
        let (tenant_id, device_id) = (&session.tenant_id, &session.device_id);
        let mut call = self.scripts.remove.prepare_invoke();
        call.key(key(tenant_id, device_id))
            .key(by_sid_key(tenant_id, &session.sid))
            .key(devices_key(tenant_id))
            .arg(session.session_id.as_str())
            .arg(device_id.as_str());
        let removed: i64 = self.tier.run(&call).await?;
        Ok(removed == 1)
    }

    /// The session of ours that belongs to iam's session.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn of_sid(
        &self,
        tenant_id: &TenantId,
        sid: &str,
    ) -> Result<Option<Session>, StoreError> {
        let device = self.tier.get(&by_sid_key(tenant_id, sid)).await?;
        let device = device.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        let Some(device_id) = device else { return Ok(None) };
        let session = self.get(tenant_id, &device_id).await?;
        Ok(session.filter(|session| session.sid == sid))
    }

    /// Every session of a tenant; a few hundred at most, one a device.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn of_tenant(&self, tenant_id: &TenantId) -> Result<Vec<Session>, StoreError> {
        let mut call = self.scripts.of_tenant.prepare_invoke();
        call.key(devices_key(tenant_id)).arg(format!("{{{tenant_id}}}:session:by-device:"));
        let sessions: Vec<Vec<u8>> = self.tier.run(&call).await?;
        Ok(sessions.iter().filter_map(|json| read(json)).collect())
    }

    /// Takes up to `limit` sessions whose token has ended, or that may be gone. Each comes again
    /// after half a minute unless it is settled.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn take_due(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<Due>, StoreError> {
        let mut call = self.scripts.take_due.prepare_invoke();
        call.key(DUE)
            .arg(now.timestamp_millis())
            .arg((now + LOOKING).timestamp_millis())
            .arg(limit);
        let entries: Vec<String> = self.tier.run(&call).await?;
        Ok(entries.iter().filter_map(|entry| Due::read(entry)).collect())
    }

    /// Has sessions looked after from `at` on that nobody looks after.
    ///
    /// # Errors
    /// The session tier did not answer in time; some may be in the list.
    pub async fn look_after(&self, lost: &[Due], at: DateTime<Utc>) -> Result<(), StoreError> {
        let mut call = self.scripts.look_after.prepare_invoke();
        call.key(DUE).arg(at.timestamp_millis());
        for due in lost {
            call.arg(due.entry());
        }
        let _added: i64 = self.tier.run(&call).await?;
        Ok(())
    }

    /// Says when a session is to be looked after next; `None` for never again.
    ///
    /// # Errors
    /// The session tier did not answer in time; it comes again.
    pub async fn settle(&self, due: &Due, next: Option<DateTime<Utc>>) -> Result<(), StoreError> {
        let script = match next {
            Some(_) => Script::new("return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])"),
            None => Script::new("return redis.call('ZREM', KEYS[1], ARGV[1])"),
        };
        let mut call = script.prepare_invoke();
        call.key(DUE).arg(due.entry());
        if let Some(next) = next {
            call.arg(next.timestamp_millis());
        }
        let _changed: i64 = self.tier.run(&call).await?;
        Ok(())
    }

    /// How long the device's session lives on if nobody asks anything; `None` when there is none.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn left(
        &self,
        tenant_id: &TenantId,
        device_id: &DeviceId,
    ) -> Result<Option<Duration>, StoreError> {
        let script = Script::new("return redis.call('PTTL', KEYS[1])");
        let mut call = script.prepare_invoke();
        call.key(key(tenant_id, device_id));
        let left_ms: i64 = self.tier.run(&call).await?;
        Ok(u64::try_from(left_ms).ok().map(Duration::from_millis))
    }
}

impl Due {
    pub fn of(session: &Session) -> Self {
        Self {
            tenant_id: session.tenant_id.clone(),
            device_id: session.device_id.clone(),
            session_id: session.session_id.clone(),
        }
    }

    /// No id has a space in it.
    fn entry(&self) -> String {
        format!("{} {} {}", self.tenant_id, self.device_id, self.session_id)
    }

    fn read(entry: &str) -> Option<Self> {
        let mut parts = entry.split(' ');
        let (tenant_id, device_id, session_id) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            tenant_id: tenant_id.parse().ok()?,
            device_id: device_id.parse().ok()?,
            session_id: session_id.parse().ok()?,
        })
    }
}

fn by_sid_key(tenant_id: &TenantId, sid: &str) -> String {
    format!("{{{tenant_id}}}:session:by-sid:{sid}")
}

fn devices_key(tenant_id: &TenantId) -> String {
    format!("{{{tenant_id}}}:session:devices")
}
