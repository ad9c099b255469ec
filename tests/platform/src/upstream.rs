//! The fourteen upstream services: what they share, and the way to each.

use std::sync::Mutex;

use tokio::sync::watch;

pub mod ai;
pub mod analytics;
pub mod billing;
pub mod exchange;
pub mod faults;
pub mod gateway;
pub mod housekeeping;
pub mod iam;
pub mod inventory;
pub mod locks;
pub mod maintenance;
pub mod notification;
pub mod pages;
pub mod pricing;
pub mod property;
pub mod record;
pub mod reservation;
pub mod sync;
pub mod tenant;

use crate::{platform::Platform, problem::Problem, world::World};
use exchange::{Answer, Request};
use faults::Faults;
use record::{Calls, Effects};

/// A service the back office calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Iam,
    Tenant,
    Reservation,
    Inventory,
    Pricing,
    Housekeeping,
    Maintenance,
    Billing,
    LockIntegration,
    AiOrchestrator,
    Notification,
    Sync,
    Analytics,
    Property,
}

impl Service {
    /// In the order of the variants, so that `ALL[service as usize]` is the service.
    pub const ALL: [Self; 14] = [
        Self::Iam,
        Self::Tenant,
        Self::Reservation,
        Self::Inventory,
        Self::Pricing,
        Self::Housekeeping,
        Self::Maintenance,
        Self::Billing,
        Self::LockIntegration,
        Self::AiOrchestrator,
        Self::Notification,
        Self::Sync,
        Self::Analytics,
        Self::Property,
    ];

    /// Its name, which is also the first segment of its paths here.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam-service",
            Self::Tenant => "tenant-service",
            Self::Reservation => "reservation-service",
            Self::Inventory => "inventory-service",
            Self::Pricing => "pricing-service",
            Self::Housekeeping => "housekeeping-service",
            Self::Maintenance => "maintenance-service",
            Self::Billing => "billing-service",
            Self::LockIntegration => "lock-integration-service",
            Self::AiOrchestrator => "ai-orchestrator-service",
            Self::Notification => "notification-service",
            Self::Sync => "sync-service",
            Self::Analytics => "analytics-service",
            Self::Property => "property-service",
        }
    }

    /// # Errors
    /// 404 that lists the names.
    pub fn parse(name: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|service| service.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Problem::not_found(format!("there is no service {name}; there are {names}"))
        })
    }
}

/// What the simulator keeps of one service: its faults, and what was asked of it and done.
pub struct Upstream {
    pub faults: watch::Sender<Faults>,
    pub calls: Mutex<Calls>,
    pub effects: Mutex<Effects>,
}

impl Upstream {
    pub fn idle() -> Self {
        Self {
            faults: watch::Sender::new(Faults::default()),
            calls: Mutex::new(Calls::default()),
            effects: Mutex::new(Effects::default()),
        }
    }
}

/// Lets the service answer one request; for a mutation, this is its effect.
///
/// # Errors
/// The service's refusal; nothing has changed then.
pub fn answer(
    platform: &Platform,
    world: &mut World,
    request: &Request,
) -> Result<Answer, Problem> {
    match request.service {
        Service::Iam => iam::answer(platform, world, request),
        Service::Tenant => tenant::answer(world, request),
        Service::Reservation => reservation::answer(world, request),
        Service::Inventory => inventory::answer(world, request),
        Service::Pricing => pricing::answer(world, request),
        Service::Housekeeping => housekeeping::answer(world, request),
        Service::Maintenance => maintenance::answer(world, request),
        Service::Billing => billing::answer(world, request),
        Service::LockIntegration => locks::answer(world, request),
        Service::AiOrchestrator => ai::answer(world, request),
        Service::Notification => notification::answer(world, request),
        Service::Sync => sync::answer(world, request),
        Service::Analytics => analytics::answer(world, request),
        Service::Property => property::answer(world, request),
    }
}
