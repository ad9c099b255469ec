//! lock-integration-service: which locks of a property need somebody to look at them.

use serde::{Deserialize, Serialize};

use super::{Service, UpstreamError, reading::Reading};

/// How a property's locks are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LockHealth {
    pub locks: u32,
    pub offline: u32,
    /// Ids of the locks whose battery has to be changed.
    #[serde(default)]
    pub battery_low: Vec<String>,
}

/// `GET /api/v1/locks/health`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn lock_health(reading: &Reading<'_>) -> Result<LockHealth, UpstreamError> {
    reading.document((Service::LockIntegration, "/api/v1/locks/health".to_owned())).await
}
