//! sync-service: the handshake and the cursors of a device.

use serde_json::{Value, json};

use super::exchange::{Answer, Request};
use crate::{feed, problem::Problem, producer::Producer, world::World};

pub fn answer(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (method, path) = request.route();
    match (method, path.as_slice()) {
        ("POST", ["sync", "handshake"]) => {
            let device_id = request.text("deviceId")?;
            let cursors = world.identity.cursors(&request.tenant_id, device_id);
            Ok(Answer::ok(json!({ "data": {
                "deviceId": device_id,
                "cursors": cursors,
                "syncEndpoint": "https://sync.melmastoon.internal/sync/v1",
                "serverTime": request.at,
            } })))
        }
        ("GET", ["sync", "cursors"]) => {
            let device_id = request.query.get("deviceId");
            let device_id =
                device_id.ok_or_else(|| Problem::invalid("the query lacks deviceId"))?;
            let cursors = world.identity.cursors(&request.tenant_id, device_id);
            Ok(Answer::ok(json!({ "data": { "deviceId": device_id, "cursors": cursors } })))
        }
        ("POST", ["sync", "cursors"]) => advance(world, request),
        _ => Err(request.unknown()),
    }
}

/// Body `{deviceId, stream, cursor, expectedCursor?}`; compare-and-set where expected is named.
fn advance(world: &mut World, request: &Request) -> Result<Answer, Problem> {
    let (device_id, stream) = (request.text("deviceId")?, request.text("stream")?);
    let cursor = request.text("cursor")?;
    let cursors = world.identity.cursors(&request.tenant_id, device_id);
    let standing = cursors.get(stream).cloned().unwrap_or(Value::Null);
    if request.body.get("expectedCursor").is_some_and(|expected| *expected != standing) {
        return Err(Problem::conflict(
            "MELMASTOON.SYNC.CURSOR_CONFLICT",
            "the cursor has moved on",
        )
        .with("cursor", standing));
    }
    world.identity.set_cursor(&request.tenant_id, device_id, (stream, cursor));
    let payload = json!({
        "deviceId": device_id,
        "stream": stream,
        "cursor": cursor,
        "at": request.at,
    });
    let subject = "melmastoon.sync.cursor.advanced.v1";
    let event = feed::event(Producer::Sync, subject, &request.tenant_id, payload);
    let cursors = world.identity.cursors(&request.tenant_id, device_id);
    Ok(Answer::ok(json!({ "data": { "deviceId": device_id, "cursors": cursors } })).event(event))
}
