//! Rooms and the reservations that fill them.

use chrono::NaiveDate;
use serde::Serialize;

use super::{item, money::Money};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    pub number: String,
    pub floor: u32,
    #[serde(rename = "roomTypeId")]
    pub type_id: String,
    pub status: RoomStatus,
    pub occupied: bool,
}
item!(Room);

/// Housekeeping's word on a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomStatus {
    Clean,
    Dirty,
    Cleaning,
    Inspected,
    Ready,
    OutOfOrder,
    OutOfService,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    pub id: String,
    pub tenant_id: String,
    pub property_id: String,
    /// What the guest was told, `MEL-` and six characters.
    pub code: String,
    pub state: ReservationState,
    /// First name and initial, as the platform limits it.
    pub guest_name: String,
    pub guest_id: String,
    pub room_id: String,
    pub room_type_id: String,
    pub folio_id: String,
    /// Property-local dates.
    pub arrival_date: NaiveDate,
    pub departure_date: NaiveDate,
    pub adults: u32,
    pub nightly_rate: Money,
    /// Grows by one with every change; the number in the `ETag`.
    pub version: u32,
}
item!(Reservation);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    Confirmed,
    InHouse,
    CheckedOut,
    Cancelled,
    NoShow,
}

impl ReservationState {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::InHouse => "in_house",
            Self::CheckedOut => "checked_out",
            Self::Cancelled => "cancelled",
            Self::NoShow => "no_show",
        }
    }
}
