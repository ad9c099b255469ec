//! Rights that are taken away while somebody is at work.

use std::time::{Duration, Instant};

use backoffice::clock::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{happened, tenant};
use crate::support::{
    alerts,
    desktop::{Answer, Desktop, key},
    service::{Service, World},
    wait,
};

const ROLE_CHANGED: &str = "melmastoon.tenant.membership.role_changed.v1";
const SCOPE_DENIED: &str = "MELMASTOON.AUTH.SCOPE_DENIED";
/// How long a change of a membership may take to count, its event being heard.
const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn ti_39_a_changed_role_counts_on_every_instance_within_seconds() {
    let world = World::start().await;
    let instances = [world.service().await, world.service().await];
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    for instance in &instances {
        let answer = desktop.get(instance, "/alerts").await;
        assert_eq!(answer.status, StatusCode::OK, "remembered: {}", answer.body);
    }

    let changed_at = Instant::now();
    becomes(&world, &desktop, json!({ "roles": ["housekeeper"] })).await;

    for instance in &instances {
        wait::until("the role is gone", async || {
            let answer = desktop.get(instance, "/alerts").await;
            let is_denied = answer.status == StatusCode::FORBIDDEN;
            assert!(is_denied || answer.status == StatusCode::OK, "{}", answer.body);
            is_denied
        })
        .await;
        assert!(changed_at.elapsed() < LIMIT, "{:?}", changed_at.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_39_whoever_was_no_member_is_one_within_ten_seconds_of_becoming_it() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant_id = tenant(&world, 0);
    // Its token names an operator whom tenant-service does not know.
    let stranger = json!({ "claims": { "sub": "usr_stranger" } });
    let mut desktop = Desktop::sign_in(&world, &tenant_id, stranger).await;
    let refused = desktop.get(&service, "/session").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.body);

    let member = json!({ "operatorId": "usr_stranger", "deviceId": desktop.text("deviceId") });
    let mut desktop = Desktop::sign_in(&world, &tenant_id, member).await;
    let member_at = Instant::now();
    let remembered = desktop.get(&service, "/session").await;
    assert_eq!(remembered.status, StatusCode::FORBIDDEN, "the absence was not remembered");

    wait::until("a member", async || {
        desktop.get(&service, "/session").await.status == StatusCode::OK
    })
    .await;
    assert!(member_at.elapsed() < Duration::from_secs(12), "{:?}", member_at.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn id_38_whose_role_was_revoked_gets_no_stored_answer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let (path, key, first) = acknowledged(&world, &service, &mut desktop).await;

    becomes(&world, &desktop, json!({ "roles": ["housekeeper"] })).await;
    wait::until("the role is gone", async || {
        desktop.get(&service, "/alerts").await.status == StatusCode::FORBIDDEN
    })
    .await;
    let replay = desktop.post(&service, &path, &key, &json!({})).await;

    assert_eq!(replay.status, StatusCode::FORBIDDEN, "{}", replay.body);
    assert_eq!(replay.body["code"], SCOPE_DENIED);
    shows_nothing_of(&replay, &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_39_a_suspended_operator_gets_no_stored_answer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let (path, key, first) = acknowledged(&world, &service, &mut desktop).await;
    let who = json!({ "operatorId": desktop.text("operatorId") });
    let subject = "melmastoon.tenant.membership.suspended.v1";

    refused_after(&world, &service, (&mut desktop, subject, who), (&path, &key, &first)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn id_39_an_operator_of_a_suspended_tenant_gets_no_stored_answer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let (path, key, first) = acknowledged(&world, &service, &mut desktop).await;
    let subject = "melmastoon.tenant.suspended.v1";

    let whom = (&mut desktop, subject, json!({}));
    refused_after(&world, &service, whom, (&path, &key, &first)).await;
}

/// With the old token the session is over (401); with one of a new sign-in it is forbidden (403).
async fn refused_after(
    world: &World,
    service: &Service,
    (desktop, subject, payload): (&mut Desktop, &str, Value),
    (path, key, first): (&str, &str, &Answer),
) {
    let tenant_id = desktop.text("tenantId").to_owned();
    happened(world, &tenant_id, subject, payload).await;
    wait::until("the session is over", async || {
        desktop.get(service, "/session").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    let old = desktop.post(service, path, key, &json!({})).await;
    // The revocation's fence ends tokens up to its time, in whole seconds; this one is of the next.
    let same = json!({
        "deviceId": desktop.text("deviceId"),
        "operatorId": desktop.text("operatorId"),
        "claims": { "iat": SystemClock.now().timestamp() + 1 },
    });
    let mut anew = Desktop::sign_in(world, &tenant_id, same).await;
    let new = anew.post(service, path, key, &json!({})).await;

    assert_eq!(old.body["code"], "MELMASTOON.AUTH.SESSION_REVOKED");
    assert_eq!(new.status, StatusCode::FORBIDDEN, "{}", new.body);
    assert_eq!(new.body["code"], SCOPE_DENIED);
    shows_nothing_of(&old, first);
    shows_nothing_of(&new, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn ss_05_a_stream_whose_rights_were_narrowed_ends_and_comes_back_with_fewer() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let properties: Vec<String> =
        desktop.grant["propertyIds"].as_array().unwrap().iter().map(text).collect();
    let (lost, kept) = (&properties[0], &properties[1]);
    let mut live = desktop.live(&service, "?channels=alerts").await;
    let before = raise(&world, &desktop, lost).await;
    assert_eq!(live.next_of("alert.raised").await["id"], before.as_str());

    let changed_at = Instant::now();
    becomes(&world, &desktop, json!({ "propertyIds": [kept] })).await;
    live.next_of_within("reconnect", Duration::from_secs(16)).await;

    assert!(changed_at.elapsed() <= Duration::from_secs(16), "{:?}", changed_at.elapsed());
    assert!(live.ends().await);
    let mut live = desktop.live(&service, "?channels=alerts").await;
    raise(&world, &desktop, lost).await;
    let heard = raise(&world, &desktop, kept).await;
    assert_eq!(live.next_of("alert.raised").await["id"], heard.as_str(), "of the lost one nothing");
}

/// Raises an alert and acknowledges it: the path, the key and the stored answer.
async fn acknowledged(
    world: &World,
    service: &Service,
    desktop: &mut Desktop,
) -> (String, String, Answer) {
    let alert_id = alerts::raised(world, desktop, service).await;
    let (path, key) = (alerts::path(&alert_id), key());
    let first = desktop.post(service, &path, &key, &json!({})).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    (path, key, first)
}

fn shows_nothing_of(answer: &Answer, first: &Answer) {
    assert_ne!(answer.bytes, first.bytes);
    assert!(!answer.headers.contains_key("idempotency-replayed"));
    let shown = String::from_utf8_lossy(&answer.bytes);
    for member in ["acknowledgedAt", "acknowledgedBy", "forwarded"] {
        assert!(!shown.contains(member), "{shown}");
    }
}

async fn becomes(world: &World, desktop: &Desktop, mut membership: Value) {
    membership["operatorId"] = json!(desktop.text("operatorId"));
    happened(world, desktop.text("tenantId"), ROLE_CHANGED, membership).await;
}

async fn raise(world: &World, desktop: &Desktop, property_id: &str) -> String {
    alerts::raise_at(world, (desktop.text("tenantId"), property_id), "Raised").await
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
