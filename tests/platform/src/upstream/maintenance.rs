//! maintenance-service: work orders.

use axum::http::StatusCode;
use serde_json::json;

use super::{
    exchange::{Answer, Request},
    pages,
};
use crate::{
    feed, identifier,
    problem::Problem,
    producer::Producer,
    world::{
        World,
        work::{WorkOrder, WorkOrderState},
    },
};

const TITLE_CHARACTERS_MAX: usize = 140;
const SEVERITIES: [&str; 4] = ["low", "normal", "high", "critical"];

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    use WorkOrderState::{Assigned, Blocked, Open, Resolved, Verified};

    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("GET", ["maintenance", "work-orders"]) => {
            pages::page(request, world.work_orders.of_tenant(&request.tenant_id), |order| {
                order.state.text()
            })
        }
        ("GET", ["maintenance", "work-orders", id]) => {
            let order = world.work_orders.get(&request.tenant_id, id);
            let order = order.ok_or_else(|| no_order(id))?;
            Ok(Answer::ok(json!({ "data": order })).version(order.version))
        }
        ("POST", ["maintenance", "work-orders"]) => open(world, request),
        ("POST", ["maintenance", "work-orders", id, "assign"]) => {
            go(world, request, id, (&[Open, Assigned, Blocked], Assigned))
        }
        ("POST", ["maintenance", "work-orders", id, "block"]) => {
            go(world, request, id, (&[Open, Assigned], Blocked))
        }
        ("POST", ["maintenance", "work-orders", id, "resolve"]) => {
            go(world, request, id, (&[Open, Assigned, Blocked], Resolved))
        }
        ("POST", ["maintenance", "work-orders", id, "verify"]) => {
            go(world, request, id, (&[Resolved], Verified))
        }
        _ => Err(request.unknown()),
    }
}

/// Body `{propertyId, title, category, severity, roomId?}`.
fn open(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let property_id = request.text("propertyId")?;
    if !request.concerns(property_id) {
        return Err(Problem::invalid("propertyId is not that of X-Property-Id"));
    }
    pages::property_by_id(world, &request.tenant_id, property_id)?;
    let (title, severity) = (request.text("title")?, request.text("severity")?);
    if title.chars().count() > TITLE_CHARACTERS_MAX {
        let message = format!("title must have at most {TITLE_CHARACTERS_MAX} characters");
        return Err(Problem::invalid(message));
    }
    if !SEVERITIES.contains(&severity) {
        return Err(Problem::invalid(format!("severity must be one of {}", SEVERITIES.join(", "))));
    }
    let order = WorkOrder {
        id: identifier::fresh("mnt"),
        tenant_id: request.tenant_id.clone(),
        property_id: property_id.into(),
        room_id: request.optional_text("roomId").map(str::to_owned),
        title: title.into(),
        category: request.text("category")?.into(),
        severity: severity.into(),
        state: WorkOrderState::Open,
        assigned_to: None,
        opened_at: request.at,
        version: 1,
    };
    world.work_orders.insert(order.clone());
    Ok(changed(request, &order).status(StatusCode::CREATED))
}

fn go(
    world: &mut World,
    request: &Request,
    id: &str,
    (from, to): (&[WorkOrderState], WorkOrderState),
) -> Result<Answer, Problem> {
    let order = world.work_orders.get_mut(&request.tenant_id, id);
    let order = order.filter(|order| request.concerns(&order.property_id));
    let order = order.ok_or_else(|| no_order(id))?;
    request.check_version(order.version)?;
    if !from.contains(&order.state) {
        let (is, to) = (order.state.text(), to.text());
        return Err(Problem::conflict(
            "MELMASTOON.MAINTENANCE.INVALID_STATUS_TRANSITION",
            format!("a work order that is {is} cannot become {to}"),
        )
        .with("state", json!(is)));
    }
    if to == WorkOrderState::Assigned {
        order.assigned_to = Some(request.text("assigneeId")?.to_owned());
    }
    order.state = to;
    order.version += 1;
    let order = order.clone();
    Ok(changed(request, &order))
}

fn changed(request: &Request, order: &WorkOrder) -> Answer {
    let payload = json!({
        "workOrderId": order.id,
        "propertyId": order.property_id,
        "roomId": order.room_id,
        "severity": order.severity,
        "at": request.at,
    });
    let past = match order.state {
        WorkOrderState::Open => "opened",
        state => state.text(),
    };
    let subject = format!("melmastoon.maintenance.work_order.{past}.v1");
    let event = feed::event(Producer::Maintenance, &subject, &request.tenant_id, payload);
    Answer::ok(json!({ "data": order })).version(order.version).event(event)
}

fn no_order(id: &str) -> Problem {
    Problem::not_found(format!("no work order {id}"))
}
