//! Amounts as the platform writes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// Millionths of the unit, an integer as text.
    pub amount_micro: String,
    /// ISO 4217.
    pub currency: String,
}
