//! The small, believable world behind the fourteen upstreams, held in memory.

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub mod inbox;
pub mod locks;
pub mod money;
pub mod seed;
pub mod stay;
pub mod tenancy;
pub mod work;

use crate::identity::Identity;
use inbox::{Alert, Suggestion};
use locks::{KeyCredential, Lock};
use money::Folio;
use stay::{Reservation, Room};
use tenancy::Tenant;
use work::{Task, WorkOrder};

/// How many alerts, suggestions, credentials … of one tenant are kept; the oldest go first.
const ITEMS_PER_TENANT_MAX: usize = 10_000;

/// Everything the upstreams know.
pub struct World {
    /// In order of generation: the first is the Sharia tenant.
    pub tenants: Vec<Tenant>,
    pub rooms: Collection<Room>,
    pub reservations: Collection<Reservation>,
    pub folios: Collection<Folio>,
    pub locks: Collection<Lock>,
    pub credentials: Collection<KeyCredential>,
    pub tasks: Collection<Task>,
    pub work_orders: Collection<WorkOrder>,
    pub alerts: Collection<Alert>,
    pub suggestions: Collection<Suggestion>,
    /// Sessions, devices and memberships: what sign-in adds to.
    pub identity: Identity,
}

impl World {
    pub fn tenant(&self, tenant_id: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.id == tenant_id)
    }

    pub fn tenant_mut(&mut self, tenant_id: &str) -> Option<&mut Tenant> {
        self.tenants.iter_mut().find(|tenant| tenant.id == tenant_id)
    }

    /// The document of `GET /sim/world`: ids to play with.
    pub fn document(&self) -> Value {
        let tenants: Vec<Value> =
            self.tenants.iter().map(|tenant| tenant.document(&self.rooms)).collect();
        json!({
            "tenants": tenants,
            "alerts": self.alerts.all(),
            "suggestions": self.suggestions.all(),
            "reservations": self.reservations.all(),
            "folios": self.folios.all(),
            "locks": self.locks.all(),
            "tasks": self.tasks.all(),
            "workOrders": self.work_orders.all(),
        })
    }
}

/// What every thing in a property has.
pub trait Item {
    fn id(&self) -> &str;
    fn tenant_id(&self) -> &str;
    fn property_id(&self) -> &str;
}

macro_rules! item {
    ($kind:ty) => {
        impl $crate::world::Item for $kind {
            fn id(&self) -> &str {
                &self.id
            }
            fn tenant_id(&self) -> &str {
                &self.tenant_id
            }
            fn property_id(&self) -> &str {
                &self.property_id
            }
        }
    };
}
pub(crate) use item;

/// Items by tenant, then by id: nobody reaches another tenant's by its id.
pub struct Collection<T>(BTreeMap<String, BTreeMap<String, T>>);

impl<T> Default for Collection<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Item> Collection<T> {
    /// Adds or replaces; at the bound, the tenant's item with the lowest id goes.
    pub fn insert(&mut self, item: T) {
        let items = self.0.entry(item.tenant_id().to_owned()).or_default();
        items.insert(item.id().to_owned(), item);
        if items.len() > ITEMS_PER_TENANT_MAX {
            items.pop_first();
        }
    }

    pub fn get(&self, tenant_id: &str, id: &str) -> Option<&T> {
        self.0.get(tenant_id)?.get(id)
    }

    pub fn get_mut(&mut self, tenant_id: &str, id: &str) -> Option<&mut T> {
        self.0.get_mut(tenant_id)?.get_mut(id)
    }

    /// The tenant's items by id.
    pub fn of_tenant(&self, tenant_id: &str) -> impl Iterator<Item = &T> {
        self.0.get(tenant_id).into_iter().flat_map(BTreeMap::values)
    }

    pub fn of_tenant_mut(&mut self, tenant_id: &str) -> impl Iterator<Item = &mut T> {
        self.0.get_mut(tenant_id).into_iter().flat_map(BTreeMap::values_mut)
    }

    /// All tenants' items.
    pub fn all(&self) -> Vec<&T> {
        self.0.values().flat_map(BTreeMap::values).collect()
    }
}
