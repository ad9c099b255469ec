//! The main job, through HTTP and Pub/Sub, with nothing mocked: an alert arrives, is acknowledged
//! with a device-bound proof, becomes an event, and leaves again.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::{
    alerts::{acknowledge, calls, effects, events_of, fault, heal, raise, raised},
    desktop::{Desktop, key},
    listener::Listener,
    platform::{revoke, tenant},
    service::World,
    wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_seen_heard_acknowledged_recorded_and_published() {
    let world = World::start().await;
    let service = world.service().await;
    let published = Listener::on(&world, "melmastoon.bff.backoffice.alert-ack").await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&service, "?channels=alerts").await;

    let alert_id = raise(&world, &desktop, "Door 12 does not lock").await;

    let heard = live.next_of("alert.raised").await;
    assert_eq!(heard["id"], alert_id.as_str());
    let seen =
        desktop.alert(&service, "in the inbox", |alert| alert["id"] == alert_id.as_str()).await;
    assert_eq!(seen["state"], "raised");
    assert_eq!(seen["title"], "Door 12 does not lock");

    let answer = acknowledge(&mut desktop, &service, &alert_id, &key()).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["forwarded"], true);
    assert_eq!(answer.body["acknowledgedBy"], desktop.text("operatorId"));
    assert!(answer.headers.contains_key("x-ledger-position"));
    assert_eq!(live.next_of("alert.acknowledged").await["id"], alert_id.as_str());
    desktop.alert(&service, "acknowledged", |alert| alert["state"] == "acknowledged").await;

    let message = published
        .message(|message| message["envelope"]["streamId"] == format!("ali:{alert_id}").as_str())
        .await;
    assert_eq!(message["envelope"]["subject"], "melmastoon.bff.backoffice.alert.acknowledged.v1");
    assert_eq!(message["envelope"]["tenantId"], desktop.text("tenantId"));
    assert_eq!(message["payload"]["acknowledgedBy"], desktop.text("operatorId"));
    assert_eq!(effects(&world, &alert_id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_is_told_upstream_and_kept_but_never_published() {
    let world = World::start().await;
    let service = world.service().await;
    let published = Listener::on(&world, "melmastoon.bff.backoffice.alert-ack").await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;

    let path = format!("/alerts/{alert_id}/acknowledge");
    let body = json!({ "comment": "Ahmad is on his way" });
    let answer = desktop.post(&service, &path, &key(), &body).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let calls = calls(&world, &alert_id).await;
    assert_eq!(calls[0]["body"]["comment"], "Ahmad is on his way");
    let message = published
        .message(|message| message["envelope"]["streamId"] == format!("ali:{alert_id}").as_str())
        .await;
    assert!(!message.to_string().contains("Ahmad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn id_06_07_08_10_one_key_has_one_effect_and_one_answer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let key = key();

    let first = acknowledge(&mut desktop, &service, &alert_id, &key).await;
    let again = acknowledge(&mut desktop, &service, &alert_id, &key).await;
    let other_key = acknowledge(&mut desktop, &service, &alert_id, &self::key()).await;
    let path = format!("/alerts/{alert_id}/acknowledge");
    let other_body = desktop.post(&service, &path, &key, &json!({ "comment": "x" })).await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(again.bytes, first.bytes);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(other_key.status, StatusCode::OK);
    assert_eq!(other_key.body["acknowledgedAt"], first.body["acknowledgedAt"]);
    assert_eq!(other_body.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other_body.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED");
    assert_eq!(effects(&world, &alert_id).await, 1);
    assert_eq!(
        events_of(&world, &alert_id).await,
        ["alert.acknowledged.v1", "acknowledgment.forwarded.v1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn id_17_fifty_presses_of_one_key_at_once_have_one_effect() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let key = key();

    let path = format!("/alerts/{alert_id}/acknowledge");
    let body = json!({});
    let presses = (0..50).map(|_| {
        let proof = desktop.proof(&service, &Method::POST, &path);
        let (desktop, service, path, body, key) = (&desktop, &service, &path, &body, &key);
        async move {
            let press = Some((key.as_str(), body));
            desktop.send_with_proof(service, path, press, &proof).await.status()
        }
    });
    let statuses = futures::future::join_all(presses).await;

    for status in &statuses {
        assert!([StatusCode::OK, StatusCode::CONFLICT].contains(status), "{status}");
    }
    assert!(statuses.contains(&StatusCode::OK));
    assert_eq!(effects(&world, &alert_id).await, 1);
    assert_eq!(events_of(&world, &alert_id).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_27_an_acknowledgment_stands_while_its_upstream_is_away_and_is_forwarded_later() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    fault(&world, json!({ "errorRate": 1.0, "status": 503 })).await;

    let answer = acknowledge(&mut desktop, &service, &alert_id, &key()).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["forwarded"], false);
    assert_eq!(effects(&world, &alert_id).await, 0);

    heal(&world).await;
    wait::until("the acknowledgment is forwarded", || async {
        effects(&world, &alert_id).await == 1
    })
    .await;
    wait::until("the ledger knows", || async { events_of(&world, &alert_id).await.len() == 2 })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_26_a_lost_answer_from_upstream_leaves_one_effect() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    fault(&world, json!({ "dropAfterEffect": true })).await;

    let answer = acknowledge(&mut desktop, &service, &alert_id, &key()).await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    heal(&world).await;
    wait::until("the ledger knows", || async { events_of(&world, &alert_id).await.len() == 2 })
        .await;
    assert_eq!(effects(&world, &alert_id).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_killed_after_an_append_loses_nothing() {
    let world = World::start().await;
    let mut service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let published = Listener::on(&world, "melmastoon.bff.backoffice.alert-ack").await;

    // notification-service never answers, so the request is between its append and its answer when
    // the process dies.
    fault(&world, json!({ "hang": true })).await;
    let path = format!("/alerts/{alert_id}/acknowledge");
    let key = key();
    let (proof, body) = (desktop.proof(&service, &Method::POST, &path), json!({}));
    let request = desktop.send_with_proof(&service, &path, Some((&key, &body)), &proof);
    let killed = async {
        wait::until("the event is in the ledger", || async {
            !events_of(&world, &alert_id).await.is_empty()
        })
        .await;
    };
    tokio::select! {
        _ = request => panic!("answered before the process was killed"),
        () = killed => service.kill(),
    }
    heal(&world).await;
    let service = world.service().await;

    published
        .message(|message| message["envelope"]["streamId"] == format!("ali:{alert_id}").as_str())
        .await;
    wait::until("the acknowledgment is forwarded", || async {
        effects(&world, &alert_id).await == 1
    })
    .await;
    let answer = acknowledge(&mut desktop, &service, &alert_id, &self::key()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(events_of(&world, &alert_id).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_proof_opens_nothing() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    assert_eq!(desktop.get(&service, "/bootstrap").await.status, StatusCode::OK);
    let proof = desktop.proof(&service, &Method::GET, "/alerts");
    let send = || desktop.send_with_proof(&service, "/alerts", None, &proof);

    let (first, second) = (send().await, send().await);

    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(second.status(), StatusCode::UNAUTHORIZED);
    assert!(second.headers()["www-authenticate"].to_str().unwrap().starts_with("DPoP "));
    let problem: Value = second.json().await.unwrap();
    assert_eq!(problem["code"], "MELMASTOON.AUTH.PROOF_REPLAYED");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_sees_hears_and_reaches_nothing_of_it() {
    let world = World::start().await;
    let service = world.service().await;
    let mut ours = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut theirs = Desktop::sign_in(&world, &tenant(&world, 1), json!({})).await;
    let mut their_live = theirs.live(&service, "").await;
    let alert_id = raised(&world, &mut ours, &service).await;

    let seen = theirs.get(&service, "/alerts?limit=100").await;
    let property = format!("/alerts?propertyId={}", ours.property());
    let by_property = theirs.get(&service, &property).await;
    let reached = acknowledge(&mut theirs, &service, &alert_id, &key()).await;
    let unknown = acknowledge(&mut theirs, &service, "ntf_unknown", &key()).await;

    assert!(!String::from_utf8_lossy(&seen.bytes).contains(&alert_id));
    assert_eq!(by_property.status, StatusCode::NOT_FOUND);
    assert_eq!(reached.status, StatusCode::NOT_FOUND);
    assert_eq!(reached.body["code"], unknown.body["code"]);
    // Until they hear of their own alert they hear nothing of ours, which was raised before it.
    let own = raise(&world, &theirs, "Their own").await;
    loop {
        let heard = their_live.next_of("alert.raised").await;
        assert_ne!(heard["id"], alert_id.as_str());
        if heard["id"] == own.as_str() {
            break;
        }
    }
    assert_eq!(events_of(&world, &alert_id).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_redis_heals() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let mut live = desktop.live(&service, "").await;

    world.cache_tier.command(&["FLUSHALL"]).await;
    desktop
        .alert(&service, "after the cache was lost", |alert| alert["id"] == alert_id.as_str())
        .await;

    world.session_tier.command(&["FLUSHALL"]).await;
    desktop
        .alert(&service, "after the sessions were lost", |alert| alert["id"] == alert_id.as_str())
        .await;
    let next = raise(&world, &desktop, "After the loss").await;
    // Events may have been lost with the streams, so a desktop that listens is told to fetch anew.
    live.next_of("reset").await;
    desktop.alert(&service, "raised after the loss", |alert| alert["id"] == next.as_str()).await;
    let mut live = desktop.live(&service, "").await;
    let later = raise(&world, &desktop, "Later").await;
    while live.next_of("alert.raised").await["id"] != later.as_str() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_evicted_under_memory_pressure_is_rebuilt() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;

    let cache = &world.cache_tier;
    cache.command(&["CONFIG", "SET", "maxmemory", "3mb"]).await;
    let ballast = "x".repeat(100_000);
    for round in 0..60 {
        cache.command(&["SET", &format!("ballast:{round}"), &ballast]).await;
    }
    wait::until("the view was evicted", || async {
        !cache.keys().await.iter().any(|key| key.contains(":view:"))
    })
    .await;

    desktop.alert(&service, "after the eviction", |alert| alert["id"] == alert_id.as_str()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_resumes_on_another_instance_without_gap_or_repeat() {
    let world = World::start().await;
    let (first, second) = (world.service().await, world.service().await);
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&first, "?channels=alerts").await;
    let before = raise(&world, &desktop, "Before the break").await;
    let cursor = loop {
        let frame = live.frame().await;
        if frame.data.contains(&before) {
            break frame.id.unwrap();
        }
    };
    drop(live);

    let missed = [raise(&world, &desktop, "One").await, raise(&world, &desktop, "Two").await];

    let poll = format!("/live/poll?channels=alerts&after={cursor}&waitMs=10000");
    let mut heard = Vec::new();
    let mut next = poll;
    while heard.len() < 2 {
        let answer = desktop.get(&second, &next).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let events = answer.body["events"].as_array().unwrap();
        heard.extend(events.iter().map(|event| event["data"]["id"].as_str().unwrap().to_owned()));
        let cursor = answer.body["next"].as_str().unwrap();
        next = format!("/live/poll?channels=alerts&after={cursor}&waitMs=10000");
    }
    assert_eq!(heard, missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_session_is_logged_out_at_once_everywhere() {
    let world = World::start().await;
    let (first, second) = (world.service().await, world.service().await);
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&first, "").await;
    assert_eq!(desktop.get(&second, "/bootstrap").await.status, StatusCode::OK);

    let operator = (desktop.text("tenantId"), desktop.text("operatorId"));
    revoke(&world, operator, "admin").await;

    live.next_of("force-logout").await;
    let answer = desktop.get(&second, "/bootstrap").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.body["code"], "MELMASTOON.AUTH.SESSION_REVOKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_says_who_the_operator_is_and_opens_the_session_once() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop =
        Desktop::sign_in(&world, &tenant(&world, 0), json!({ "locale": "ps-AF" })).await;

    let first = desktop.get(&service, "/bootstrap").await;
    let second = desktop.get(&service, "/bootstrap").await;

    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.body["operator"]["id"], desktop.text("operatorId"));
    assert_eq!(first.body["locale"]["direction"], "rtl");
    assert_eq!(first.body["session"]["id"], second.body["session"]["id"]);
    let query = "select count(*) from event where kind like '%.session.opened.v1'";
    let mut connection = world.database.superuser().await;
    let opened: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    assert_eq!(opened, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_speaks_the_operators_language() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop =
        Desktop::sign_in(&world, &tenant(&world, 0), json!({ "locale": "ps-AF" })).await;

    let answer = desktop.get(&service, "/alerts?limit=9999").await;

    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["content-language"], "ps");
    assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.VALIDATION_FAILED");
    assert_eq!(answer.body["errors"][0]["field"], "limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_that_sends_its_position_reads_its_own_write() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;

    for _ in 0..5 {
        let alert_id = raised(&world, &mut desktop, &service).await;
        let answer = acknowledge(&mut desktop, &service, &alert_id, &key()).await;
        let position = answer.headers["x-ledger-position"].to_str().unwrap().to_owned();
        desktop.min_position = Some(position);

        let read = desktop.get(&service, "/alerts?limit=100").await;

        let items = read.body["items"].as_array().unwrap();
        let alert = items.iter().find(|alert| alert["id"] == alert_id.as_str()).unwrap();
        assert_eq!(alert["state"], "acknowledged");
    }
    desktop.min_position = Some("made-up".to_owned());
    assert_eq!(desktop.get(&service, "/alerts").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_does_not_wait_for_its_position_longer_than_it_may() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let answer = acknowledge(&mut desktop, &service, &alert_id, &key()).await;
    desktop.min_position = Some(answer.headers["x-ledger-position"].to_str().unwrap().to_owned());
    // Nobody learns how far the views are, as long as this is held.
    let mut superuser = world.database.superuser().await;
    let mut held = superuser.begin().await.unwrap();
    sqlx::raw_sql("lock table projector_cursor in access exclusive mode")
        .execute(&mut *held)
        .await
        .unwrap();

    let asked_at = Instant::now();
    let read = desktop.get(&service, "/alerts").await;

    assert_eq!(read.status, StatusCode::OK, "{}", read.body);
    assert!(asked_at.elapsed() < Duration::from_secs(4), "{:?}", asked_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_sends_its_desktops_away_and_is_gone_in_time() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&service, "").await;

    let (stopped_after, reconnect) =
        tokio::join!(service.stop(), async { live.next_of("reconnect").await });

    assert!(reconnect["nonce"].is_string());
    assert!(stopped_after < Duration::from_secs(10), "{stopped_after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_on_the_admin_port_only() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    desktop.get(&service, "/alerts").await;

    let public = reqwest::get(format!("{}/metrics", service.root_url)).await.unwrap();
    let admin = reqwest::get(format!("{}/metrics", service.admin_url)).await.unwrap();

    assert_eq!(public.status(), StatusCode::NOT_FOUND);
    let text = admin.text().await.unwrap();
    assert!(text.contains("bff_backoffice_request_total"), "{text}");
    assert!(!text.contains(desktop.text("tenantId")), "no tenant is a label");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_enters_without_credentials() {
    let world = World::start().await;
    let service = world.service().await;
    for path in ["/bootstrap", "/alerts", "/live", "/sse/stream", "/live/poll"] {
        let answer = reqwest::get(format!("{}{path}", service.url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("DPoP "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_the_service_rebuilds_the_views_and_verifies_the_ledger() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    acknowledge(&mut desktop, &service, &alert_id, &key()).await;

    let (rebuilt, said) = world.run(&["rebuild", "alert-inbox"]);
    assert!(rebuilt, "{said}");
    let acknowledged =
        |alert: &Value| alert["id"] == alert_id.as_str() && alert["state"] == "acknowledged";
    desktop.alert(&service, "after the rebuild", acknowledged).await;
    let path = format!("/devices/{}/heartbeat", desktop.text("deviceId"));
    let state = json!({ "appVersion": "1.4.2", "networkMode": "good", "pendingActions": 2 });
    let beat = desktop.post(&service, &path, &key(), &state).await;
    assert_eq!(beat.status, StatusCode::OK, "{}", beat.body);
    let devices = desktop.get(&service, "/devices").await.body;
    for view in ["device-sync-status", "session-map"] {
        let (rebuilt, said) = world.run(&["rebuild", view]);
        assert!(rebuilt && said.contains("facts folded"), "{said}");
    }
    assert_eq!(
        desktop.get(&service, "/devices").await.body,
        devices,
        "nothing that is newer is lost"
    );

    let (verified, said) = world.run(&["ledger", "verify"]);
    assert!(verified, "{said}");
    assert!(said.contains("every one as recorded"), "{said}");

    let mut connection = world.database.superuser().await;
    let forge = "set session_replication_role = replica; \
        update event set body = convert_to(replace(convert_from(body, 'UTF8'), 'usr_', 'usr-'), 'UTF8') \
        where kind like '%.alert.acknowledged.v1'";
    sqlx::raw_sql(forge).execute(&mut connection).await.unwrap();
    let position: i64 =
        sqlx::query_scalar("select position from event where kind like '%.alert.acknowledged.v1'")
            .fetch_one(&mut connection)
            .await
            .unwrap();

    let (verified, said) = world.run(&["ledger", "verify"]);
    assert!(!verified);
    assert!(said.contains(&format!("position {position} is not what was recorded")), "{said}");
}

#[tokio::test]
async fn a_command_whose_output_nobody_reads_ends_quietly() {
    let world = World::start().await;

    let (is_well, said) = world.run_unread(&["ledger", "verify"]);

    assert!(is_well, "{said}");
    assert!(!said.contains("panicked") && !said.contains("backoffice:"), "{said}");
}
