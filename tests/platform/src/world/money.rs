//! Money on the wire, and the folios it is charged to.

use serde::{Deserialize, Serialize};

use super::item;

/// An amount in millionths of the currency's unit, as text, because it may exceed 2^53.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Money {
    /// An integer.
    pub amount_micro: String,
    /// ISO 4217.
    pub currency: String,
}

impl Money {
    pub fn units(units: i64, currency: &str) -> Self {
        Self::micro(units * 1_000_000, currency)
    }

    pub fn micro(amount_micro: i64, currency: &str) -> Self {
        Self { amount_micro: amount_micro.to_string(), currency: currency.into() }
    }

    /// The number, when the text is one.
    pub fn as_micro(&self) -> Option<i64> {
        self.amount_micro.parse().ok()
    }
}

/// The bill of a reservation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Folio {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub reservation_id: String,
    pub state: FolioState,
    /// What is still to be paid; negative when overpaid.
    pub balance: Money,
    pub charges: Vec<Entry>,
    pub payments: Vec<Entry>,
    pub refunds: Vec<Entry>,
}
item!(Folio);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FolioState {
    BalanceDue,
    Settled,
    Closed,
}

/// A charge, payment or refund on a folio.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub id: String,
    pub amount: Money,
    pub description: String,
}

impl Folio {
    /// Adds `amount_micro` to what is due and moves the state along with it.
    pub fn move_balance(&mut self, amount_micro: i64) {
        let due = self.balance.as_micro().unwrap_or_default() + amount_micro;
        self.balance.amount_micro = due.to_string();
        self.state = if due > 0 { FolioState::BalanceDue } else { FolioState::Settled };
    }
}
