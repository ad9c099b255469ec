//! The whole gate over the real session tier: order, replay, fences, sessions, failures.

use std::{sync::Arc, time::Duration};

use backoffice::access::{
    AccessRequest, Admission, NonceMode, Reason, Settings, dpop::Algorithms, fence, policy::Scope,
};
use chrono::TimeDelta;
use http::Method;
use redis::AsyncCommands;
use serde_json::json;
use tokio::{net::TcpListener, sync::Barrier, task::JoinSet, time::Instant};
use ulid::Ulid;

use crate::{
    access_keys::{TestKey, with, without},
    access_world::{
        Setup, World, code, failing_fetch, failing_lookup, known, member, opening, reason, set,
        settings, stranger,
    },
};

const REPLAYED: &str = "MELMASTOON.AUTH.PROOF_REPLAYED";
const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";
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

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_02_of_a_hundred_uses_of_one_proof_at_once_one_is_let_in() {
    let world = Arc::new(World::new());
    let token = world.token();
    let proof = world.proof(&token);

    let mut uses = JoinSet::new();
    for _ in 0..100 {
        let (world, token, proof) = (Arc::clone(&world), token.clone(), proof.clone());
        uses.spawn(async move { world.enter(&token, &proof).await });
    }
    let answers = uses.join_all().await;

    let (admitted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(admitted.len(), 1);
    assert!(refused.into_iter().all(|refused| code(refused) == REPLAYED));
}

#[tokio::test]
async fn dp_rep_01_04_05_06_a_used_proof_is_never_good_again() {
    for offset in [0, 15, -59] {
        let world = World::new();
        let token = world.token();
        let claims = world.proof_claims(&token);
        let proof = world.proof_of(&with(claims, "iat", json!(world.now() + offset)));
        opening(world.enter(&token, &proof).await);
        for seconds in [0, 1, 29, 29, 1, 1, 14, 15, 209] {
            world.clock.advance(TimeDelta::seconds(seconds));
            let refused = code(world.enter(&token, &proof).await);
            assert!(refused == REPLAYED || refused == INVALID, "{offset} {seconds}: {refused}");
        }
    }
}

#[tokio::test]
async fn dp_rep_07_08_a_jti_is_used_up_for_its_key_whatever_the_request() {
    let world = World::new();
    let token = world.token();
    let claims = world.proof_claims(&token);
    opening(world.enter(&token, &world.proof_of(&claims)).await);

    let elsewhere =
        with(claims.clone(), "htu", json!("https://api.example/api/bff/backoffice/v1/bootstrap"));
    assert_eq!(code(world.enter(&token, &world.proof_of(&elsewhere)).await), REPLAYED, "dp_rep_09");

    let mut other = World::new();
    other.tenant_id = world.tenant_id.clone();
    let token = other.token();
    let same_jti = with(other.proof_claims(&token), "jti", claims["jti"].clone());
    opening(other.enter(&token, &other.proof_of(&same_jti)).await);
}

#[tokio::test]
async fn dp_rep_10_a_refused_request_does_not_use_up_its_proof() {
    let world = World::new();
    let token = world.token();
    let good = world.proof_claims(&token);
    let mut no_device = World::headers(&token, &world.proof_of(&good));
    no_device.remove("x-device-id");
    let mut other_device = World::headers(&token, &world.proof_of(&good));
    set(&mut other_device, "x-device-id", "dev_2");
    let mut bad_mode = World::headers(&token, &world.proof_of(&good));
    set(&mut bad_mode, "x-network-mode", "superb");
    let expired = world.token_of(&with(
        with(world.token_claims(), "iat", json!(world.now() - 1000)),
        "exp",
        json!(world.now() - 100),
    ));

    for (case, wrong) in [
        ("ath", with(good.clone(), "ath", json!("x"))),
        ("htu", with(good.clone(), "htu", json!("https://evil.example/"))),
        ("htm", with(good.clone(), "htm", json!("POST"))),
        ("iat", with(good.clone(), "iat", json!(world.now() - 3600))),
    ] {
        assert_eq!(code(world.enter(&token, &world.proof_of(&wrong)).await), INVALID, "{case}");
    }
    let refused = world.enter(&expired, &world.proof_of(&good)).await;
    assert_eq!(code(refused), "MELMASTOON.AUTH.TOKEN_EXPIRED");
    assert!(matches!(reason(world.send(&no_device).await), Reason::HeaderInvalid("X-Device-Id")));
    assert!(matches!(reason(world.send(&other_device).await), Reason::KeyMismatch));
    assert!(matches!(reason(world.send(&bad_mode).await), Reason::HeaderInvalid("X-Network-Mode")));

    opening(world.enter(&token, &world.proof_of(&good)).await);
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
async fn dp_rep_13_without_the_session_tier_nobody_enters_and_nobody_is_called_invalid() {
    let free_port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let closed = format!("redis://127.0.0.1:{free_port}");
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("redis://{}", silent.local_addr().unwrap());
    for redis_url in [closed, silent_url] {
        let settings = Settings { store_timeout: Duration::from_millis(50), ..settings() };
        let world = World::with(Setup { settings, redis_url, ..Setup::default() });
        let refused = reason(world.enter_anew().await);
        assert!(matches!(refused, Reason::Unavailable("session tier")), "{refused:?}");
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.challenge(Algorithms::default()), None);
    }
}

#[tokio::test]
async fn dp_prec_08_without_the_issuers_keys_nobody_is_called_invalid() {
    let world = World::with(Setup { fetch: failing_fetch(), ..Setup::default() });
    assert!(matches!(reason(world.enter_anew().await), Reason::Unavailable("token issuer")));
    assert!(!world.gate.is_ready());
}

#[tokio::test]
async fn dp_non_01_02_03_12_a_nonce_is_asked_for_given_and_renewed() {
    let settings = Settings { nonce_mode: NonceMode::Required, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let token = world.token();
    let claims = world.proof_claims(&token);

    let refusal = world.enter(&token, &world.proof_of(&claims)).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::NonceRequired));
    let nonce = refusal.nonce.expect("a fresh nonce");

    let same_jti = with(claims, "nonce", json!(nonce));
    let pending = opening(world.enter(&token, &world.proof_of(&same_jti)).await);
    let caller = pending.clone().into_caller(&world.open(&pending).await);
    assert_eq!(caller.fresh_nonce, None);

    world.clock.advance(TimeDelta::seconds(120));
    let later = with(world.proof_claims(&token), "nonce", json!(nonce));
    let renewed = known(world.enter(&token, &world.proof_of(&later)).await).fresh_nonce;
    assert!(renewed.is_some_and(|renewed| renewed != nonce));

    world.clock.advance(TimeDelta::seconds(61));
    let stale = with(world.proof_claims(&token), "nonce", json!(nonce));
    let refusal = world.enter(&token, &world.proof_of(&stale)).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::NonceRequired));
    assert!(refusal.nonce.is_some_and(|fresh| fresh != nonce), "dp_non_16");
}

#[tokio::test]
async fn dp_hdr_17_with_the_switch_bearer_needs_every_check_of_dpop() {
    let settings = Settings { bearer_with_proof: true, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let token = world.token();
    let bearer = |proof: &str| {
        let mut headers = World::headers(&token, proof);
        set(&mut headers, "authorization", &format!("Bearer {token}"));
        headers
    };
    let other = TestKey::generate();
    let foreign = other.sign(&other.proof_header(), &world.proof_claims(&token));
    assert!(matches!(reason(world.send(&bearer(&foreign)).await), Reason::KeyMismatch));
    let mut alone = bearer("");
    alone.remove("dpop");
    assert!(matches!(reason(world.send(&alone).await), Reason::ProofMissing));
    opening(world.send(&bearer(&world.proof(&token))).await);
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
