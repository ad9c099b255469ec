//! Furnishes a property: rooms with locks, reservations around today with folios, work to do.

use chrono::{Duration, NaiveDate};
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    Site,
    templates::{GUESTS, TENANTS, WORK_ORDERS},
};
use crate::{
    identifier::seeded,
    world::{
        locks::Lock,
        money::{Entry, Folio, FolioState, Money},
        stay::{Reservation, ReservationState, Room, RoomStatus},
        work::{Task, TaskState, WorkOrder, WorkOrderState},
    },
};

const VENDORS: [&str; 3] = ["ttlock", "salto", "assa-abloy"];
const TASK_KINDS: [&str; 4] = ["turnover", "mid_stay_clean", "deep_clean", "inspection"];
const PRIORITIES: [&str; 4] = ["low", "normal", "high", "urgent"];

pub fn furnish(site: &mut Site<'_>, random: &mut ChaCha8Rng) {
    let room_types = [seeded(random, "rmt"), seeded(random, "rmt"), seeded(random, "rmt")];
    for number in 0..random.random_range(20..=120_u32) {
        let mut room = Room {
            id: seeded(random, "rmu"),
            tenant_id: site.tenant.id.clone(),
            property_id: site.property.id.clone(),
            number: format!("{}{:02}", number / 20 + 1, number % 20 + 1),
            floor: number / 20 + 1,
            type_id: room_types[random.random_range(0..room_types.len())].clone(),
            status: RoomStatus::Ready,
            occupied: false,
        };
        lock(site, random, &room);
        book(site, random, &mut room);
        if random.random_bool(0.15) {
            work_order(site, random, &room);
        }
        site.world.rooms.insert(room);
    }
}

fn lock(site: &mut Site<'_>, random: &mut ChaCha8Rng, room: &Room) {
    site.world.locks.insert(Lock {
        id: seeded(random, "lck"),
        tenant_id: room.tenant_id.clone(),
        property_id: room.property_id.clone(),
        room_id: room.id.clone(),
        vendor: VENDORS[random.random_range(0..VENDORS.len())],
        battery_percent: random.random_range(8..=100),
        online: random.random_bool(0.97),
    });
}

/// Of ten rooms three have a guest staying, two one leaving today, two one arriving, one both; the
/// others are free.
fn book(site: &mut Site<'_>, random: &mut ChaCha8Rng, room: &mut Room) {
    let today = site.now.date_naive();
    let nights = random.random_range(1..=6);
    match random.random_range(0..10) {
        0..=2 => {
            let arrival = today - Duration::days(random.random_range(1..=3));
            let departure = today + Duration::days(nights);
            reserve(site, random, room, (arrival, departure), ReservationState::InHouse);
            occupy(site, random, room, "mid_stay_clean");
        }
        3..=4 => {
            let arrival = today - Duration::days(nights);
            reserve(site, random, room, (arrival, today), ReservationState::InHouse);
            occupy(site, random, room, "turnover");
        }
        5..=6 => {
            let departure = today + Duration::days(nights);
            reserve(site, random, room, (today, departure), ReservationState::Confirmed);
        }
        7 => {
            let arrival = today - Duration::days(nights);
            let departure = today + Duration::days(nights);
            reserve(site, random, room, (arrival, today), ReservationState::CheckedOut);
            reserve(site, random, room, (today, departure), ReservationState::Confirmed);
            room.status = RoomStatus::Dirty;
            task(site, random, room, "turnover");
        }
        _ => {
            let arrival = today + Duration::days(random.random_range(1..=14));
            let departure = arrival + Duration::days(nights);
            reserve(site, random, room, (arrival, departure), ReservationState::Confirmed);
        }
    }
}

fn occupy(site: &mut Site<'_>, random: &mut ChaCha8Rng, room: &mut Room, kind: &'static str) {
    room.occupied = true;
    room.status = RoomStatus::Clean;
    if random.random_bool(0.5) {
        room.status = RoomStatus::Dirty;
        task(site, random, room, kind);
    }
}

