//! Nonces at the gate: asked for, given, renewed, and good for one key of one tenant for a while.

use backoffice::access::{NonceMode, Reason, Refusal, Settings};
use chrono::TimeDelta;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    access_keys::{TestKey, with},
    access_world::{Setup, World, code, known, opening, settings},
    support::port,
};

const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";

fn required() -> World {
    World::with(setup())
}

fn setup() -> Setup {
    let settings = Settings { nonce_mode: NonceMode::Required, ..settings() };
    Setup { settings, ..Setup::default() }
}

/// A refusal for want of a nonce, and the nonce that it brings.
fn asked(admission: Result<backoffice::access::Admission, Refusal>) -> String {
    let refusal = admission.expect_err("a refusal");
    assert!(matches!(refusal.reason, Reason::NonceRequired), "{refusal:?}");
    let challenge = refusal.challenge().unwrap();
    assert!(challenge.contains(r#"error="use_dpop_nonce""#), "{challenge}");
    let nonce = refusal.nonce.expect("a fresh nonce");
    // NQCHAR of RFC 6749.
    assert!(nonce.bytes().all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte)));
    nonce
}

async fn first_nonce(world: &World) -> String {
    asked(world.enter_anew().await)
}

async fn enter_with(
    world: &World,
    nonce: &Value,
) -> Result<backoffice::access::Admission, Refusal> {
    let token = world.token();
    let claims = with(world.proof_claims(&token), "nonce", nonce.clone());
    // Two worlds may share a device.
    let claims = with(claims, "jti", json!(ulid::Ulid::generate().to_string()));
    world.enter(&token, &world.proof_of(&claims)).await
}

#[tokio::test]
async fn dp_non_01_02_03_12_a_nonce_is_asked_for_given_and_renewed() {
    let world = required();
    let token = world.token();
    let claims = world.proof_claims(&token);
    let nonce = asked(world.enter(&token, &world.proof_of(&claims)).await);

    let same_jti = with(claims, "nonce", json!(nonce));
    let pending = opening(world.enter(&token, &world.proof_of(&same_jti)).await);
    let caller = pending.clone().into_caller(&world.open(&pending).await);
    assert_eq!(caller.fresh_nonce, None);
    known(enter_with(&world, &json!(nonce)).await);

    world.clock.advance(TimeDelta::seconds(120));
    let renewed = known(enter_with(&world, &json!(nonce)).await).fresh_nonce;
    assert!(renewed.is_some_and(|renewed| renewed != nonce));
}

#[tokio::test]
async fn who_cannot_be_given_a_nonce_is_not_asked_for_one_and_a_bad_proof_stays_bad() {
    let redis_url = format!("redis://127.0.0.1:{}", port::free());
    let world = World::with(Setup { redis_url, ..setup() });
    let token = world.token();

    let bare = world.enter(&token, &world.proof(&token)).await.unwrap_err();
    assert!(matches!(bare.reason, Reason::Unavailable(_)), "{bare:?}");

    let elsewhere = with(world.proof_claims(&token), "htm", json!("POST"));
    let bad = world.enter(&token, &world.proof_of(&elsewhere)).await.unwrap_err();
    assert!(matches!(bad.reason, Reason::ProofInvalid(_)), "{bad:?}");
    assert_eq!(bad.nonce, None);
}

#[tokio::test]
async fn dp_non_04_what_this_service_did_not_issue_is_answered_with_what_it_does() {
    let world = required();
    let good = first_nonce(&world).await;
    let mut flipped = good.clone().into_bytes();
    flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    let mut elsewhere = setup();
    elsewhere.settings.nonce_secret = Some(SecretString::from("o".repeat(32)));
    let mut other_server = World::with(elsewhere);
    other_server.tenant_id = world.tenant_id.clone();
    other_server.device = world.device.clone();
    let foreign = first_nonce(&other_server).await;
    for wrong in ["garbage", &good[..20], &flipped, &foreign] {
        let fresh = asked(enter_with(&world, &json!(wrong)).await);
        assert_ne!(fresh, wrong);
        opening(enter_with(&world, &json!(fresh)).await);
    }
}

#[tokio::test]
async fn dp_non_05_06_a_nonce_lives_two_steps_back_and_one_ahead() {
    for (minutes, is_good) in [(-2, false), (-1, true), (0, true), (1, true), (2, true), (3, false)]
    {
        let world = required();
        let nonce = first_nonce(&world).await;
        world.clock.advance(TimeDelta::minutes(minutes));
        let admission = enter_with(&world, &json!(nonce)).await;
        if is_good {
            opening(admission);
        } else {
            assert_ne!(asked(admission), nonce, "{minutes} min");
        }
    }
}

