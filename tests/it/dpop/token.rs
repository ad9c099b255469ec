//! DP-ATH-01…06: a proof is for one access token, and the token for one key.

use backoffice::{
    access::{dpop::ProofError, fence},
    ledger::leaf,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use p256::ecdsa::Signature;
use redis::AsyncCommands;
use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

use super::{
    case::{Case, Subject, bad, numbered},
    over_http, pure,
};
use crate::{
    access_keys::{ath, decode, encode, with, without},
    access_world::{World, code, opening},
};

const NUMBERS: [u8; 4] = [1, 2, 3, 4];
const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";

#[test]
fn dp_ath_01_02_03_04_a_proof_names_its_token_in_one_spelling() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ath_01_02_03_04_a_proof_of_another_token_is_refused_over_http() {
    over_http::hold(&cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_ath_02_05_a_refreshed_token_needs_proofs_of_its_own() {
    let bench = over_http::Bench::start().await;
    let mut before = bench.sign_in().await;
    bench.fresh_nonce(&mut before).await;
    let old_proof = before.good();
    let refreshed = bench.another_token(&before).await;
    assert_ne!(refreshed.token, before.token);

    let refused = bench.send(&refreshed, &old_proof).await;
    over_http::assert_challenged(&refused, INVALID, "DP-ATH-05");
    let refused = bench.send(&before, &refreshed.good()).await;
    over_http::assert_challenged(&refused, INVALID, "DP-ATH-02");

    assert_eq!(bench.send(&refreshed, &refreshed.good()).await.status, 200, "DP-ATH-05");
}

#[tokio::test]
async fn dp_ath_06_a_token_with_its_signature_mirrored_is_the_same_token_under_another_hash() {
    let world = World::new();
    let token = world.token();
    let mirrored = mirrored(&token);
    assert_ne!(mirrored, token);

    let of_the_original = world.proof(&token);
    assert_eq!(code(world.enter(&mirrored, &of_the_original).await), INVALID);

    // Its holder may make a proof for it, and has gained nothing: it ends with the same session.
    opening(world.enter(&mirrored, &world.proof(&mirrored)).await);
    let mut redis = world.redis.clone();
    let key = fence::session_key(&world.tenant_id, "ses_1");
    let revoked_at = (world.now() * 1000).to_string();
    let _: () = redis.pset_ex(key, revoked_at, 60_000).await.unwrap();
    for token in [&token, &mirrored] {
        let refused = world.enter(token, &world.proof(token)).await;
        assert_eq!(code(refused), "MELMASTOON.AUTH.SESSION_REVOKED");
    }
}

/// The token with (r, n − s) for (r, s).
fn mirrored(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&decode(signature)).unwrap();
    let (r, s) = (*signature.r(), *signature.s());
    let mirrored = Signature::from_scalars(r, -s).unwrap();
    format!("{signed}.{}", encode(mirrored.to_bytes()))
}

fn cases() -> Vec<Case> {
    let claimed = |id, what: &str, ath: fn(&Subject) -> String| {
        bad(id, what, ProofError::AccessToken, move |it| it.claim("ath", json!(ath(it))))
    };
    let mut cases = vec![
        bad("DP-ATH-01", "none", ProofError::AccessToken, |it| {
            it.claiming(&without(it.claims(), "ath"))
        }),
        bad("DP-ATH-01", "none, but a token_hash", ProofError::AccessToken, |it| {
            it.claiming(&with(without(it.claims(), "ath"), "token_hash", json!(it.ath())))
        }),
        claimed("DP-ATH-02", "of another token", |_| ath("another.bound.token")),
        claimed("DP-ATH-02", "of a letter less", |it| ath(&it.token[1..])),
        claimed("DP-ATH-02", "of nothing", |_| ath("")),
        claimed("DP-ATH-03", "padded", |it| format!("{}=", it.ath())),
        claimed("DP-ATH-03", "in base64", |it| STANDARD.encode(Sha256::digest(&it.token))),
        claimed("DP-ATH-03", "hexadecimal", |it| leaf::hex(&Sha256::digest(&it.token))),
        claimed("DP-ATH-03", "SHA-512", |it| encode(Sha512::digest(&it.token))),
        claimed("DP-ATH-03", "half of SHA-512", |it| encode(&Sha512::digest(&it.token)[..32])),
        claimed("DP-ATH-03", "half of SHA-256", |it| encode(&Sha256::digest(&it.token)[..16])),
        claimed("DP-ATH-03", "of the scheme and the token", |it| {
            ath(&format!("DPoP {}", it.token))
        }),
        claimed("DP-ATH-03", "in lower case", |it| it.ath().to_lowercase()),
        claimed("DP-ATH-03", "the token itself", |it| it.token.clone()),
        claimed("DP-ATH-03", "a letter less", |it| it.ath()[..42].to_owned()),
        claimed("DP-ATH-03", "a NUL behind", |it| format!("{}\0", it.ath())),
        claimed("DP-ATH-04", "empty", |_| String::new()),
    ];
    for wrong in [json!(7), Value::Null, json!(["x"]), json!({}), json!(true)] {
        let what = format!("ath {wrong}");
        cases.push(bad("DP-ATH-04", what, ProofError::Malformed, move |it| {
            it.claim("ath", wrong.clone())
        }));
    }
    numbered(cases, "DP-ATH", &NUMBERS)
}
