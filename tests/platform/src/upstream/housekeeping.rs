//! housekeeping-service: tasks and the state of rooms.

use serde_json::{Value, json};

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
        stay::RoomStatus,
        work::{Task, TaskState},
    },
};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    use TaskState::{Completed, Created, Inspected, Started};

    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["housekeeping", "tasks"]) => {
            pages::page(request, world.tasks.of_tenant(&request.tenant_id), |task| {
                task.state.text()
            })
        }
        ("GET", ["housekeeping", "tasks", id]) => {
            let task = world.tasks.get(&request.tenant_id, id).ok_or_else(|| no_task(id))?;
            Ok(Answer::ok(json!({ "data": task })).version(task.version))
        }
        ("GET", ["housekeeping", "rooms"]) => {
            pages::page(request, world.rooms.of_tenant(&request.tenant_id), |_| "")
        }
        ("GET", ["housekeeping", "room-status"]) => room_status(world, request),
        ("POST", ["housekeeping", "tasks", id, "start"]) => {
            go(world, request, id, (Created, Started, RoomStatus::Cleaning))
        }
        ("POST", ["housekeeping", "tasks", id, "complete"]) => {
            go(world, request, id, (Started, Completed, RoomStatus::Clean))
        }
        ("POST", ["housekeeping", "tasks", id, "inspect"]) => {
            go(world, request, id, (Completed, Inspected, RoomStatus::Inspected))
        }
        ("POST", ["housekeeping", "rooms", id, "status"]) => set_status(world, request, id),
        _ => Err(request.unknown()),
    }
}

/// How many rooms of the property are in each state.
fn room_status(world: &World, request: &Request) -> Result<Answer, Problem> {
    let property = pages::property(world, request)?;
    let mut counts = serde_json::Map::new();
    for room in world.rooms.of_tenant(&request.tenant_id) {
        if room.property_id == property.id
            && let Value::String(status) = json!(room.status)
        {
            let count = counts.get(&status).and_then(Value::as_u64).unwrap_or_default();
            counts.insert(status, json!(count + 1));
        }
    }
    Ok(Answer::ok(json!({ "data": {
        "propertyId": property.id,
        "byStatus": counts,
        "asOf": request.at,
    } })))
}

fn go(
    world: &mut World,
    request: &Request,
    id: &str,
    (from, to, room_status): (TaskState, TaskState, RoomStatus),
) -> Result<Answer, Problem> {
    let task = world.tasks.get_mut(&request.tenant_id, id);
    let task = task.filter(|task| request.concerns(&task.property_id));
    let task = task.ok_or_else(|| no_task(id))?;
    request.check_version(task.version)?;
    if task.state != from {
        let (is, must) = (task.state.text(), from.text());
        return Err(Problem::conflict(
            "MELMASTOON.HOUSEKEEPING.INVALID_STATUS_TRANSITION",
            format!("the task is {is}; it would have to be {must}"),
        )
        .with("state", json!(is)));
    }
    task.state = to;
    task.version += 1;
    let task = task.clone();
    if let Some(room) = world.rooms.get_mut(&request.tenant_id, &task.room_id) {
        room.status = room_status;
    }
    Ok(Answer::ok(json!({ "data": task })).version(task.version).event(task_moved(&task, request)))
}

fn task_moved(task: &Task, request: &Request) -> crate::envelope::Event {
    let payload = json!({
        "taskId": task.id,
        "tenantId": task.tenant_id,
        "propertyId": task.property_id,
        "roomId": task.room_id,
        "at": request.at,
    });
    let subject = format!("melmastoon.housekeeping.task.{}.v1", task.state.text());
    feed::event(Producer::Housekeeping, &subject, &request.tenant_id, payload)
}

/// Body `{status}`.
fn set_status(world: &mut World, request: &Request, id: &str) -> Result<Answer, Problem> {
    let status: RoomStatus = serde_json::from_value(json!(request.text("status")?))
        .map_err(|error| Problem::invalid(format!("status: {error}")))?;
    let room = world.rooms.get_mut(&request.tenant_id, id);
    let room = room.filter(|room| request.concerns(&room.property_id));
    let room = room.ok_or_else(|| Problem::not_found(format!("no room {id}")))?;
    if room.occupied && matches!(status, RoomStatus::OutOfOrder | RoomStatus::OutOfService) {
        return Err(Problem::new(
            axum::http::StatusCode::UNPROCESSABLE_ENTITY,
            "MELMASTOON.HOUSEKEEPING.ROOM_STATE_CONFLICT",
            "an occupied room cannot be taken out of order",
        ));
    }
    room.status = status;
    let payload = json!({
        "propertyId": room.property_id,
        "roomId": room.id,
        "status": status,
        "at": request.at,
    });
    let subject = "melmastoon.housekeeping.room.status_changed.v1";
    let event = feed::event(Producer::Housekeeping, subject, &request.tenant_id, payload);
    Ok(Answer::ok(json!({ "data": room })).event(event))
}

fn no_task(id: &str) -> Problem {
    Problem::not_found(format!("no task {id}"))
}
