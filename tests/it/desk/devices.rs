//! Heartbeats, the state of devices, and hints of their queues.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{put, recorded, second_device, sign_in, start};
use crate::support::{
    desktop::{Answer, Desktop, key},
    service::{Service, World},
};

const HINT: &str = "/offline-queue/hint";
const HINTS: &str = "/offline-queue/hints";

fn state(pending: u32) -> Value {
    json!({
        "appVersion": "1.4.2",
        "networkMode": "flaky",
        "pendingActions": pending,
        "lastSyncAt": "2026-11-20T10:00:00Z",
        "clock": chrono_now(),
    })
}

fn chrono_now() -> String {
    use backoffice::clock::{Clock, SystemClock};

    SystemClock.now().to_rfc3339()
}

async fn beat(desktop: &mut Desktop, service: &Service, body: &Value) -> Answer {
    let path = format!("/devices/{}/heartbeat", desktop.text("deviceId"));
    desktop.post(service, &path, &key(), body).await
}

#[tokio::test]
async fn a_heartbeat_is_kept_always_and_recorded_for_the_share_that_the_flags_name() {
    let world = World::start().await;
    let flags = json!({
        "versionFloor": { "linux": "1.2.0" },
        "sampling": { "device.heartbeat": 1.0 },
    });
    world.session_tier.command(&["SET", "bff-backoffice-flags", &flags.to_string()]).await;
    let service = world.service().await;
    let mut desktop = sign_in(&world, json!({})).await;

    let answer = beat(&mut desktop, &service, &state(3)).await;
    let later = beat(&mut desktop, &service, &state(1)).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["versionFloor"], "1.2.0");
    assert_eq!(answer.body["hints"], json!([]));
    assert!(answer.body["serverTime"].is_string());
    assert_eq!(later.status, StatusCode::OK, "{}", later.body);
    let path = format!("/devices/{}/sync-status", desktop.text("deviceId"));
    let status = desktop.get(&service, &path).await;
    assert_eq!(status.status, StatusCode::OK, "{}", status.body);
    assert_eq!(status.body["pendingActions"], 1);
    assert_eq!(status.body["networkMode"], "flaky");
    assert_eq!(status.body["appPlatform"], "linux");
    assert_eq!(status.body["lastSyncAt"], "2026-11-20T10:00:00Z");
    assert!(status.body["clockSkewMs"].as_i64().unwrap().abs() < 60_000);

    let events = recorded(&world, "device.heartbeat").await;
    assert_eq!(events.len(), 2, "{events:?}");
    let (stream, data, metadata) = &events[0];
    assert_eq!(*stream, format!("dsy:{}", desktop.text("deviceId")));
    assert_eq!((&data["pendingActions"], &data["networkMode"]), (&json!(3), &json!("flaky")));
    assert_eq!(metadata["samplingPerMille"], 1000);
    assert_eq!(metadata["operatorId"], desktop.text("operatorId"));

    let devices = desktop.get(&service, "/devices").await;
    assert_eq!(devices.body["items"].as_array().unwrap().len(), 1, "{}", devices.body);
    assert_eq!(devices.body["items"][0], status.body);
}

