//! Sessions in the session tier: one a device, sliding for twelve hours, opened by one request
//! only.

mod keeping;

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, SessionId, TenantId};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use ulid::Ulid;

use self::keeping::Scripts;
pub use self::keeping::{Due, Kept};
use super::{
    caller::{App, Caller},
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
    /// Of the token it was opened or last refreshed with.
    pub token_issued_at: DateTime<Utc>,
    /// Of the same token. Later without another one, the session is idle.
    pub token_expires_at: DateTime<Utc>,
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

    /// The session as it is after its device was let in anew.
    #[must_use]
    pub fn renewed(&self, caller: &Caller) -> Self {
        Self {
            roles: caller.roles.clone(),
            property_ids: caller.property_ids.clone(),
            locale: caller.locale.clone(),
            app: caller.app.clone(),
            token_issued_at: caller.token_issued_at,
            token_expires_at: caller.token_expires_at,
            ..self.clone()
        }
    }
}

/// Where sessions are kept.
#[derive(Clone)]
pub struct SessionStore {
    tier: SessionTier,
    ttl: Duration,
    scripts: Scripts,
}

impl SessionStore {
    /// `ttl` after its last request a session is gone.
    pub fn new(tier: SessionTier, ttl: Duration) -> Self {
        Self { tier, ttl, scripts: Scripts::default() }
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
