//! Keeps the world alive: alerts are raised, guests arrive and leave, tasks get done.

use std::time::Duration;

use rand::{Rng, seq::IteratorRandom};

use crate::{
    clock,
    envelope::Event,
    feed, identifier,
    platform::Platform,
    producer::Producer,
    world::{
        World,
        inbox::AlertState,
        seed,
        stay::{ReservationState, RoomStatus},
        tenancy::{Property, Tenant},
        work::TaskState,
    },
};

/// Open alerts a tenant may have before the oldest is resolved.
const OPEN_ALERTS_MAX: usize = 50;

/// Takes a step every `interval` until the simulator stops.
pub async fn run(platform: &Platform, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = ticks.tick() => platform.publish_in_background(&step(platform)),
            () = platform.shutdown.cancelled() => return,
        }
    }
}

/// Lets something happen in one property of one tenant; returns what there is to tell.
pub fn step(platform: &Platform) -> Vec<Event> {
    let mut world = platform.world();
    let chosen = platform.draw(|random| {
        let tenant = world.tenants.iter().choose(random)?;
        Some((tenant.clone(), tenant.properties.iter().choose(random)?.clone()))
    });
    let Some((tenant, property)) = chosen else {
        return Vec::new();
    };
    let mut events = vec![raise_alert(platform, &mut world, (&tenant, &property))];
    events.extend(resolve_oldest_alert(&mut world, &tenant));
    events.extend(move_reservation(platform, &mut world, (&tenant, &property)));
    events.extend(move_task(&mut world, (&tenant, &property)));
    events
}

fn raise_alert(platform: &Platform, world: &mut World, place: (&Tenant, &Property)) -> Event {
    let id = identifier::fresh("alr");
    let alert = platform.draw(|random| seed::draw_alert(random, id, place, clock::now()));
    let raised = feed::alert_raised(&alert);
    world.alerts.insert(alert);
    raised
}

fn resolve_oldest_alert(world: &mut World, tenant: &Tenant) -> Option<Event> {
    let open =
        || world.alerts.of_tenant(&tenant.id).filter(|alert| alert.state != AlertState::Resolved);
    if open().count() <= OPEN_ALERTS_MAX {
        return None;
    }
    let oldest_id = open().min_by_key(|alert| alert.raised_at)?.id.clone();
    let alert = world.alerts.get_mut(&tenant.id, &oldest_id)?;
    alert.state = AlertState::Resolved;
    alert.resolved_at = Some(clock::now());
    Some(feed::alert_moved(alert, feed::ALERT_RESOLVED, None, clock::now()))
}

/// Checks somebody in who is due, or out who is leaving today.
fn move_reservation(
    platform: &Platform,
    world: &mut World,
    (tenant, property): (&Tenant, &Property),
) -> Option<Event> {
    let today = clock::now().date_naive();
    let arriving = platform.draw(|random| random.random_bool(0.5));
    let stay = world.reservations.of_tenant_mut(&tenant.id).find(|stay| {
        stay.property_id == property.id
            && if arriving {
                stay.state == ReservationState::Confirmed && stay.arrival_date <= today
            } else {
                stay.state == ReservationState::InHouse && stay.departure_date <= today
            }
    })?;
    stay.version += 1;
    stay.state = if arriving { ReservationState::InHouse } else { ReservationState::CheckedOut };
    let payload = serde_json::json!({
        "reservationId": stay.id,
        "propertyId": stay.property_id,
        "roomId": stay.room_id,
        "state": stay.state,
        "at": clock::now(),
    });
    let room_id = stay.room_id.clone();
    if let Some(room) = world.rooms.get_mut(&tenant.id, &room_id) {
        room.occupied = arriving;
        if !arriving {
            room.status = RoomStatus::Dirty;
        }
    }
    let past = if arriving { "checked_in" } else { "checked_out" };
    let subject = format!("melmastoon.reservation.{past}.v1");
    Some(feed::event(Producer::Reservation, &subject, &tenant.id, payload))
}

/// Starts a task, or finishes one that was started.
fn move_task(world: &mut World, (tenant, property): (&Tenant, &Property)) -> Option<Event> {
    let task = world.tasks.of_tenant_mut(&tenant.id).find(|task| {
        task.property_id == property.id
            && matches!(task.state, TaskState::Created | TaskState::Started)
    })?;
    let (state, room_status) = match task.state {
        TaskState::Created => (TaskState::Started, RoomStatus::Cleaning),
        _ => (TaskState::Completed, RoomStatus::Clean),
    };
    task.state = state;
    task.version += 1;
    let payload = serde_json::json!({
        "taskId": task.id,
        "tenantId": task.tenant_id,
        "propertyId": task.property_id,
        "roomId": task.room_id,
        "at": clock::now(),
    });
    let room_id = task.room_id.clone();
    if let Some(room) = world.rooms.get_mut(&tenant.id, &room_id) {
        room.status = room_status;
    }
    let subject = format!("melmastoon.housekeeping.task.{}.v1", state.text());
    Some(feed::event(Producer::Housekeeping, &subject, &tenant.id, payload))
}