#[tokio::test]
async fn dp_non_07_08_a_nonce_is_for_one_key_of_one_tenant() {
    let world = required();
    let nonce = first_nonce(&world).await;

    let stranger = TestKey::generate();
    let claims = with(world.token_claims(), "cnf", json!({ "jkt": stranger.jkt() }));
    let token = world.token_of(&claims);
    let claims = with(world.proof_claims(&token), "nonce", json!(nonce));
    let proof = stranger.sign(&stranger.proof_header(), &claims);
    assert_ne!(asked(world.enter(&token, &proof).await), nonce, "dp_non_07");

    let claims = with(world.token_claims(), "tid", json!(other_tenant()));
    let token = world.token_of(&claims);
    let claims = with(world.proof_claims(&token), "nonce", json!(nonce));
    assert_ne!(asked(world.enter(&token, &world.proof_of(&claims)).await), nonce, "dp_non_08");
}

fn other_tenant() -> String {
    format!("tnt_{}", ulid::Ulid::generate())
}

#[tokio::test]
async fn dp_non_09_a_nonce_of_another_type_is_no_proof_and_an_empty_one_is_no_nonce() {
    let world = required();
    for wrong in [json!(7), json!(null), json!(["x"]), json!({}), json!(true)] {
        assert_eq!(code(enter_with(&world, &wrong).await), INVALID, "{wrong}");
    }
    assert_eq!(code(enter_with(&world, &json!("x".repeat(4096))).await), INVALID, "4 KiB");
    let fresh = asked(enter_with(&world, &json!("")).await);
    opening(enter_with(&world, &json!(fresh)).await);
}

#[tokio::test]
async fn dp_non_10_14_16_a_nonce_serves_many_proofs_and_none_goes_without() {
    let world = required();
    let nonce = first_nonce(&world).await;
    for _ in 0..3 {
        opening(enter_with(&world, &json!(nonce)).await);
    }
    asked(world.enter_anew().await);
    opening(enter_with(&world, &json!(nonce)).await);

    for seconds in [59, 60, 61] {
        world.clock.advance(TimeDelta::seconds(seconds));
        if let Err(refusal) = enter_with(&world, &json!(nonce)).await {
            assert_ne!(refusal.nonce.as_deref(), Some(nonce.as_str()), "dp_non_16");
        }
    }
    assert_ne!(asked(enter_with(&world, &json!(nonce)).await), nonce, "dp_non_16");
}

#[tokio::test]
async fn dp_non_15_after_a_rotation_one_retry_at_most_is_needed() {
    let old = required();
    let nonce = first_nonce(&old).await;
    for keeps_previous in [true, false] {
        let mut rotated = setup();
        rotated.settings.nonce_secret = Some(SecretString::from("r".repeat(32)));
        rotated.settings.nonce_secret_previous =
            keeps_previous.then(|| SecretString::from("n".repeat(32)));
        let mut rotated = World::with(rotated);
        rotated.tenant_id = old.tenant_id.clone();
        rotated.device = old.device.clone();
        let admission = enter_with(&rotated, &json!(nonce)).await;
        if keeps_previous {
            let pending = opening(admission);
            let renewed = pending.clone().into_caller(&rotated.open(&pending).await).fresh_nonce;
            known(enter_with(&rotated, &json!(renewed.expect("of the new secret"))).await);
        } else {
            known(enter_with(&rotated, &json!(asked(admission))).await);
        }
    }
}

#[tokio::test]
async fn dp_non_17_where_nonces_are_off_one_that_is_there_is_not_looked_at() {
    let world = World::new();
    for nonce in ["", "garbage", "AAAA"] {
        opening(enter_with(&world, &json!(nonce)).await);
    }
    assert_eq!(world.enter_anew().await.map(|_| ()).map_err(|it| it.nonce), Ok(()));
}

#[tokio::test]
async fn dp_prec_03_a_stale_proof_without_a_nonce_is_stale() {
    let world = required();
    let token = world.token();
    let claims = with(world.proof_claims(&token), "iat", json!(world.now() - 61));
    let refusal = world.enter(&token, &world.proof_of(&claims)).await.unwrap_err();
    assert_eq!(refusal.reason.code(), INVALID);
    let fresh = with(world.proof_claims(&token), "nonce", json!(refusal.nonce.unwrap()));
    opening(world.enter(&token, &world.proof_of(&fresh)).await);
}
