//! Fences: keys in the session tier that end what was allowed before a revocation.
//!
//! `{tnt_…}:fence:session:<sid>`, `…:operator:<id>`, `…:device:<id>`, `…:tenant`; the value is the
//! time of the revocation in Unix milliseconds. A session's fence ends it for good; the others end
//! tokens issued up to that time, so that a new sign-in works again. `live::revocations` writes
//! them.

use events::{DeviceId, OperatorId, TenantId};
use redis::Script;

use super::{
    caller::Caller,
    claims::Claims,
    session::Session,
    store::{SessionTier, StoreError},
};

/// The head of every script that looks at fences: whether one of KEYS 1–4, those of
/// [`Holder::fences`], ends what was issued at a time (ms). One that cannot be read ends it too.
pub(super) const FENCED: &str = "
local function fenced(issued_at)
    if redis.call('EXISTS', KEYS[1]) == 1 then return true end
    for index = 2, 4 do
        local fence = redis.call('GET', KEYS[index])
        if fence then
            local at = tonumber(fence)
            if not at or at >= tonumber(issued_at) then return true end
        end
    end
    return false
end
";

/// Who holds a token, as far as fences ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holder<'a> {
    tenant_id: &'a TenantId,
    sid: &'a str,
    operator_id: &'a OperatorId,
    device_id: &'a DeviceId,
    issued_at_ms: i64,
}

impl Holder<'_> {
    /// The fences of session, operator, device, tenant.
    pub fn fences(&self) -> [String; 4] {
        [
            session_key(self.tenant_id, self.sid),
            operator_key(self.tenant_id, self.operator_id),
            device_key(self.tenant_id, self.device_id),
            tenant_key(self.tenant_id),
        ]
    }

    /// When the token was issued, Unix milliseconds.
    pub fn issued_at_ms(&self) -> i64 {
        self.issued_at_ms
    }
}

impl<'a> From<&'a Claims> for Holder<'a> {
    fn from(claims: &'a Claims) -> Self {
        let Claims { tenant_id, sid, operator_id, device_id, issued_at, .. } = claims;
        let issued_at_ms = issued_at.timestamp_millis();
        Self { tenant_id, sid, operator_id, device_id, issued_at_ms }
    }
}

impl<'a> From<&'a Caller> for Holder<'a> {
    fn from(caller: &'a Caller) -> Self {
        let Caller { tenant_id, sid, operator_id, device_id, token_issued_at, .. } = caller;
        let issued_at_ms = token_issued_at.timestamp_millis();
        Self { tenant_id, sid, operator_id, device_id, issued_at_ms }
    }
}

impl<'a> From<&'a Session> for Holder<'a> {
    fn from(session: &'a Session) -> Self {
        let Session { tenant_id, sid, operator_id, device_id, token_issued_at, .. } = session;
        let issued_at_ms = token_issued_at.timestamp_millis();
        Self { tenant_id, sid, operator_id, device_id, issued_at_ms }
    }
}

/// The fence of one iam session.
pub fn session_key(tenant_id: &TenantId, sid: &str) -> String {
    format!("{{{tenant_id}}}:fence:session:{sid}")
}

/// The fence of all tokens of one operator.
pub fn operator_key(tenant_id: &TenantId, operator_id: &OperatorId) -> String {
    format!("{{{tenant_id}}}:fence:operator:{operator_id}")
}

/// The fence of all tokens on one device.
pub fn device_key(tenant_id: &TenantId, device_id: &DeviceId) -> String {
    format!("{{{tenant_id}}}:fence:device:{device_id}")
}

/// The fence of all tokens of one tenant.
pub fn tenant_key(tenant_id: &TenantId) -> String {
    format!("{{{tenant_id}}}:fence:tenant")
}

/// A script that begins with [`FENCED`].
pub(super) fn script(rest: &str) -> Script {
    Script::new(&format!("{FENCED}{rest}"))
}

/// Whether no fence ends a token.
///
/// # Errors
/// The session tier did not answer in time.
pub(super) async fn stands(tier: &SessionTier, holder: Holder<'_>) -> Result<bool, StoreError> {
    let script = script("return fenced(ARGV[1]) and 0 or 1");
    let mut call = script.prepare_invoke();
    call.key(&holder.fences()).arg(holder.issued_at_ms());
    let stands: i64 = tier.run(&call).await?;
    Ok(stands == 1)
}
