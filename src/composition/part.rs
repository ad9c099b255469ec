//! The parts that screens are made of: each is one read of one upstream, kept by itself.

use std::time::Duration;

use chrono::NaiveDate;
use serde::Serialize;
use serde_json::{Value, json};

use crate::upstream::{
    Service, UpstreamError, analytics,
    billing::{self, Folio},
    housekeeping::{self, Task},
    inventory, lock_health,
    maintenance::{self, WorkOrder},
    pricing, property,
    reading::{List, Reading},
    reservation::{self, Stay},
};

/// One read of one upstream about one property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    Kpis,
    Arrivals,
    Departures,
    InHouse,
    Rooms,
    RoomStatus,
    Occupancy,
    Tasks,
    WorkOrders,
    Rates,
    Folios,
    CashDrawer,
    LockHealth,
    Property,
}

/// What an upstream said of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    /// An object: what a widget of the dashboard shows.
    pub summary: Value,
    /// What a section of a board lists.
    pub items: Vec<Value>,
}

/// What holds for one part.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub part: Part,
    /// Names its snapshot.
    pub name: &'static str,
    pub service: Service,
    /// How long somebody who waits for the screen waits for it.
    pub deadline: Duration,
    /// How long it is taken for what is.
    pub fresh_for: Duration,
    /// Events whose subject begins with one of these say that it has changed.
    pub subjects: &'static [&'static str],
}

const BOARD: Duration = Duration::from_secs(15);
const DASHBOARD: Duration = Duration::from_secs(30);

const RESERVATION: &str = "melmastoon.reservation.";
const INVENTORY: &str = "melmastoon.inventory.";
const HOUSEKEEPING: &str = "melmastoon.housekeeping.";
const FOLIO: &str = "melmastoon.billing.";

/// Every part, in the order of [`Part`].
pub const ROWS: [Row; 14] = [
    row(Part::Kpis, "kpis", Service::Analytics, DASHBOARD, &["melmastoon.analytics."]),
    row(Part::Arrivals, "arrivals", Service::Reservation, BOARD, &[RESERVATION]),
    row(Part::Departures, "departures", Service::Reservation, BOARD, &[RESERVATION]),
    row(Part::InHouse, "in-house", Service::Reservation, BOARD, &[RESERVATION]),
    row(Part::Rooms, "rooms", Service::Housekeeping, BOARD, &[HOUSEKEEPING, RESERVATION]),
    row(
        Part::RoomStatus,
        "room-status",
        Service::Housekeeping,
        DASHBOARD,
        &[HOUSEKEEPING, RESERVATION],
    ),
    row(Part::Occupancy, "occupancy", Service::Inventory, BOARD, &[INVENTORY, RESERVATION]),
    row(Part::Tasks, "tasks", Service::Housekeeping, BOARD, &["melmastoon.housekeeping.task."]),
    row(Part::WorkOrders, "work-orders", Service::Maintenance, BOARD, &["melmastoon.maintenance."]),
    row(Part::Rates, "rates", Service::Pricing, DASHBOARD, &["melmastoon.pricing."]),
    row(Part::Folios, "folios", Service::Billing, BOARD, &[FOLIO]),
    row(Part::CashDrawer, "cash-drawer", Service::Billing, DASHBOARD, &[FOLIO]),
    row(
        Part::LockHealth,
        "lock-health",
        Service::LockIntegration,
        BOARD,
        &["melmastoon.lock.device."],
    ),
    row(Part::Property, "property", Service::Property, DASHBOARD, &["melmastoon.property."]),
];

/// A part is waited for as long as one attempt at its upstream may take.
const fn row(
    part: Part,
    name: &'static str,
    service: Service,
    fresh_for: Duration,
    subjects: &'static [&'static str],
) -> Row {
    let deadline = crate::upstream::catalogue::ROWS[service as usize].read_timeout;
    Row { part, name, service, deadline, fresh_for, subjects }
}

impl Part {
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The part of this name; `None` for any other text.
    pub fn named(name: &str) -> Option<Self> {
        ROWS.iter().find(|row| row.name == name).map(|row| row.part)
    }

    /// Whether another day has other content.
    pub const fn is_of_a_day(self) -> bool {
        matches!(self, Self::Arrivals | Self::Departures)
    }

