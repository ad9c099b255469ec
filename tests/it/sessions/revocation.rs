//! Force logout: from what an upstream says to every instance, stream and ledger.

use std::time::{Duration, Instant};

use backoffice::clock::{Clock, SystemClock};
use chrono::TimeDelta;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{count, happened, tenant};
use crate::support::{
    desktop::Desktop,
    platform::revoke,
    service::{Service, World},
    wait,
};

const REVOKED: &str = "MELMASTOON.AUTH.SESSION_REVOKED";
/// From when on every revocation was fenced, in Unix milliseconds.
const FENCED_SINCE: &str = "g:fences:since";
/// The platform's bound.
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn twenty_revocations_reach_the_streams_of_two_instances_in_time_and_the_ledger_once() {
    let world = World::start().await;
    let instances = [world.service().await, world.service().await];
    let tenant_id = tenant(&world, 0);
    let mut took = Vec::new();
    for number in 0..20 {
        let mut desktop = Desktop::sign_in(&world, &tenant_id, json!({})).await;
        let (here, there) = (&instances[number % 2], &instances[(number + 1) % 2]);
        let mut live = desktop.live(here, "").await;
        let revoked_at = Instant::now();
        revoke(&world, (&tenant_id, desktop.text("operatorId")), "admin").await;

        assert_eq!(live.next_of("force-logout").await["reason"], "admin");
        took.push(revoked_at.elapsed());
        assert!(live.ends().await);
        for instance in [here, there] {
            is_refused(&mut desktop, instance).await;
        }
    }
    took.sort();
    println!("publish to stream: p50 {:?}, p95 {:?}, longest {:?}", took[9], took[18], took[19]);
    assert!(took[19] < LIMIT, "{took:?}");
    recorded(&world, &tenant_id, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_key_11_the_tokens_of_a_revoked_device_are_refused_at_once_and_for_as_long_as_they_live()
{
    let world = World::start().await;
    let (service, other) = (world.service().await, world.service().await);
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut colleague = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&service, "").await;
    assert_eq!(colleague.get(&other, "/session").await.status, StatusCode::OK);

    let device = json!({ "deviceId": desktop.text("deviceId") });
    let revoked_at = Instant::now();
    happened(&world, desktop.text("tenantId"), "melmastoon.iam.device.revoked.v1", device).await;

    assert_eq!(live.next_of("force-logout").await["reason"], "device_revoked");
    assert!(revoked_at.elapsed() < LIMIT);
    for instance in [&service, &other] {
        is_refused(&mut desktop, instance).await;
        assert_eq!(colleague.get(instance, "/session").await.status, StatusCode::OK);
    }
    recorded(&world, desktop.text("tenantId"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_loses_access_is_logged_out_everywhere_and_once() {
    let world = World::start().await;
    let (service, other) = (world.service().await, world.service().await);
    let tenant_id = tenant(&world, 0);
    let mut ended = 0;
    for (subject, reason) in [
        ("melmastoon.iam.user.locked.v1", "user_locked"),
        ("melmastoon.tenant.membership.removed.v1", "membership_ended"),
        ("melmastoon.tenant.membership.suspended.v1", "membership_ended"),
    ] {
        let mut desktop = Desktop::sign_in(&world, &tenant_id, json!({})).await;
        let mut live = desktop.live(&service, "").await;
        assert_eq!(desktop.get(&other, "/session").await.status, StatusCode::OK);
        let who = json!({ "userId": desktop.text("operatorId") });

        happened(&world, &tenant_id, subject, who.clone()).await;
        // Pub/Sub delivers at least once.
        happened(&world, &tenant_id, subject, who).await;

        assert_eq!(live.next_of("force-logout").await["reason"], reason, "{subject}");
        for instance in [&service, &other] {
            is_refused(&mut desktop, instance).await;
        }
        ended += 1;
        recorded(&world, &tenant_id, ended).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_logged_out_as_a_whole_and_no_other() {
    let world = World::start().await;
    let (service, other) = (world.service().await, world.service().await);
    let (ours, theirs) = (tenant(&world, 0), tenant(&world, 1));
    let mut one = Desktop::sign_in(&world, &ours, json!({})).await;
    let mut two = Desktop::sign_in(&world, &ours, json!({})).await;
    let mut stranger = Desktop::sign_in(&world, &theirs, json!({})).await;
    let mut lives = [one.live(&service, "").await, two.live(&other, "").await];
    assert_eq!(stranger.get(&service, "/session").await.status, StatusCode::OK);

    happened(&world, &ours, "melmastoon.tenant.suspended.v1", json!({})).await;

    for live in &mut lives {
        assert_eq!(live.next_of("force-logout").await["reason"], "tenant_suspended");
    }
    for desktop in [&mut one, &mut two] {
        is_refused(desktop, &service).await;
        is_refused(desktop, &other).await;
    }
    recorded(&world, &ours, 2).await;
    assert_eq!(stranger.get(&other, "/session").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_iam_has_ended_is_not_opened_though_no_word_of_it_came() {
    let world = World::start().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    // No service has made its subscription yet, so nobody hears of it.
    let sid = sid(&desktop);
    let url = format!("{}/iam-service/api/v1/sessions/{sid}/revoke", world.simulator.url());
    let revoked = super::http()
        .post(url)
        .header("authorization", "Bearer development")
        .header("x-tenant-id", desktop.text("tenantId"))
        .header("idempotency-key", "k1")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(revoked.status(), StatusCode::OK);
    let service = world.service().await;

    let answer = desktop.get(&service, "/session").await;

    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    assert_eq!(answer.body["code"], REVOKED);
    assert_eq!(super::iam_calls(&world, &format!("/sessions/{sid}")).await.len(), 1);
    assert_eq!(count(&world, desktop.text("tenantId"), "opened.v1").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_iam_is_away_sessions_open_as_long_as_its_revocations_are_heard() {
    let world = World::start().await;
    let service = world.service().await;
    // Until it has been noted that revocations are fenced, nobody but iam can vouch.
    let is_noted = async || world.session_tier.keys().await.iter().any(|key| key == FENCED_SINCE);
    wait::until("fencing is noted", is_noted).await;
    // Revocations have been fenced for a minute, and a token was issued in the middle of it.
    let now = SystemClock.now();
    let since = (now - TimeDelta::minutes(1)).timestamp_millis().to_string();
    world.session_tier.command(&["SET", FENCED_SINCE, &since]).await;
    let issued_at = (now - TimeDelta::seconds(30)).timestamp();
    let options = json!({ "claims": { "iat": issued_at } });
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), options).await;
    super::fault(&world, json!({ "status": 503 })).await;

    let heard = desktop.get(&service, "/session").await;
    // With the fences lost, a revocation from before may be lost with them.
    world.session_tier.command(&["FLUSHALL"]).await;
    wait::until("fencing is noted anew", is_noted).await;
    let unsure = desktop.get(&service, "/session").await;

    assert_eq!(heard.status, StatusCode::OK, "{}", heard.body);
    assert_eq!(unsure.status, StatusCode::SERVICE_UNAVAILABLE, "{}", unsure.body);
    assert_eq!(unsure.body["code"], "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE");
    super::heal(&world).await;
    wait::until("iam vouches again", async || {
        desktop.get(&service, "/session").await.status == StatusCode::OK
    })
    .await;
}

async fn is_refused(desktop: &mut Desktop, service: &Service) {
    let answer = desktop.get(service, "/session").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    assert_eq!(answer.body["code"], REVOKED);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
}

/// So many sessions were ended in the ledger, and none twice.
async fn recorded(world: &World, tenant_id: &str, sessions: usize) {
    wait::until("every session's end is in the ledger", async || {
        count(world, tenant_id, "force_logged_out.v1").await >= sessions
    })
    .await;
    assert_eq!(count(world, tenant_id, "force_logged_out.v1").await, sessions);
}

fn sid(desktop: &Desktop) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let payload = desktop.text("accessToken").split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}
