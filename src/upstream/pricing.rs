//! pricing-service: what a night costs today.

use serde::{Deserialize, Serialize};

use super::{Service, UpstreamError, money::Money, reading::Reading};

/// The rate of one room type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    pub room_type_id: String,
    pub rate: Money,
}

#[derive(Deserialize)]
struct Rates {
    rates: Vec<Rate>,
}

/// Today's rates, one a room type. `GET /api/v1/pricing/rates`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn rates(reading: &Reading<'_>) -> Result<Vec<Rate>, UpstreamError> {
    let path = "/api/v1/pricing/rates".to_owned();
    reading.document((Service::Pricing, path)).await.map(|Rates { rates }| rates)
}
