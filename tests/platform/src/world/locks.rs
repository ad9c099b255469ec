//! Door locks and the keys issued for them.

use serde::Serialize;
use serde_json::Value;

use super::item;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lock {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub room_id: String,
    pub vendor: &'static str,
    /// 0–100.
    pub battery_percent: u32,
    pub online: bool,
}
item!(Lock);

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyCredential {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub reservation_id: String,
    pub kind: String,
    pub rooms: Value,
    pub valid_from: Value,
    pub valid_until: Value,
    /// `active` or `revoked`.
    pub state: &'static str,
    pub vendor: &'static str,
    /// Under which it was asked for.
    pub idempotency_key: Option<String>,
}
item!(KeyCredential);
