//! maintenance-service: what is broken, and who mends it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Service, UpstreamError,
    reading::{List, Reading},
};

/// A work order as boards show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkOrder {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<String>,
    pub title: String,
    /// `plumbing`, `electrical` …
    pub category: String,
    /// `low`, `normal`, `high` or `critical`.
    pub severity: String,
    /// `open`, `assigned`, `blocked`, `resolved` or `verified`.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assigned_to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// `GET /api/v1/maintenance/work-orders`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn work_orders(reading: &Reading<'_>) -> Result<List<WorkOrder>, UpstreamError> {
    reading.list((Service::Maintenance, "/api/v1/maintenance/work-orders"), &[]).await
}