fn reserve(
    site: &mut Site<'_>,
    random: &mut ChaCha8Rng,
    room: &Room,
    (arrival_date, departure_date): (NaiveDate, NaiveDate),
    state: ReservationState,
) {
    let id = seeded(random, "rsv");
    let folio_id = seeded(random, "fol");
    let rate = nightly_rate(site, random);
    let code = format!("MEL-{}", &seeded(random, "c")[22..]);
    if matches!(state, ReservationState::InHouse | ReservationState::CheckedOut) {
        let paid = state == ReservationState::CheckedOut;
        folio(site, random, (&folio_id, &id), &rate, paid);
    }
    site.world.reservations.insert(Reservation {
        id,
        tenant_id: room.tenant_id.clone(),
        property_id: room.property_id.clone(),
        code,
        state,
        guest_name: (*GUESTS.choose(random).expect("the list is not empty")).to_owned(),
        guest_id: seeded(random, "gst"),
        room_id: room.id.clone(),
        room_type_id: room.type_id.clone(),
        folio_id,
        arrival_date,
        departure_date,
        adults: random.random_range(1..=3),
        nightly_rate: rate,
        version: 1,
    });
}

fn nightly_rate(site: &Site<'_>, random: &mut ChaCha8Rng) -> Money {
    let usual = TENANTS
        .iter()
        .find(|template| template.currency == site.tenant.currency)
        .map_or(100, |template| template.night_units);
    Money::units(usual * random.random_range(80..=140) / 100, site.tenant.currency)
}

fn folio(
    site: &mut Site<'_>,
    random: &mut ChaCha8Rng,
    (id, reservation_id): (&str, &str),
    rate: &Money,
    paid: bool,
) {
    let entry = |id: String, description: &str| Entry {
        id,
        amount: rate.clone(),
        description: description.into(),
    };
    let charge = entry(seeded(random, "chg"), "Room night");
    let payment = entry(seeded(random, "fpm"), "Cash on arrival");
    site.world.folios.insert(Folio {
        id: id.into(),
        tenant_id: site.tenant.id.clone(),
        property_id: site.property.id.clone(),
        reservation_id: reservation_id.into(),
        state: if paid { FolioState::Closed } else { FolioState::BalanceDue },
        balance: if paid { Money::units(0, &rate.currency) } else { rate.clone() },
        charges: vec![charge],
        payments: if paid { vec![payment] } else { Vec::new() },
        refunds: Vec::new(),
    });
}

fn task(site: &mut Site<'_>, random: &mut ChaCha8Rng, room: &Room, kind: &'static str) {
    let kind = if random.random_bool(0.8) {
        kind
    } else {
        TASK_KINDS[random.random_range(0..TASK_KINDS.len())]
    };
    site.world.tasks.insert(Task {
        id: seeded(random, "hkt"),
        tenant_id: room.tenant_id.clone(),
        property_id: room.property_id.clone(),
        room_id: room.id.clone(),
        kind,
        priority: PRIORITIES[random.random_range(0..PRIORITIES.len())],
        state: TaskState::Created,
        scheduled_for: site.now + Duration::minutes(random.random_range(-120..=360)),
        version: 1,
    });
}

fn work_order(site: &mut Site<'_>, random: &mut ChaCha8Rng, room: &Room) {
    let (category, severity, title) = WORK_ORDERS[random.random_range(0..WORK_ORDERS.len())];
    site.world.work_orders.insert(WorkOrder {
        id: seeded(random, "mnt"),
        tenant_id: room.tenant_id.clone(),
        property_id: room.property_id.clone(),
        room_id: Some(room.id.clone()),
        title: title.into(),
        category: category.into(),
        severity: severity.into(),
        state: WorkOrderState::Open,
        assigned_to: None,
        opened_at: site.now - Duration::minutes(random.random_range(10..=4_000)),
        version: 1,
    });
}
