//! `POST /auth/sign-out` and `GET /session`.

use backoffice::{access::session::Kept, clock::Clock};
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{count, fault, iam_effects, ledger, tenant};
use crate::{
    access_world,
    support::{
        desktop::{Desktop, key},
        service::World,
        wait,
    },
};

const SIGN_OUT: &str = "/auth/sign-out";
const REVOKED: &str = "MELMASTOON.AUTH.SESSION_REVOKED";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_ends_session_streams_and_tokens_once_and_for_all() {
    let world = World::start().await;
    let (service, other) = (world.service().await, world.service().await);
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&other, "").await;
    let key = key();

    let first = desktop.post(&service, SIGN_OUT, &key, &json!({})).await;
    let again = desktop.post(&other, SIGN_OUT, &key, &json!({})).await;
    let another = desktop.post(&service, SIGN_OUT, &self::key(), &json!({})).await;

    for answer in [&first, &again, &another] {
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
        assert!(answer.bytes.is_empty());
    }
    assert_eq!(live.next_of("force-logout").await["reason"], "signed_out");
    assert!(live.ends().await);
    for instance in [&service, &other] {
        let answer = desktop.get(instance, "/session").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.body["code"], REVOKED);
    }
    let refreshed = desktop.refresh(&service, &self::key()).await;
    assert_eq!(refreshed.status, StatusCode::BAD_REQUEST, "{}", refreshed.body);
    assert_eq!(iam_effects(&world, "/revoke").await, 1);
    let keys = world.session_tier.keys().await;
    assert!(!keys.iter().any(|key| key.contains(":session:by-")), "{keys:?}");
    // iam tells of its end too, which ends nothing a second time.
    let tenant_id = desktop.text("tenantId");
    wait::until("iam's word has come", async || {
        let mut connection = world.database.superuser().await;
        let query = "select count(*) from inbox_event where subject like '%session.revoked.v1'";
        let told: i64 = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
        told == 1
    })
    .await;
    assert_eq!(ledger(&world, tenant_id).await, ["opened.v1", "closed.v1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_sign_out_the_same_device_signs_in_anew() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant_id = tenant(&world, 0);
    let mut desktop = Desktop::sign_in(&world, &tenant_id, json!({})).await;
    let before = desktop.get(&service, "/session").await;
    let signed_out = desktop.post(&service, SIGN_OUT, &key(), &json!({})).await;
    assert_eq!(signed_out.status, StatusCode::NO_CONTENT);

    let same = json!({
        "deviceId": desktop.text("deviceId"), "operatorId": desktop.text("operatorId"),
    });
    let mut desktop = Desktop::sign_in(&world, &tenant_id, same).await;
    let after = desktop.get(&service, "/session").await;

    assert_eq!(after.status, StatusCode::OK, "{}", after.body);
    assert_ne!(after.body["id"], before.body["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_stands_while_iam_is_away() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    assert_eq!(desktop.get(&service, "/session").await.status, StatusCode::OK);
    fault(&world, json!({ "hang": true })).await;

    let answer = desktop.post(&service, SIGN_OUT, &key(), &json!({})).await;

    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    assert_eq!(desktop.get(&service, "/session").await.body["code"], REVOKED);
    assert_eq!(count(&world, desktop.text("tenantId"), "closed.v1").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_as_the_first_request_opens_nothing() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;

    let answer = desktop.post(&service, SIGN_OUT, &key(), &json!({})).await;

    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    assert_eq!(desktop.get(&service, "/session").await.body["code"], REVOKED);
    assert!(ledger(&world, desktop.text("tenantId")).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_needs_its_key_and_its_credentials() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let url = format!("{}{SIGN_OUT}", service.url);

    let nobody = super::http().post(&url).header("x-idempotency-key", key()).send().await.unwrap();
    let keyless = desktop.post(&service, SIGN_OUT, "no key", &json!({})).await;

    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(keyless.status, StatusCode::BAD_REQUEST);
    assert_eq!(keyless.body["code"], "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_INVALID");
    assert_eq!(desktop.get(&service, "/session").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_in_flight_cannot_open_the_session_again_after_a_sign_out() {
    let world = access_world::World::new();
    // Let in before the sign-out, opened after it.
    let pending = access_world::opening(world.enter_anew().await);
    let session_id = "bos_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap();
    let session = pending.session(session_id, world.clock.now());
    let fence = format!("{{{}}}:fence:session:ses_1", world.tenant_id);
    let mut redis = world.redis.clone();
    let () = redis::cmd("SET").arg(&fence).arg(1).query_async(&mut redis).await.unwrap();

    let sessions = world.gate.sessions();
    assert_eq!(sessions.put(&session).await.unwrap(), Kept::Fenced);
    assert_eq!(sessions.renew(&session).await.unwrap(), Kept::Fenced);
    let device_id = "dev_1".parse().unwrap();
    assert_eq!(sessions.get(&world.tenant_id, &device_id).await.unwrap(), None);
    assert_eq!(access_world::code(world.enter_anew().await), REVOKED);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_says_who_is_signed_in_where_and_until_when() {
    let world = World::start().await;
    let service = world.service().await;
    let options = json!({ "locale": "ps-AF", "roles": ["front_desk"] });
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), options).await;

    let answer = desktop.get(&service, "/session").await;

    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    for (member, as_granted) in
        [("tenantId", "tenantId"), ("operatorId", "operatorId"), ("deviceId", "deviceId")]
    {
        assert_eq!(answer.body[member], desktop.text(as_granted), "{member}");
    }
    assert!(answer.body["id"].as_str().unwrap().starts_with("bos_"));
    assert_eq!(answer.body["roles"], json!(["front_desk"]));
    assert_eq!(answer.body["propertyIds"], desktop.grant["propertyIds"]);
    assert_eq!(answer.body["locale"], "ps-AF");
    let app = json!({ "version": "1.4.2", "platform": "linux", "networkMode": "good" });
    assert_eq!(answer.body["app"], app);
    assert!(answer.body["openedAt"].is_string());
    assert!(answer.body["tokenExpiresAt"].is_string());
    let proof = desktop.proof(&service, &Method::GET, "/session");
    let bare = super::http().get(format!("{}/session", service.url)).header("dpop", proof);
    assert_eq!(bare.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
