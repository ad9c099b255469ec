//! analytics-service: occupancy, average daily rate and revenue per room.

use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    problem::Problem,
    world::{World, money::Money, stay::ReservationState},
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["analytics", "kpis"]) => kpis(world, request),
        _ => Err(request.unknown()),
    }
}

/// Tonight's figures, from the guests who are there.
fn kpis(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let tenant = world.tenant(&request.tenant_id).ok_or_else(|| request.unknown())?;
    let rooms = world
        .rooms
        .of_tenant(&request.tenant_id)
        .filter(|room| room.property_id == property.id)
        .count();
    let nights: Vec<i64> = world
        .reservations
        .of_tenant(&request.tenant_id)
        .filter(|stay| stay.property_id == property.id)
        .filter(|stay| stay.state == ReservationState::InHouse)
        .filter_map(|stay| stay.nightly_rate.as_micro())
        .collect();
    let revenue_micro: i64 = nights.iter().sum();
    let share = |count: usize| {
        let count = i64::try_from(count.max(1)).unwrap_or(i64::MAX);
        Money::micro(revenue_micro / count, tenant.currency)
    };
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "occupancyPercent": nights.len() * 100 / rooms.max(1),
        "adr": share(nights.len()),
        "revpar": share(rooms),
        "asOf": request.at,
    } })))
}
