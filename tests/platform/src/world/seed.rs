//! Makes the world from a seed: the same seed and day give the same world.

use chrono::{DateTime, Utc};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

mod inboxes;
mod properties;
mod templates;

use super::{
    Collection, World,
    money::Money,
    tenancy::{ComplianceProfile, Device, Operator, Property, Tenant},
};
use crate::{
    identifier::seeded,
    identity::{Identity, Membership},
};
pub use inboxes::draw_alert;
use templates::{CITIES, TENANTS, TenantTemplate};

/// Roles of the first operators of a tenant; further ones take them in turn.
const ROLES: [&[&str]; 8] = [
    &["front_desk", "property_manager"],
    &["front_desk"],
    &["housekeeping_lead"],
    &["housekeeper"],
    &["maintenance_tech"],
    &["owner"],
    &["auditor"],
    &["front_desk", "housekeeping_lead"],
];

/// How large a world is made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The first three are always the same groups; further ones are variations.
    pub tenants: usize,
    pub devices_per_tenant: usize,
}

/// Draws the whole world as it is at `now`.
pub fn world(seed: u64, size: Size, now: DateTime<Utc>) -> World {
    let mut world = World {
        tenants: Vec::with_capacity(size.tenants),
        rooms: Collection::default(),
        reservations: Collection::default(),
        folios: Collection::default(),
        locks: Collection::default(),
        credentials: Collection::default(),
        tasks: Collection::default(),
        work_orders: Collection::default(),
        alerts: Collection::default(),
        suggestions: Collection::default(),
        identity: Identity::default(),
    };
    for index in 0..size.tenants {
        // A stream of its own, so that one tenant more leaves the others as they were.
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(index as u64 + 1);
        let tenant = tenant(&mut random, index, size.devices_per_tenant);
        for property in &tenant.properties {
            let mut place = Site { world: &mut world, tenant: &tenant, property, now };
            properties::furnish(&mut place, &mut random);
            inboxes::fill(&mut place, &mut random);
        }
        employ(&mut world.identity, &tenant);
        world.tenants.push(tenant);
    }
    world
}

/// Where things are being put.
struct Site<'world> {
    world: &'world mut World,
    tenant: &'world Tenant,
    property: &'world Property,
    now: DateTime<Utc>,
}

fn tenant(random: &mut ChaCha8Rng, index: usize, devices: usize) -> Tenant {
    let template = &TENANTS[index % TENANTS.len()];
    let id = seeded(random, "tnt");
    let properties: Vec<Property> = cities(template, random, index)
        .into_iter()
        .map(|city| Property {
            id: seeded(random, "ppt"),
            name: format!("{} {}", template.brand, CITIES[city].name),
            city: CITIES[city].name,
            timezone: CITIES[city].timezone,
        })
        .collect();
    let operators: Vec<Operator> = (0..ROLES.len().max(devices * 3 / 5))
        .map(|number| Operator {
            id: seeded(random, "usr"),
            roles: ROLES[number % ROLES.len()].iter().map(ToString::to_string).collect(),
        })
        .collect();
    let devices = (0..devices)
        .map(|number| Device {
            id: seeded(random, "dev"),
            operator_id: operators[number % operators.len()].id.clone(),
        })
        .collect();
    let generation = index / TENANTS.len();
    Tenant {
        id,
        name: if generation == 0 {
            template.name.to_owned()
        } else {
            format!("{} {}", template.name, generation + 1)
        },
        compliance_profile: if template.sharia {
            ComplianceProfile::Sharia
        } else {
            ComplianceProfile::Standard
        },
        locale: template.locale,
        currency: template.currency,
        timezone: properties[0].timezone,
        theme_version: 1,
        large_charge_threshold: Money::units(template.large_charge_units, template.currency),
        properties,
        operators,
        devices,
    }
}

/// Indices into the cities: the template's own for the first of its kind, else two or three drawn.
fn cities(template: &TenantTemplate, random: &mut ChaCha8Rng, index: usize) -> Vec<usize> {
    if index < TENANTS.len() {
        return template.cities.to_vec();
    }
    let count = random.random_range(2..=3);
    let all: Vec<usize> = (0..CITIES.len()).collect();
    all.choose_multiple(random, count).copied().collect()
}

fn employ(identity: &mut Identity, tenant: &Tenant) {
    for operator in &tenant.operators {
        let membership =
            Membership { roles: operator.roles.clone(), property_ids: tenant.property_ids() };
        identity.set_membership(&tenant.id, &operator.id, membership);
    }
}
