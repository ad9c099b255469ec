//! The word to desktops that the content of a screen is another one now; the hubs of all instances
//! pass it on.
//!
//! Session tier: stream `g:refresh-hints`, fields `tenant`, `property`, `widgets` and `boards`
//! (names with commas between), `at` (unix milliseconds).

use chrono::{DateTime, Utc};
use events::{PropertyId, TenantId};
use redis::RedisError;

use super::{Redis, key::REFRESH_HINTS};

/// Hints kept for instances that were cut off for a while.
const ENTRIES_MAX: u32 = 10_000;

/// What has changed on the screens of one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshHint {
    pub tenant_id: TenantId,
    /// Only operators of this property hear it.
    pub property_id: PropertyId,
    /// Names of widgets of the dashboard, without a comma; may be empty.
    pub widgets: Vec<&'static str>,
    /// Names of boards, without a comma; may be empty.
    pub boards: Vec<&'static str>,
    /// When the new content was there.
    pub at: DateTime<Utc>,
}

/// Tells the desktops of the tenant, on every instance, that they may fetch again.
///
/// # Errors
/// When Redis fails. Saying it again is harmless, and so is leaving it.
pub async fn announce(session_tier: &Redis, hint: &RefreshHint) -> Result<(), RedisError> {
    redis::cmd("XADD")
        .arg(REFRESH_HINTS)
        .arg("MAXLEN")
        .arg("~")
        .arg(ENTRIES_MAX)
        .arg("*")
        .arg("tenant")
        .arg(hint.tenant_id.as_str())
        .arg("property")
        .arg(hint.property_id.as_str())
        .arg("widgets")
        .arg(hint.widgets.join(","))
        .arg("boards")
        .arg(hint.boards.join(","))
        .arg("at")
        .arg(hint.at.timestamp_millis())
        .exec_async(&mut session_tier.shared())
        .await
}
