//! pricing-service: today's rates of a property.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    problem::Problem,
    world::{World, money::Money, tenancy::ComplianceProfile},
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["pricing", "rates"] | ["rates"]) => rates(world, request),
        _ => Err(request.unknown()),
    }
}

/// The mean nightly rate of each room type, from the reservations of the property.
fn rates(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let mut by_type: BTreeMap<&str, (i64, i64, &str)> = BTreeMap::new();
    for stay in world.reservations.of_tenant(&request.tenant_id) {
        if stay.property_id == property.id {
            let currency = stay.nightly_rate.currency.as_str();
            let entry = by_type.entry(&stay.room_type_id).or_insert((0, 0, currency));
            entry.0 += stay.nightly_rate.as_micro().unwrap_or_default();
            entry.1 += 1;
        }
    }
    let sharia = world
        .tenant(&request.tenant_id)
        .is_some_and(|tenant| tenant.compliance_profile == ComplianceProfile::Sharia);
    let rates: Vec<Value> = by_type
        .into_iter()
        .map(|(room_type_id, (total_micro, nights, currency))| {
            json!({
                "roomTypeId": room_type_id,
                "rate": Money::micro(total_micro / nights, currency),
                "shariaCompliant": sharia,
            })
        })
        .collect();
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "date": request.at.date_naive(),
        "rates": rates,
        "asOf": request.at,
    } })))
}
