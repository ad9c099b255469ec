//! inventory-service: how full a property is.

use serde::{Deserialize, Serialize};

use super::{Service, UpstreamError, reading::Reading};

/// How many rooms there are, and how many of them are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Occupancy {
    pub rooms: u32,
    pub occupied: u32,
    pub out_of_order: u32,
    pub available: u32,
}

/// `GET /api/v1/inventory/occupancy`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn occupancy(reading: &Reading<'_>) -> Result<Occupancy, UpstreamError> {
    let path = "/api/v1/inventory/occupancy".to_owned();
    reading.document((Service::Inventory, path)).await
}
