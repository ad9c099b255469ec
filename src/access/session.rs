//! Sessions in the session tier: one a device, sliding for twelve hours, opened by one request
//! only.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, SessionId, TenantId};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use ulid::Ulid;

use super::{
    caller::App,
    claims::Claims,
    entrant::PendingSession,
    store::{SessionTier, StoreError},
};

/// How often a request looks for the session another one is opening.
const OPENING_POLL: Duration = Duration::from_millis(20);

/// A session of ours: JSON under `{tnt_…}:session:by-device:<device>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub session_id: SessionId,
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// iam's session; a token of another one opens a session of its own.
    pub sid: String,
    pub jkt: String,
    pub roles: Vec<String>,
    pub property_ids: Vec<PropertyId>,
    pub locale: Option<String>,
    pub app: App,
    pub opened_at: DateTime<Utc>,
}

impl Session {
    /// Whether a token belongs to this session. It does not when another operator signed in on the
    /// device, or the same one anew.
    pub fn is_of(&self, claims: &Claims) -> bool {
        self.tenant_id == claims.tenant_id
            && self.operator_id == claims.operator_id
            && self.device_id == claims.device_id
            && self.sid == claims.sid
            && self.jkt == claims.jkt
    }
}

/// Where sessions are kept.
#[derive(Clone)]
pub struct SessionStore {
    tier: SessionTier,
    ttl: Duration,
}

impl SessionStore {
    /// `ttl` after its last request a session is gone.
    pub fn new(tier: SessionTier, ttl: Duration) -> Self {
        Self { tier, ttl }
    }

    /// The session of a device, not prolonged by this look.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn get(
        &self,
        tenant_id: &TenantId,
        device_id: &DeviceId,
    ) -> Result<Option<Session>, StoreError> {
        let stored = self.tier.get(&key(tenant_id, device_id)).await?;
        Ok(stored.as_deref().and_then(read))
    }

    /// Puts a session in the place of the device's last one.
    ///
    /// # Errors
    /// The session tier did not answer in time; the session may have been stored.
    pub async fn put(&self, session: &Session) -> Result<(), StoreError> {
        let json = serde_json::to_vec(session).expect("a session has string keys only");
        let key = key(&session.tenant_id, &session.device_id);
        self.tier.set(&key, &json, self.ttl).await
    }

    /// Ends a session unless a newer one has taken its place; whether it was there.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn remove(&self, session: &Session) -> Result<bool, StoreError> {
        let stored = self.get(&session.tenant_id, &session.device_id).await?;
        match stored {
            Some(stored) if stored.session_id == session.session_id => {
                let json = serde_json::to_vec(&stored).expect("a session has string keys only");
                self.tier.delete_if(&key(&session.tenant_id, &session.device_id), &json).await
            }
            _ => Ok(false),
        }
    }

    /// Takes the right to open the session of a device, for `ttl` at most; false when another
    /// request has it. `owner` gives it back.
    ///
    /// # Errors
    /// The session tier did not answer in time; the right may have been taken.
    pub async fn try_lock_opening(
        &self,
        tenant_id: &TenantId,
        device_id: &DeviceId,
        owner: Ulid,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        let owner = owner.to_string();
        self.tier.set_if_absent(&opening_key(tenant_id, device_id), owner.as_bytes(), ttl).await
    }

    /// Gives the right back if `owner` has it still.
    ///
    /// # Errors
    /// The session tier did not answer in time; the right ends by itself.
    pub async fn unlock_opening(
        &self,
        tenant_id: &TenantId,
        device_id: &DeviceId,
        owner: Ulid,
    ) -> Result<(), StoreError> {
        let key = opening_key(tenant_id, device_id);
        self.tier.delete_if(&key, owner.to_string().as_bytes()).await.map(|_| ())
    }

    /// Waits for the session that another request is opening for this token; `None` when it is not
    /// there by the deadline.
    ///
    /// # Errors
    /// The session tier did not answer in time.
    pub async fn wait_for(
        &self,
        pending: &PendingSession,
        deadline: Instant,
    ) -> Result<Option<Session>, StoreError> {
        let claims = pending.claims();
        let opened = async {
            loop {
                let session = self.get(&claims.tenant_id, &claims.device_id).await?;
                if let Some(session) = session.filter(|session| session.is_of(claims)) {
                    return Ok(session);
                }
                sleep(OPENING_POLL).await;
            }
        };
        timeout_at(deadline, opened).await.ok().transpose()
    }
}

/// The key of a device's session.
pub fn key(tenant_id: &TenantId, device_id: &DeviceId) -> String {
    format!("{{{tenant_id}}}:session:by-device:{device_id}")
}

fn opening_key(tenant_id: &TenantId, device_id: &DeviceId) -> String {
    format!("{{{tenant_id}}}:session:opening:{device_id}")
}

/// A session in a form we do not know is no session: the next request opens one.
pub fn read(json: &[u8]) -> Option<Session> {
    serde_json::from_slice(json).ok()
}
