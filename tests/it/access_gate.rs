//! The whole gate over the real session tier: roles, fences, sessions.

use std::{sync::Arc, time::Duration};

use backoffice::access::{
    AccessRequest, Admission, DeviceHeaders, GrantError, Place, Reason, fence, policy::Scope,
};
use http::Method;
use redis::AsyncCommands;
use serde_json::json;
use tokio::{sync::Barrier, task::JoinSet, time::Instant};
use ulid::Ulid;

use crate::{
    access_keys::{with, without},
    access_world::{
        Setup, World, code, failing_fetch, failing_lookup, known, member, opening, reason, set,
        stranger,
    },
    support::port,
};

const REVOKED: &str = "MELMASTOON.AUTH.SESSION_REVOKED";

#[tokio::test]
async fn the_first_request_opens_a_session_and_the_next_is_in_it() {
    let world = World::new();

    let pending = opening(world.enter_anew().await);
    let session = world.open(&pending).await;
    let caller = known(world.enter_anew().await);

    assert_eq!(caller.session_id, session.session_id);
    assert_eq!(caller, pending.into_caller(&session));
    assert_eq!(caller.tenant_id, world.tenant_id);
    assert_eq!(caller.jkt, world.device.jkt());
}

#[tokio::test]
async fn roles_and_properties_are_those_that_token_and_membership_share() {
    let world = World::new();
    let token = world.token_of(&with(
        world.token_claims(),
        "roles",
        json!(["front_desk", "property_manager"]),
    ));
    let pending = opening(world.enter(&token, &world.proof(&token)).await);
    let caller = pending.clone().into_caller(&world.open(&pending).await);

    assert_eq!(caller.roles, ["front_desk"]);
    assert_eq!(caller.property_ids, ["ppt_1".parse().unwrap()]);
    assert!(caller.require(Scope::AlertsAck, Some(&"ppt_1".parse().unwrap())).is_ok());
    assert!(matches!(caller.require(Scope::AuditRead, None), Err(Reason::ScopeDenied)));
    assert!(matches!(caller.require(Scope::LockRevoke, None), Err(Reason::ScopeDenied)));
    let missing = caller.require(Scope::AlertsAck, Some(&"ppt_2".parse().unwrap()));
    assert!(matches!(missing, Err(Reason::NotFound)));
}

#[tokio::test]
async fn a_stranger_is_denied_and_an_unknown_membership_is_no_entry() {
    let world = World::with(Setup { lookup: stranger(), ..Setup::default() });
    assert_eq!(code(world.enter_anew().await), "MELMASTOON.AUTH.SCOPE_DENIED");

    let world = World::with(Setup { lookup: failing_lookup(), ..Setup::default() });
    assert!(matches!(reason(world.enter_anew().await), Reason::Unavailable("tenant-service")));

    let world = World::with(Setup { lookup: member(&[], &[]), ..Setup::default() });
    let pending = opening(world.enter_anew().await);
    let caller = pending.clone().into_caller(&world.open(&pending).await);
    assert!(caller.roles.is_empty() && caller.property_ids.is_empty());
    assert!(matches!(caller.require(Scope::DashboardRead, None), Err(Reason::ScopeDenied)));
}

#[tokio::test]
async fn a_fence_ends_what_was_issued_before_it() {
    let world = World::new();
    let mut redis = world.redis.clone();
    let tenant_id = &world.tenant_id;
    let issued_at = (world.now() - 10) * 1000;
    let keys = [
        fence::session_key(tenant_id, "ses_1"),
        fence::operator_key(tenant_id, &"usr_1".parse().unwrap()),
        fence::device_key(tenant_id, &"dev_1".parse().unwrap()),
        fence::tenant_key(tenant_id),
    ];
    for key in &keys {
        for revoked_at in [format!("{issued_at}"), format!("{}", issued_at + 1), "?".to_owned()] {
            let token = world.token();
            let proof = world.proof(&token);
            let _: () = redis.pset_ex(key, &revoked_at, 60_000).await.unwrap();
            assert_eq!(code(world.enter(&token, &proof).await), REVOKED, "{key} {revoked_at}");
            let _: () = redis.del(key).await.unwrap();
            opening(world.enter(&token, &proof).await);
        }
    }
}

#[tokio::test]
async fn after_a_fence_a_new_sign_in_works_but_not_the_ended_session() {
    let world = World::new();
    let mut redis = world.redis.clone();
    let before = ((world.now() - 11) * 1000).to_string();
    let tenant_id = &world.tenant_id;

    let operator = fence::operator_key(tenant_id, &"usr_1".parse().unwrap());
    let _: () = redis.pset_ex(operator, &before, 60_000).await.unwrap();
    opening(world.enter_anew().await);

    let _: () =
        redis.pset_ex(fence::session_key(tenant_id, "ses_1"), &before, 60_000).await.unwrap();
    assert_eq!(code(world.enter_anew().await), REVOKED);
}

