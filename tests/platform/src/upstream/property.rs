//! property-service: what a property is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    problem::Problem,
    world::{World, tenancy::Property},
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["properties"]) => {
            let tenant = world.tenant(&request.tenant_id).ok_or_else(|| request.unknown())?;
            let items: Vec<Value> =
                tenant.properties.iter().map(|property| card(world, request, property)).collect();
            Ok(Answer::ok(json!({ "items": items, "nextCursor": null })))
        }
        ("GET", ["properties", id]) => {
            let property = pages::property_by_id(world, &request.tenant_id, id)?;
            Ok(Answer::ok(json!({ "data": card(world, request, property) })).version(1))
        }
        _ => Err(request.unknown()),
    }
}

fn card(world: &World, request: &Request, property: &Property) -> Value {
    let rooms =
        world.rooms.of_tenant(&request.tenant_id).filter(|room| room.property_id == property.id);
    let room_types: BTreeSet<&str> = rooms.map(|room| room.type_id.as_str()).collect();
    let photo_id = property.id.replacen("ppt_", "pht_", 1);
    json!({
        "id": property.id,
        "tenantId": request.tenant_id,
        "name": { "default": property.name, "values": { "en": property.name } },
        "city": property.city,
        "timezone": property.timezone,
        "checkInTime": "14:00",
        "checkOutTime": "11:00",
        "roomTypeIds": room_types,
        "photoUrl": format!("https://cdn.melmastoon.app/photos/{photo_id}.jpg"),
    })
}
