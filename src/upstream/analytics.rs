//! analytics-service: the figures of a property's day.

use serde::{Deserialize, Serialize};

use super::{Service, UpstreamError, money::Money, reading::Reading};

/// Occupancy, average daily rate, and revenue per available room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kpis {
    /// 0–100.
    pub occupancy_percent: u32,
    pub adr: Money,
    pub revpar: Money,
}

/// `GET /api/v1/analytics/kpis`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn kpis(reading: &Reading<'_>) -> Result<Kpis, UpstreamError> {
    reading.document((Service::Analytics, "/api/v1/analytics/kpis".to_owned())).await
}