#[tokio::test]
async fn heartbeats_without_a_share_are_not_recorded_and_those_of_others_are_not_taken() {
    let world = World::start().await;
    let flags = json!({ "sampling": { "device.heartbeat": 0.0 } });
    world.session_tier.command(&["SET", "bff-backoffice-flags", &flags.to_string()]).await;
    let service = world.service().await;
    let mut desktop = sign_in(&world, json!({})).await;
    let mut other = second_device(&world, &desktop).await;
    let tenant_id = world.simulator.tenant_ids()[1].clone();
    let options = json!({ "deviceId": desktop.text("deviceId") });
    let mut stranger = Desktop::sign_in(&world, &tenant_id, options).await;

    let unknown = format!("/devices/{}/sync-status", desktop.text("deviceId"));
    assert_eq!(desktop.get(&service, &unknown).await.status, StatusCode::NOT_FOUND);
    for pending in 0..20 {
        let answer = beat(&mut desktop, &service, &state(pending)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    }
    assert_eq!(beat(&mut other, &service, &state(0)).await.status, StatusCode::OK);

    let foreign = format!("/devices/{}/heartbeat", desktop.text("deviceId"));
    let refused = other.post(&service, &foreign, &key(), &state(9)).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND, "{}", refused.body);
    let foreign = format!("/devices/{}/sync-status", desktop.text("deviceId"));
    assert_eq!(other.get(&service, &foreign).await.status, StatusCode::NOT_FOUND);
    // One id in two tenants is two devices.
    assert_eq!(stranger.get(&service, &foreign).await.status, StatusCode::NOT_FOUND);
    let devices = stranger.get(&service, "/devices").await;
    assert_eq!(devices.body["items"], json!([]));

    for (member, wrong) in [
        ("networkMode", json!("excellent")),
        ("pendingActions", json!(-1)),
        ("pendingActions", json!(2_000_000)),
        ("appVersion", json!("")),
        ("clock", json!("yesterday")),
        ("more", json!(1)),
    ] {
        let mut body = state(1);
        body[member] = wrong;
        let answer = beat(&mut desktop, &service, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{member}: {}", answer.body);
    }
    let devices = desktop.get(&service, "/devices").await;
    assert_eq!(devices.body["items"].as_array().unwrap().len(), 2, "{}", devices.body);
    let own = devices.body["items"].as_array().unwrap();
    let own = own.iter().find(|it| it["deviceId"] == desktop.text("deviceId")).unwrap();
    assert_eq!(own["pendingActions"], 19);
    assert!(recorded(&world, "device.heartbeat").await.is_empty());
}

#[tokio::test]
async fn a_hint_is_told_to_the_other_devices_of_its_operator_and_to_nobody_else() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let mut colleague = sign_in(&world, json!({})).await;
    let hint = json!({
        "pendingActions": 4,
        "oldestAt": "2026-11-20T10:00:00Z",
        "kinds": { "check-in": 3, "task.complete": 1 },
    });
    let (hint_key, empty) = (key(), json!({ "pendingActions": 0 }));

    let said = put(&mut desktop, &service, (HINT, &hint_key), (&hint, None)).await;
    let again = put(&mut desktop, &service, (HINT, &hint_key), (&hint, None)).await;
    let reused = put(&mut desktop, &service, (HINT, &hint_key), (&empty, None)).await;

    assert_eq!(said.status, StatusCode::OK, "{}", said.body);
    assert_eq!(said.body["deviceId"], desktop.text("deviceId"));
    assert!(said.headers.contains_key("x-ledger-position"));
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &said.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let heard = other.get(&service, HINTS).await;
    assert_eq!(heard.body["items"], json!([said.body]));
    assert_eq!(beat(&mut other, &service, &state(0)).await.body["hints"], json!([said.body]));
    assert_eq!(other.get(&service, "/bootstrap").await.body["queueHints"], json!([said.body]));
    assert_eq!(desktop.get(&service, HINTS).await.body["items"], json!([]));
    assert_eq!(colleague.get(&service, HINTS).await.body["items"], json!([]));
    let events = recorded(&world, "offline_queue.hinted").await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].1["pendingActions"], 4);

    let emptied = put(&mut desktop, &service, (HINT, &key()), (&empty, None)).await;
    assert_eq!(emptied.status, StatusCode::OK, "{}", emptied.body);
    assert_eq!(other.get(&service, HINTS).await.body["items"], json!([]));
}

#[tokio::test]
async fn hints_and_mirrors_are_forgotten_in_time() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let hint = json!({ "pendingActions": 4 });
    let said = put(&mut desktop, &service, (HINT, &key()), (&hint, None)).await;
    assert_eq!(said.status, StatusCode::OK, "{}", said.body);
    desktop.get(&service, "/preferences").await;
    let mut superuser = world.database.superuser().await;
    let pools = world.database.pools();
    let forget = async || backoffice::commands::forget_desk::forget(pools.jobs()).await.unwrap();
    assert_eq!(forget().await, 0);

    sqlx::raw_sql(
        "update offline_queue_hint set hinted_at = now() - interval '7 days 1 second'; \
         update operator_preferences set read_at = now() - interval '30 days 1 second'",
    )
    .execute(&mut superuser)
    .await
    .unwrap();

    assert_eq!(other.get(&service, HINTS).await.body["items"], json!([]));
    assert_eq!(forget().await, 2);
}
