//! reservation-service: today's arrivals, departures and guests, and what befalls a reservation.

use chrono::{Days, NaiveDate};
use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed,
    problem::Problem,
    producer::Producer,
    world::{
        World,
        stay::{Reservation, ReservationState, RoomStatus},
    },
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    use ReservationState::{Cancelled, CheckedOut, Confirmed, InHouse, NoShow};

    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["reservations"]) => list(world, request, |_| true),
        ("GET", ["reservations", "arrivals"]) => {
            let date = date(request)?;
            list(world, request, |stay| {
                stay.arrival_date == date && matches!(stay.state, Confirmed | InHouse)
            })
        }
        ("GET", ["reservations", "departures"]) => {
            let date = date(request)?;
            list(world, request, |stay| {
                stay.departure_date == date && matches!(stay.state, InHouse | CheckedOut)
            })
        }
        ("GET", ["reservations", "in-house"]) => list(world, request, |stay| stay.state == InHouse),
        ("GET", ["reservations", id]) => {
            let stay = world.reservations.get(&request.tenant_id, id);
            let stay = stay.ok_or_else(|| no_reservation(id))?;
            Ok(Answer::ok(json!({ "data": stay })).version(stay.version))
        }
        ("POST", ["reservations", id, "check-in"]) => {
            go(world, request, id, (Confirmed, InHouse, "checked_in"))
        }
        ("POST", ["reservations", id, "check-out"]) => {
            go(world, request, id, (InHouse, CheckedOut, "checked_out"))
        }
        ("POST", ["reservations", id, "cancel"]) => {
            go(world, request, id, (Confirmed, Cancelled, "cancelled"))
        }
        ("POST", ["reservations", id, "no-show"]) => {
            go(world, request, id, (Confirmed, NoShow, "no_show"))
        }
        ("POST", ["reservations", id, "assign-room"]) => assign_room(world, request, id),
        ("POST", ["reservations", id, "extend-stay"]) => extend_stay(world, request, id),
        _ => Err(request.unknown()),
    }
}

fn list(
    world: &World,
    request: &Request,
    keep: impl Fn(&Reservation) -> bool,
) -> Result<Answer, Problem> {
    let stays = world.reservations.of_tenant(&request.tenant_id).filter(|stay| keep(stay));
    pages::page(request, stays, |stay| stay.state.text())
}

/// `date` of the query, property-local; today where absent.
fn date(request: &Request) -> Result<NaiveDate, Problem> {
    request.query.get("date").map_or(Ok(request.at.date_naive()), |text| {
        text.parse().map_err(|_| Problem::invalid("date must be YYYY-MM-DD"))
    })
}

/// Moves a reservation from one state to the next, and its room along with it.
fn go(
    world: &mut World,
    request: &Request,
    id: &str,
    (from, to, past): (ReservationState, ReservationState, &str),
) -> Result<Answer, Problem> {
    let stay = reservation_in(world, request, id, from)?;
    stay.state = to;
    stay.version += 1;
    let stay = stay.clone();
    if let Some(room) = world.rooms.get_mut(&request.tenant_id, &stay.room_id) {
        match to {
            ReservationState::InHouse => room.occupied = true,
            ReservationState::CheckedOut => {
                room.occupied = false;
                room.status = RoomStatus::Dirty;
            }
            _ => {}
        }
    }
    Ok(changed(request, &stay, past))
}

/// Body `{roomId}`.
fn assign_room(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let room_id = request.text("roomId")?.to_owned();
    let room = world.rooms.get(&request.tenant_id, &room_id);
    let room = room.ok_or_else(|| Problem::not_found(format!("no room {room_id}")))?;
    let (room_property_id, occupied) = (room.property_id.clone(), room.occupied);
    let stay = reservation_in(world, request, id, ReservationState::Confirmed)?;
    if stay.property_id != room_property_id {
        return Err(Problem::not_found(format!("no room {room_id} in the property")));
    }
    if occupied {
        return Err(Problem::conflict(
            "MELMASTOON.RESERVATION.ROOM_OCCUPIED",
            format!("the room {room_id} is occupied"),
        ));
    }
    stay.room_id = room_id;
    stay.version += 1;
    let stay = stay.clone();
    Ok(changed(request, &stay, "modified"))
}

/// Body `{nights}` or `{departureDate}`.
fn extend_stay(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let stay = reservation_in(world, request, id, ReservationState::InHouse)?;
    let departure_date = match request.body["nights"].as_u64() {
        Some(nights) => stay.departure_date.checked_add_days(Days::new(nights)),
        None => request.text("departureDate")?.parse().ok(),
    };
    stay.departure_date = departure_date
        .filter(|date| *date > stay.departure_date)
        .ok_or_else(|| Problem::invalid("nights or departureDate must lengthen the stay"))?;
    stay.version += 1;
    let stay = stay.clone();
    Ok(changed(request, &stay, "dates_changed"))
}

fn reservation_in<'world>(
    world: &'world mut World,
    request: &Request,
    id: &str,
    state: ReservationState,
) -> Result<&'world mut Reservation, Problem> {
    let stay = world.reservations.get_mut(&request.tenant_id, id);
    let stay = stay.filter(|stay| request.concerns(&stay.property_id));
    let stay = stay.ok_or_else(|| no_reservation(id))?;
    request.check_version(stay.version)?;
    if stay.state != state {
        let (is, must) = (stay.state.text(), state.text());
        return Err(Problem::conflict(
            "MELMASTOON.RESERVATION.INVALID_STATUS_TRANSITION",
            format!("the reservation is {is}; it would have to be {must}"),
        )
        .with("state", json!(is)));
    }
    Ok(stay)
}

fn changed(request: &Request, stay: &Reservation, past: &str) -> Answer {
    let payload = json!({
        "reservationId": stay.id,
        "propertyId": stay.property_id,
        "roomId": stay.room_id,
        "state": stay.state,
        "at": request.at,
    });
    let subject = format!("melmastoon.reservation.{past}.v1");
    let event = feed::event(Producer::Reservation, &subject, &request.tenant_id, payload);
    Answer::ok(json!({ "data": stay })).version(stay.version).event(event)
}

fn no_reservation(id: &str) -> Problem {
    Problem::not_found(format!("no reservation {id}"))
}
