//! One use of one proof: whatever the clock, the request, the key and the instance.

use std::sync::Arc;

use backoffice::access::{AccessRequest, Admission, NonceMode, Reason, Refusal, Settings};
use chrono::TimeDelta;
use http::Method;
use redis::AsyncCommands;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    access_keys::{TestKey, ath, with},
    access_world::{Setup, World, code, known, opening, reason, set, settings, stranger},
};

const REPLAYED: &str = "MELMASTOON.AUTH.PROOF_REPLAYED";
const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";

/// The used proofs of the world's tenant.
async fn used(world: &World) -> Vec<String> {
    let mut redis = world.redis.clone();
    redis.keys(format!("{{{}}}:dpop:jti:*", world.tenant_id)).await.unwrap()
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
        let [key] = &used(&world).await[..] else { panic!("one proof is remembered") };
        let left: i64 = world.redis.clone().pttl(key).await.unwrap();
        assert!((290_000..=300_000).contains(&left), "{left} ms, whatever its iat");
        // Seconds after the first use: 0, 1, 2, 16, 30, 59, 60, 61, 75, 76, 90, 299.
        for step in [0, 1, 1, 14, 14, 29, 1, 1, 14, 1, 14, 209] {
            world.clock.advance(TimeDelta::seconds(step));
            let refused = code(world.enter(&token, &proof).await);
            let is_timely = (world.now() - 1_700_000_040 - offset) <= 60;
            assert_eq!(refused, if is_timely { REPLAYED } else { INVALID }, "{offset} {step}");
        }
    }
}

#[tokio::test]
async fn dp_rep_07_the_same_jti_of_another_device_is_another_proof() {
    let world = World::new();
    let token = world.token();
    let claims = world.proof_claims(&token);
    opening(world.enter(&token, &world.proof_of(&claims)).await);

    let mut other = World::new();
    other.tenant_id = world.tenant_id.clone();
    let token = other.token();
    let same_jti = with(other.proof_claims(&token), "jti", claims["jti"].clone());
    opening(other.enter(&token, &other.proof_of(&same_jti)).await);
    assert_eq!(used(&world).await.len(), 2);
}

#[tokio::test]
async fn dp_rep_08_09_a_jti_is_used_up_for_its_key_whatever_the_request() {
    let world = World::new();
    let token = world.token();
    let claims = world.proof_claims(&token);
    opening(world.enter(&token, &world.proof_of(&claims)).await);

    for (case, htu) in [
        ("dp_rep_09 query", "https://api.example/bff/backoffice/v1/bootstrap?q=1"),
        ("dp_rep_09 case", "HTTPS://API.example/bff/backoffice/v1/bootstrap"),
        ("dp_rep_09 port", "https://api.example:443/bff/backoffice/v1/bootstrap"),
        ("dp_rep_09 edge", "https://api.example/api/bff/backoffice/v1/bootstrap"),
        ("dp_rep_09 fragment", "https://api.example/bff/backoffice/v1/bootstrap#"),
    ] {
        let elsewhere = with(claims.clone(), "htu", json!(htu));
        let refused = world.enter(&token, &world.proof_of(&elsewhere)).await;
        assert_eq!(code(refused), REPLAYED, "{case}");
    }
    for (method, path) in
        [(Method::GET, "/bff/backoffice/v1/alerts"), (Method::POST, "/bff/backoffice/v1/bootstrap")]
    {
        let moved = with(claims.clone(), "htu", json!(format!("https://api.example{path}")));
        let moved = with(moved, "htm", json!(method.as_str()));
        let headers = World::headers(&token, &world.proof_of(&moved));
        let request =
            AccessRequest { method: &method, raw_path: path, query: None, headers: &headers };
        assert_eq!(code(world.gate.admit(&request).await), REPLAYED, "dp_rep_08 {method} {path}");
    }
}

#[tokio::test]
async fn dp_rep_10_a_refused_request_does_not_use_up_its_proof() {
    let settings = Settings { nonce_mode: NonceMode::Required, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let token = world.token();
    let bare = world.proof_claims(&token);
    let refusal = world.enter(&token, &world.proof_of(&bare)).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::NonceRequired), "no nonce");
    let good = with(bare.clone(), "nonce", json!(refusal.nonce.unwrap()));

    let mut no_device = World::headers(&token, &world.proof_of(&good));
    no_device.remove("x-device-id");
    let mut other_device = World::headers(&token, &world.proof_of(&good));
    set(&mut other_device, "x-device-id", "dev_2");
    let mut bad_mode = World::headers(&token, &world.proof_of(&good));
    set(&mut bad_mode, "x-network-mode", "superb");
    for (case, wrong) in [
        ("ath", with(good.clone(), "ath", json!("x"))),
        ("htu", with(good.clone(), "htu", json!("https://evil.example/"))),
        ("htm", with(good.clone(), "htm", json!("POST"))),
        ("iat", with(good.clone(), "iat", json!(world.now() - 3600))),
    ] {
        assert_eq!(code(world.enter(&token, &world.proof_of(&wrong)).await), INVALID, "{case}");
    }
    let garbage = with(good.clone(), "nonce", json!("garbage"));
    let refused = world.enter(&token, &world.proof_of(&garbage)).await;
    assert_eq!(code(refused), "MELMASTOON.AUTH.NONCE_REQUIRED");
    let foreign = TestKey::generate();
    let foreign = foreign.sign(&foreign.proof_header(), &good);
    let refused = world.enter(&token, &foreign).await;
    assert_eq!(code(refused), "MELMASTOON.AUTH.KEY_MISMATCH");
    let old = with(world.token_claims(), "iat", json!(world.now() - 1000));
    let expired = world.token_of(&with(old, "exp", json!(world.now() - 100)));
    let refused = world.enter(&expired, &world.proof_of(&good)).await;
    assert_eq!(code(refused), "MELMASTOON.AUTH.TOKEN_EXPIRED");
    assert!(matches!(reason(world.send(&no_device).await), Reason::HeaderInvalid("X-Device-Id")));
    assert!(matches!(reason(world.send(&other_device).await), Reason::KeyMismatch));
    assert!(matches!(reason(world.send(&bad_mode).await), Reason::HeaderInvalid("X-Network-Mode")));

    assert_eq!(used(&world).await, Vec::<String>::new());
    opening(world.enter(&token, &world.proof_of(&good)).await);
    assert_eq!(used(&world).await.len(), 1);
}

