//! billing-service: what guests owe, and what should be in the drawer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Service, UpstreamError,
    money::Money,
    reading::{List, Reading},
};

/// A bill as boards show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Folio {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<String>,
    /// `balance_due`, `settled` or `closed`.
    pub state: String,
    /// What is still to be paid; negative when overpaid.
    pub balance: Money,
}

/// What a property's cash drawer should hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CashDrawer {
    pub expected: Money,
}

/// The bills that are to be settled. `GET /api/v1/folios?state=balance_due`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn folios_to_settle(reading: &Reading<'_>) -> Result<List<Folio>, UpstreamError> {
    let filter = [("state", "balance_due".to_owned())];
    reading.list((Service::Billing, "/api/v1/folios"), &filter).await
}

/// `GET /api/v1/cash-drawer`.
///
/// # Errors
/// See [`UpstreamError`].
pub async fn cash_drawer(reading: &Reading<'_>) -> Result<CashDrawer, UpstreamError> {
    reading.document((Service::Billing, "/api/v1/cash-drawer".to_owned())).await
}