#[tokio::test]
async fn a_grant_that_was_revoked_on_its_way_lets_nobody_in_and_opens_no_session() {
    let world = World::new();
    let mut redis = world.redis.clone();
    let token = world.token();
    let headers = World::headers(&token, &world.proof(&token));
    let jkt = world.device.jkt();
    let complete = DeviceHeaders::read(&headers).unwrap();
    let mut bare = headers.clone();
    bare.remove("x-app-version");
    let bare = DeviceHeaders::read(&bare).unwrap();
    let place = async |device| match world.gate.admit_granted(&token, &jkt, device).await {
        Ok(granted) => Ok(granted.place),
        Err(GrantError::Refused(reason)) => Err(reason.code()),
        Err(error) => panic!("{error}"),
    };
    assert!(matches!(place(&complete).await, Ok(Place::Opening(_))));
    assert!(matches!(place(&bare).await, Ok(Place::Unopened)));

    let fence = fence::session_key(&world.tenant_id, "ses_1");
    let _: () = redis.pset_ex(fence, "0", 60_000).await.unwrap();

    for device in [&complete, &bare] {
        assert_eq!(place(device).await.unwrap_err(), REVOKED);
    }
}

#[tokio::test]
async fn without_keys_or_session_tier_a_grant_is_neither_good_nor_bad() {
    let away = format!("redis://127.0.0.1:{}", port::free());
    let no_longer_a_member = stranger();
    for (what, setup) in [
        ("token issuer", Setup { fetch: failing_fetch(), ..Setup::default() }),
        ("session tier", Setup { redis_url: away.clone(), ..Setup::default() }),
        ("session tier", Setup { lookup: no_longer_a_member, redis_url: away, ..Setup::default() }),
    ] {
        let world = World::with(setup);
        let token = world.token();
        let headers = World::headers(&token, &world.proof(&token));
        let device = DeviceHeaders::read(&headers).unwrap();
        let granted = world.gate.admit_granted(&token, &world.device.jkt(), &device).await;
        match granted {
            Err(GrantError::Refused(Reason::Unavailable(missing))) => assert_eq!(missing, what),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn rights_are_lost_with_the_membership_and_kept_while_nobody_knows() {
    let world = World::new();
    let pending = opening(world.enter_anew().await);
    let caller = pending.clone().into_caller(&world.open(&pending).await);
    for (case, lookup, keeps) in [
        ("as before", member(&["front_desk", "auditor"], &["ppt_1", "ppt_2"]), true),
        ("another role", member(&["auditor"], &["ppt_1", "ppt_2"]), false),
        ("another property", member(&["front_desk"], &["ppt_2"]), false),
        ("no member", stranger(), false),
        ("no answer", failing_lookup(), true),
    ] {
        let world = World::with(Setup { lookup, ..Setup::default() });
        assert_eq!(world.gate.keeps_rights(&caller).await, keeps, "{case}");
    }
}

#[tokio::test]
async fn a_request_prolongs_its_session() {
    let world = World::new();
    let mut redis = world.redis.clone();
    world.open(&opening(world.enter_anew().await)).await;
    let key = format!("{{{}}}:session:by-device:dev_1", world.tenant_id);
    let _: bool = redis.pexpire(&key, 60_000).await.unwrap();

    known(world.enter_anew().await);

    let left: i64 = redis.pttl(&key).await.unwrap();
    assert!(left > 11 * 3_600_000, "{left} ms");
}

#[tokio::test]
async fn a_session_of_another_sign_in_is_not_taken_over() {
    let world = World::new();
    world.open(&opening(world.enter_anew().await)).await;
    for (claim, value) in [("sub", "usr_2"), ("sid", "ses_2")] {
        let token = world.token_of(&with(world.token_claims(), claim, json!(value)));
        opening(world.enter(&token, &world.proof(&token)).await);
    }
    known(world.enter_anew().await);
}

#[tokio::test]
async fn what_cannot_be_read_is_no_session() {
    let world = World::new();
    let mut redis = world.redis.clone();
    let key = format!("{{{}}}:session:by-device:dev_1", world.tenant_id);
    let _: () = redis.pset_ex(&key, "{\"from\":\"the future\"}", 60_000).await.unwrap();
    opening(world.enter_anew().await);
}

#[tokio::test]
async fn a_request_that_opens_a_session_says_which_app_it_is() {
    let world = World::new();
    let token = world.token();
    let mut headers = World::headers(&token, &world.proof(&token));
    headers.remove("x-app-version");
    assert!(matches!(reason(world.send(&headers).await), Reason::HeaderInvalid("X-App-Version")));

    world.open(&opening(world.enter_anew().await)).await;
    let token = world.token();
    let mut headers = World::headers(&token, &world.proof(&token));
    headers.remove("x-app-version");
    assert_eq!(known(world.send(&headers).await).app.version, "1.4.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_one_opens_the_session_and_the_others_find_it() {
    let world = Arc::new(World::new());
    let admitted = Arc::new(Barrier::new(20));
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (world, admitted) = (Arc::clone(&world), Arc::clone(&admitted));
        requests.spawn(async move {
            let pending = opening(world.enter_anew().await);
            admitted.wait().await;
            let (sessions, owner) = (world.gate.sessions(), Ulid::generate());
            let (tenant_id, device_id) = (pending.tenant_id(), pending.device_id());
            let ttl = Duration::from_secs(30);
            if sessions.try_lock_opening(tenant_id, device_id, owner, ttl).await.unwrap() {
                return (true, world.open(&pending).await);
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            let session = sessions.wait_for(&pending, deadline).await.unwrap();
            (false, session.expect("the winner stored it"))
        });
    }
    let answers = requests.join_all().await;

    assert_eq!(answers.iter().filter(|(opened, _)| *opened).count(), 1);
    assert!(answers.iter().all(|(_, session)| *session == answers[0].1));
}

#[tokio::test]
async fn only_its_owner_gives_the_right_to_open_back() {
    let world = World::new();
    let sessions = world.gate.sessions();
    let device_id = "dev_1".parse().unwrap();
    let (first, second) = (Ulid::generate(), Ulid::generate());
    let ttl = Duration::from_mins(1);
    let lock = |owner| sessions.try_lock_opening(&world.tenant_id, &device_id, owner, ttl);

    assert!(lock(first).await.unwrap());
    sessions.unlock_opening(&world.tenant_id, &device_id, second).await.unwrap();
    assert!(!lock(second).await.unwrap());
    sessions.unlock_opening(&world.tenant_id, &device_id, first).await.unwrap();
    assert!(lock(second).await.unwrap());
}

#[tokio::test]
async fn waiting_for_a_session_that_never_comes_ends_at_the_deadline() {
    let world = World::new();
    let pending = opening(world.enter_anew().await);
    let deadline = Instant::now() + Duration::from_millis(100);
    assert_eq!(world.gate.sessions().wait_for(&pending, deadline).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_is_removed_unless_a_newer_one_took_its_place() {
    let world = World::new();
    let pending = opening(world.enter_anew().await);
    let (older, newer) = (world.open(&pending).await, world.open(&pending).await);
    let sessions = world.gate.sessions();
    assert!(!sessions.remove(&older).await.unwrap());
    assert!(sessions.remove(&newer).await.unwrap());
    opening(world.enter_anew().await);
}

#[tokio::test]
async fn dp_ref_01_02_04_a_refresh_shows_a_proof_without_ath_once() {
    let world = World::new();
    let bare = without(world.proof_claims("unused"), "ath");
    let unique = with(bare, "jti", json!(Ulid::generate().to_string()));
    let refresh = async |claims: &serde_json::Value| {
        let mut headers = http::HeaderMap::new();
        set(&mut headers, "dpop", &world.proof_of(claims));
        let request = AccessRequest {
            method: &Method::GET,
            raw_path: "/api/bff/backoffice/v1/bootstrap",
            query: None,
            headers: &headers,
        };
        world.gate.admit_refresh(&request).await
    };

    let with_ath = with(unique.clone(), "ath", json!("x"));
    assert!(matches!(refresh(&with_ath).await.unwrap_err().reason, Reason::ProofInvalid(_)));
    assert_eq!(refresh(&unique).await.unwrap().jkt, world.device.jkt());
    assert!(matches!(refresh(&unique).await.unwrap_err().reason, Reason::ProofReplayed));
}

#[tokio::test]
async fn one_tenants_used_proof_session_and_fence_are_not_anothers() {
    let world = World::new();
    let token = world.token();
    let claims = world.proof_claims(&token);
    opening(world.enter(&token, &world.proof_of(&claims)).await);
    world.open(&opening(world.enter_anew().await)).await;
    let mut redis = world.redis.clone();
    let fence = fence::session_key(&world.tenant_id, "ses_1");
    let _: () = redis.pset_ex(fence, "0", 60_000).await.unwrap();

    let mut other = World::new();
    other.device = world.device.clone();
    let token = other.token();
    let same_jti = with(other.proof_claims(&token), "jti", claims["jti"].clone());
    let admission = other.enter(&token, &other.proof_of(&same_jti)).await;

    assert!(matches!(admission, Ok(Admission::Opening(_))), "{admission:?}");
}