#[tokio::test]
async fn dp_prec_07_a_stranger_is_denied_only_after_a_full_proof_which_stays_unused() {
    let world = World::with(Setup { lookup: stranger(), ..Setup::default() });
    let token = world.token();
    let good = world.proof_claims(&token);
    for wrong in [
        with(good.clone(), "htm", json!("POST")),
        with(good.clone(), "iat", json!(world.now() - 61)),
        with(good.clone(), "ath", json!(ath("another"))),
    ] {
        assert_eq!(code(world.enter(&token, &world.proof_of(&wrong)).await), INVALID);
    }
    let denied = world.enter(&token, &world.proof_of(&good)).await;
    assert_eq!(code(denied), "MELMASTOON.AUTH.SCOPE_DENIED");
    assert_eq!(used(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn dp_prec_02_a_used_proof_for_another_address_is_wrong_before_it_is_used() {
    let world = World::new();
    let token = world.token();
    let claims = world.proof_claims(&token);
    opening(world.enter(&token, &world.proof_of(&claims)).await);
    let elsewhere = with(claims, "htu", json!("https://api.example/bff/backoffice/v1/alerts"));
    assert_eq!(code(world.enter(&token, &world.proof_of(&elsewhere)).await), INVALID);
    let unused = with(elsewhere, "jti", json!("never-used"));
    assert_eq!(code(world.enter(&token, &world.proof_of(&unused)).await), INVALID);
    assert_eq!(used(&world).await.len(), 1, "the refused one is not remembered");
}

#[tokio::test]
async fn dp_rep_12_what_was_captured_at_one_tenants_address_is_no_good_at_anothers() {
    let world = World::new();
    let token = world.token();
    let proof = world.proof(&token);

    let settings =
        Settings { public_bases: vec!["https://other.example".to_owned()], ..settings() };
    let issuer = world.issuer.clone();
    let fetch = crate::access_world::serving(
        &json!({ "keys": [crate::access_world::issuer_jwk(&issuer)] }),
    );
    let other = World::with(Setup { settings, issuer, fetch, ..Setup::default() });

    assert_eq!(code(other.enter(&token, &proof).await), INVALID, "at another's host");
    let their_token = other.token();
    assert_ne!(other.tenant_id, world.tenant_id);
    let refused: Result<Admission, Refusal> = world.enter(&their_token, &proof).await;
    assert_eq!(code(refused), "MELMASTOON.AUTH.KEY_MISMATCH", "beside another's token");
    assert_eq!(used(&world).await, Vec::<String>::new());
    assert_eq!(used(&other).await, Vec::<String>::new());
}

#[tokio::test]
async fn dp_rep_21_proofs_made_in_advance_are_asked_for_a_nonce_of_their_time() {
    let settings = Settings { nonce_mode: NonceMode::Required, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let claims = with(world.token_claims(), "exp", json!(world.now() + 3500));
    let token = world.token_of(&claims);
    let bare = world.proof_claims(&token);
    let refusal = world.enter(&token, &world.proof_of(&bare)).await.unwrap_err();
    let nonce_of_today = refusal.nonce.unwrap();
    let start = world.now();
    // One for every three seconds of fifty minutes, half of them with the nonce of when they were
    // made, which is good for three minutes.
    let in_advance: Vec<(i64, Value)> = (0..1000)
        .map(|number| {
            let at = start + 240 + number * 3;
            let claims = with(world.proof_claims(&token), "iat", json!(at));
            let claims =
                if number % 2 == 0 { claims } else { with(claims, "nonce", json!(nonce_of_today)) };
            (at, claims)
        })
        .collect();

    for (at, claims) in in_advance {
        world.clock.advance(TimeDelta::seconds(at - world.now()));
        let refusal = world.enter(&token, &world.proof_of(&claims)).await.unwrap_err();
        assert!(matches!(refusal.reason, Reason::NonceRequired), "{at}: {refusal:?}");
    }
    assert_eq!(used(&world).await, Vec::<String>::new());
}

#[tokio::test]
async fn dp_non_11_a_used_jti_outlives_the_nonce_it_came_with() {
    let settings = Settings { nonce_mode: NonceMode::Required, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let token = world.token();
    let bare = world.proof_claims(&token);
    let nonce = world.enter(&token, &world.proof_of(&bare)).await.unwrap_err().nonce.unwrap();
    let claims = with(bare, "nonce", json!(nonce));
    let pending = opening(world.enter(&token, &world.proof_of(&claims)).await);
    world.open(&pending).await;

    for seconds in [61, 118] {
        world.clock.advance(TimeDelta::seconds(seconds));
        let again = with(claims.clone(), "iat", json!(world.now()));
        assert_eq!(code(world.enter(&token, &world.proof_of(&again)).await), REPLAYED);
    }
    let fresh = with(world.proof_claims(&token), "nonce", json!(nonce));
    known(world.enter(&token, &world.proof_of(&fresh)).await);
}
