//! inventory-service: how full a property is.

use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    problem::Problem,
    world::{
        World,
        stay::{Room, RoomStatus},
    },
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["inventory", "occupancy"]) => occupancy(world, request),
        ("GET", ["inventory", "rooms"]) => {
            pages::page(request, world.rooms.of_tenant(&request.tenant_id), |room| {
                if room.occupied { "occupied" } else { "vacant" }
            })
        }
        _ => Err(request.unknown()),
    }
}

fn occupancy(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let rooms: Vec<&Room> = world
        .rooms
        .of_tenant(&request.tenant_id)
        .filter(|room| room.property_id == property.id)
        .collect();
    let occupied = rooms.iter().filter(|room| room.occupied).count();
    let out_of_order = rooms
        .iter()
        .filter(|room| matches!(room.status, RoomStatus::OutOfOrder | RoomStatus::OutOfService))
        .count();
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "rooms": rooms.len(),
        "occupied": occupied,
        "outOfOrder": out_of_order,
        "available": rooms.len().saturating_sub(occupied + out_of_order),
        "occupancyPercent": occupied * 100 / rooms.len().max(1),
        "asOf": request.at,
    } })))
}
