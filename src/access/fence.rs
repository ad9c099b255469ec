//! Fences: keys in the session tier that end what was allowed before a revocation.
//!
//! `{tnt_…}:fence:session:<sid>`, `…:operator:<id>`, `…:device:<id>`, `…:tenant`; the value is the
//! time of the revocation in Unix milliseconds. A session's fence ends it for good; the others end
//! tokens issued up to that time, so that a new sign-in works again. `live::revocations` writes
//! them.

use events::{DeviceId, OperatorId, TenantId};
use redis::Script;

use super::{
    claims::Claims,
    store::{SessionTier, StoreError},
};

/// KEYS: fences of session, operator, device, tenant. ARGV: issued at (ms).
const STANDS: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
for index = 2, 4 do
    local fence = redis.call('GET', KEYS[index])
    if fence then
        local at = tonumber(fence)
        if not at or at >= tonumber(ARGV[1]) then return 0 end
    end
end
return 1";

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

/// Whether no fence ends a token.
///
/// # Errors
/// The session tier did not answer in time.
pub(super) async fn stands(tier: &SessionTier, claims: &Claims) -> Result<bool, StoreError> {
    let script = Script::new(STANDS);
    let tenant_id = &claims.tenant_id;
    let mut call = script.prepare_invoke();
    call.key(session_key(tenant_id, &claims.sid))
        .key(operator_key(tenant_id, &claims.operator_id))
        .key(device_key(tenant_id, &claims.device_id))
        .key(tenant_key(tenant_id))
        .arg(claims.issued_at.timestamp_millis());
    let stands: i64 = tier.run(&call).await?;
    Ok(stands == 1)
}
