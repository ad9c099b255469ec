//! reservation-service: who comes, who goes, who is there.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Service, UpstreamError,
    money::Money,
    reading::{List, Reading},
};

/// A reservation as boards show it. The guest's name is as short as the service gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stay {
    pub id: String,
    /// What the guest was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// `confirmed`, `in_house`, `checked_out` …
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_type_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folio_id: Option<String>,
    /// Property-local.
    pub arrival_date: NaiveDate,
    /// Property-local.
    pub departure_date: NaiveDate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adults: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nightly_rate: Option<Money>,
    /// Of the `ETag` that a change of it may name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Reservations that begin on a day, the service's today where none is named.
/// `GET /api/v1/reservations/arrivals`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn arrivals(
    reading: &Reading<'_>,
    date: Option<NaiveDate>,
) -> Result<List<Stay>, UpstreamError> {
    stays(reading, "/api/v1/reservations/arrivals", date).await
}

/// Reservations that end on a day. `GET /api/v1/reservations/departures`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn departures(
    reading: &Reading<'_>,
    date: Option<NaiveDate>,
) -> Result<List<Stay>, UpstreamError> {
    stays(reading, "/api/v1/reservations/departures", date).await
}

/// Reservations whose guests are there now. `GET /api/v1/reservations/in-house`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn in_house(reading: &Reading<'_>) -> Result<List<Stay>, UpstreamError> {
    stays(reading, "/api/v1/reservations/in-house", None).await
}

async fn stays(
    reading: &Reading<'_>,
    path: &str,
    date: Option<NaiveDate>,
) -> Result<List<Stay>, UpstreamError> {
    let filter: Vec<_> = date.map(|date| ("date", date.to_string())).into_iter().collect();
    reading.list((Service::Reservation, path), &filter).await
}
