//! What was done offline comes in from sync-service's events.

use serde_json::{Value, json};

use super::{recorded, start};
use crate::support::{desktop::key, service::World, wait};

async fn publish(world: &World, subject: &str, tenant_id: &str, payload: Value) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let event = json!({
        "producer": "sync-service", "subject": subject, "tenantId": tenant_id, "payload": payload,
    });
    let url = format!("{}/sim/events", world.simulator.url());
    http.post(url).json(&event).send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test]
async fn what_was_done_offline_is_recorded_once_and_dated_as_it_was_done() {
    let (world, service, mut desktop) = start().await;
    let tenant_id = desktop.text("tenantId").to_owned();
    let replay = |replay_id: &str, verb: &str| {
        json!({
            "replayId": replay_id,
            "operatorId": desktop.text("operatorId"),
            "deviceId": desktop.text("deviceId"),
            "propertyId": desktop.property(),
            "verb": verb,
            "target": { "type": "reservation", "id": "rsv_1" },
            "occurredAt": "2026-11-20T10:00:00Z",
        })
    };
    let subject = "melmastoon.sync.activity.replayed.v1";

    // Another event id each, as after a replay of sync-service itself.
    for _ in 0..3 {
        publish(&world, subject, &tenant_id, replay("rpl_1", "reservation.opened")).await;
    }
    publish(&world, subject, &tenant_id, replay("rpl_2", "Amina of room 4")).await;
    publish(&world, subject, &tenant_id, replay("rpl_3", "task.opened")).await;
    wait::until("both replays are recorded", async || {
        let events = recorded(&world, "activity.recorded").await;
        events.iter().any(|(_, data, _)| data["replayId"] == "rpl_3")
    })
    .await;

    let events = recorded(&world, "activity.recorded").await;
    let mut ids: Vec<_> =
        events.iter().map(|(_, data, _)| data["replayId"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["rpl_1", "rpl_3"]);
    let (stream, data, metadata) = &events[0];
    assert!(stream.starts_with("act_"));
    assert_eq!(data["origin"], "offline_replay");
    assert_eq!(data["at"], "2026-11-20T10:00:00Z");
    assert_eq!(data["target"], json!({ "type": "reservation", "id": "rsv_1" }));
    assert_eq!(metadata["operatorId"], desktop.text("operatorId"));
    assert_eq!(metadata["deviceId"], desktop.text("deviceId"));
    assert_eq!(metadata["propertyId"], desktop.property());
    let mut superuser = world.database.superuser().await;
    let dated: i64 = sqlx::query_scalar(
        "select count(*) from event where kind like '%.activity.recorded.v1' \
         and occurred_at = '2026-11-20T10:00:00Z' and recorded_at > '2026-11-20T11:00:00Z'",
    )
    .fetch_one(&mut superuser)
    .await
    .unwrap();
    assert_eq!(dated, 2);

    // A cursor that moved at sync-service itself.
    desktop.post(&service, "/sync/handshake", &key(), &json!({})).await;
    let advanced = json!({
        "deviceId": desktop.text("deviceId"), "stream": "reservations", "cursor": "c9",
        "at": (backoffice::clock::Clock::now(&backoffice::clock::SystemClock)
            + chrono::TimeDelta::seconds(1)).to_rfc3339(),
    });
    publish(&world, "melmastoon.sync.cursor.advanced.v1", &tenant_id, advanced).await;
    wait::until("the cursor has followed", async || {
        let read = desktop.get(&service, "/sync/cursor").await;
        read.headers["x-cache"] == "hit" && read.body["cursors"]["reservations"] == "c9"
    })
    .await;
}
