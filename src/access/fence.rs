//! Fences: keys in the session tier that end what was allowed before a revocation.
//!
//! `{tnt_…}:fence:session:<sid>`, `…:operator:<id>`, `…:device:<id>`, `…:tenant`; the value is the
//! time of the revocation in Unix milliseconds. A session's fence ends it for good; the others end
//! tokens issued up to that time, so that a new sign-in works again. `live::revocations` writes
//! them.

use events::{DeviceId, OperatorId, TenantId};

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
