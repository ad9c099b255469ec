//! housekeeping-service: rooms, and what has to be done in them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Service, UpstreamError,
    reading::{List, Reading},
};

/// A room as boards show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    pub id: String,
    /// On the door.
    pub number: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type_id: Option<String>,
    /// `clean`, `dirty`, `cleaning`, `inspected`, `ready`, `out_of_order` or `out_of_service`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occupied: Option<bool>,
}

/// Something to be done in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: String,
    pub room_id: String,
    /// `turnover`, `deep_clean` …
    pub kind: String,
    /// `low`, `normal`, `high` or `urgent`.
    pub priority: String,
    /// `created`, `started`, `completed` or `inspected`.
    pub state: String,
    pub scheduled_for: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// How many rooms are in each state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomStatus {
    pub by_status: BTreeMap<String, u32>,
}

/// `GET /api/v1/housekeeping/rooms`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn rooms(reading: &Reading<'_>) -> Result<List<Room>, UpstreamError> {
    reading.list((Service::Housekeeping, "/api/v1/housekeeping/rooms"), &[]).await
}

/// `GET /api/v1/housekeeping/tasks`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn tasks(reading: &Reading<'_>) -> Result<List<Task>, UpstreamError> {
    reading.list((Service::Housekeeping, "/api/v1/housekeeping/tasks"), &[]).await
}

/// `GET /api/v1/housekeeping/room-status`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn room_status(reading: &Reading<'_>) -> Result<RoomStatus, UpstreamError> {
    let path = "/api/v1/housekeeping/room-status".to_owned();
    reading.document((Service::Housekeeping, path)).await
}
