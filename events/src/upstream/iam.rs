//! What iam-service says of sessions, users and devices.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{DeviceId, OperatorId};

/// Subject `melmastoon.iam.session.revoked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRevoked {
    /// iam's session, the token's `sid`.
    pub session_id: String,
    pub user_id: OperatorId,
    #[serde(default)]
    pub device_id: Option<DeviceId>,
    /// `user`, `admin`, `refresh_replay` or `suspend`.
    #[serde(default)]
    pub reason: String,
    pub revoked_at: DateTime<Utc>,
}

/// Subject `melmastoon.iam.user.locked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserLocked {
    pub user_id: OperatorId,
    pub at: DateTime<Utc>,
}

/// Subject `melmastoon.iam.device.revoked.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRevoked {
    pub device_id: DeviceId,
    #[serde(default)]
    pub user_id: Option<OperatorId>,
    pub at: DateTime<Utc>,
}