    /// Asks the upstream.
    ///
    /// # Errors
    /// See [`UpstreamError`].
    pub async fn read(
        self,
        reading: &Reading<'_>,
        date: Option<NaiveDate>,
    ) -> Result<Content, UpstreamError> {
        Ok(match self {
            Self::Kpis => document(analytics::kpis(reading).await?),
            Self::Arrivals => arrivals(&reservation::arrivals(reading, date).await?),
            Self::Departures => departures(&reservation::departures(reading, date).await?),
            Self::InHouse => in_house(&reservation::in_house(reading).await?),
            Self::Rooms => {
                let rooms = housekeeping::rooms(reading).await?;
                listed(json!({ "rooms": rooms.items.len() }), &rooms)
            }
            Self::RoomStatus => document(housekeeping::room_status(reading).await?),
            Self::Occupancy => document(inventory::occupancy(reading).await?),
            Self::Tasks => tasks(&housekeeping::tasks(reading).await?),
            Self::WorkOrders => work_orders(&maintenance::work_orders(reading).await?),
            Self::Rates => {
                let rates = pricing::rates(reading).await?;
                document(json!({ "rates": rates }))
            }
            Self::Folios => folios(&billing::folios_to_settle(reading).await?),
            Self::CashDrawer => document(billing::cash_drawer(reading).await?),
            Self::LockHealth => document(lock_health::lock_health(reading).await?),
            Self::Property => document(property::property(reading).await?),
        })
    }
}

fn document(document: impl Serialize) -> Content {
    Content { summary: value(document), items: Vec::new() }
}

fn listed<T: Serialize>(mut summary: Value, list: &List<T>) -> Content {
    if list.truncated {
        summary["truncated"] = true.into();
    }
    Content { summary, items: list.items.iter().map(value).collect() }
}

fn value(value: impl Serialize) -> Value {
    serde_json::to_value(value).expect("what was read from JSON can be written as JSON")
}

fn arrivals(stays: &List<Stay>) -> Content {
    let arrived = in_state(stays, "in_house");
    let expected = stays.items.len();
    let summary = json!({ "expected": expected, "arrived": arrived, "toCome": expected - arrived });
    listed(summary, stays)
}

fn departures(stays: &List<Stay>) -> Content {
    let departed = in_state(stays, "checked_out");
    let due = stays.items.len();
    listed(json!({ "due": due, "departed": departed, "toGo": due - departed }), stays)
}

fn in_house(stays: &List<Stay>) -> Content {
    let guests: u64 = stays.items.iter().filter_map(|stay| stay.adults.map(u64::from)).sum();
    listed(json!({ "stays": stays.items.len(), "guests": guests }), stays)
}

fn in_state(stays: &List<Stay>, state: &str) -> usize {
    stays.items.iter().filter(|stay| stay.state == state).count()
}

fn tasks(tasks: &List<Task>) -> Content {
    let is_due = |task: &&Task| matches!(task.state.as_str(), "created" | "started");
    let due = tasks.items.iter().filter(is_due);
    let urgent = due.clone().filter(|task| task.priority == "urgent").count();
    let started = due.clone().filter(|task| task.state == "started").count();
    listed(json!({ "due": due.count(), "urgent": urgent, "started": started }), tasks)
}

fn work_orders(orders: &List<WorkOrder>) -> Content {
    let is_open = |order: &&WorkOrder| !matches!(order.state.as_str(), "resolved" | "verified");
    let open = orders.items.iter().filter(is_open);
    let critical = open.clone().filter(|order| order.severity == "critical").count();
    let blocked = open.clone().filter(|order| order.state == "blocked").count();
    listed(json!({ "open": open.count(), "critical": critical, "blocked": blocked }), orders)
}

fn folios(folios: &List<Folio>) -> Content {
    listed(json!({ "toSettle": folios.items.len() }), folios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_finds_its_row_by_itself_and_by_its_name() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.part as usize, index, "{}", row.name);
            assert_eq!(Part::named(row.name), Some(row.part));
            assert!(!row.subjects.is_empty(), "{}", row.name);
            assert!(row.subjects.iter().all(|it| it.starts_with("melmastoon.")), "{}", row.name);
        }
        assert_eq!(Part::named("weather"), None);
    }

    #[test]
    fn what_is_done_is_not_counted_as_due() {
        let task = |state: &str, priority: &str| Task {
            id: "hkt_1".into(),
            room_id: "rom_1".into(),
            kind: "turnover".into(),
            priority: priority.into(),
            state: state.into(),
            scheduled_for: chrono::DateTime::UNIX_EPOCH,
            version: None,
        };
        let items =
            vec![task("created", "urgent"), task("started", "low"), task("inspected", "urgent")];
        let content = tasks(&List { items, truncated: true });
        assert_eq!(
            content.summary,
            json!({ "due": 2, "urgent": 1, "started": 1, "truncated": true })
        );
        assert_eq!(content.items.len(), 3);
    }
}
