//! DP-IAT-01…14: when a proof was made, and when it was used.

use backoffice::access::dpop::ProofError;
use chrono::TimeDelta;
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::{
    case::{Case, Subject, bad, good, numbered},
    over_http, pure,
};
use crate::{
    access_keys::{with, without},
    access_world::{Setup, World, code, issuer_jwk, opening, serving},
};

const NUMBERS: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";
const REPLAYED: &str = "MELMASTOON.AUTH.PROOF_REPLAYED";

#[test]
fn dp_iat_01_02_03_04_05_06_07_08_09_10_11_12_a_proof_is_good_from_a_minute_ago_to_a_quarter_ahead()
{
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_iat_01_02_03_04_05_06_07_08_09_10_11_12_old_and_early_proofs_are_refused_over_http() {
    over_http::hold(&cases()).await;
}

#[tokio::test]
async fn dp_iat_13_a_clock_that_steps_back_does_not_make_a_used_proof_good() {
    for offset in [-59, 0, 15] {
        let world = World::new();
        // Older than the step back: the token stays good.
        let token = world.token_of(&with(world.token_claims(), "iat", json!(world.now() - 120)));
        let claims = world.proof_claims(&token);
        let proof = world.proof_of(&with(claims, "iat", json!(world.now() + offset)));
        opening(world.enter(&token, &proof).await);

        for step in [-30, 1, 29, 30] {
            world.clock.advance(TimeDelta::seconds(step));
            let refused = code(world.enter(&token, &proof).await);
            assert!(
                refused == REPLAYED || refused == INVALID,
                "DP-IAT-13: made {offset} s off, then {step} s: {refused}"
            );
        }
    }
}

/// Two instances with one session tier, one clock 5 s ahead and one 5 s behind.
#[tokio::test]
async fn dp_iat_14_no_instance_takes_a_proof_whose_use_elsewhere_is_forgotten() {
    // The slow clock takes proofs that for the fast one are too old: seconds at which one of both
    // takes a proof, from the one with the earliest `iat` to the one with the latest.
    const WINDOW: i64 = 60 + 15 + 10;
    for (iat, at) in [(15, -5), (15, 5), (-60, -5), (-60, 5)] {
        let first = World::new();
        let issuer = first.issuer.clone();
        let fetch = serving(&json!({ "keys": [issuer_jwk(&issuer)] }));
        let mut second = World::with(Setup { issuer, fetch, ..Setup::default() });
        second.device = first.device.clone();
        second.tenant_id = first.tenant_id.clone();
        first.clock.advance(TimeDelta::seconds(at));
        second.clock.advance(TimeDelta::seconds(-at));
        let token = first.token();
        let claims = first.proof_claims(&token);
        let proof = first.proof_of(&with(claims, "iat", json!(first.now() + iat)));

        opening(first.enter(&token, &proof).await);

        let mut redis = first.redis.clone();
        let pattern = format!("{{{}}}:dpop:jti:*", first.tenant_id);
        let keys: Vec<String> = redis.keys(&pattern).await.unwrap();
        assert_eq!(keys.len(), 1, "DP-IAT-14");
        let left: i64 = redis.pttl(&keys[0]).await.unwrap();
        assert!(left > WINDOW * 1000, "DP-IAT-14: forgotten in {left} ms");
        for _ in 0..=WINDOW {
            for world in [&first, &second] {
                let refused = code(world.enter(&token, &proof).await);
                assert!(refused == REPLAYED || refused == INVALID, "DP-IAT-14: {refused}");
            }
            first.clock.advance(TimeDelta::seconds(1));
            second.clock.advance(TimeDelta::seconds(1));
        }
    }
}

fn cases() -> Vec<Case> {
    let cases = [edges(), types(), numbers(), others()].into_iter().flatten().collect();
    numbered(cases, "DP-IAT", &NUMBERS)
}

/// A proof whose claim is so many seconds from now.
fn at(id: &'static str, name: &'static str, offset: i64, is_good: bool) -> Case {
    let what = format!("{name} is now{offset:+}");
    let proof = move |it: &Subject| it.claim(name, json!(it.now + offset));
    if is_good { good(id, what, proof) } else { bad(id, what, ProofError::Time, proof) }
}

fn edges() -> Vec<Case> {
    vec![
        at("DP-IAT-01", "iat", 0, true),
        at("DP-IAT-02", "iat", -10, true),
        at("DP-IAT-02", "iat", 8, true),
        at("DP-IAT-02", "iat", 10, true),
        at("DP-IAT-03", "iat", -60, true).at_an_edge(),
        at("DP-IAT-03", "iat", -61, false),
        at("DP-IAT-04", "iat", 15, true),
        at("DP-IAT-04", "iat", 16, false).at_an_edge(),
        at("DP-IAT-04", "iat", 60, false),
        at("DP-IAT-04", "iat", 3600, false),
        at("DP-IAT-05", "iat", -3600, false),
        at("DP-IAT-05", "iat", -86_400, false),
        at("DP-IAT-10", "exp", 300, true),
        at("DP-IAT-10", "nbf", 0, true),
        good("DP-IAT-10", "exp and nbf", |it| {
            let claims = with(it.claims(), "exp", json!(it.now + 300));
            it.claiming(&with(claims, "nbf", json!(it.now)))
        }),
        at("DP-IAT-11", "exp", -10, true).at_an_edge(),
        at("DP-IAT-11", "exp", -11, false),
        at("DP-IAT-11", "nbf", 15, true),
        at("DP-IAT-11", "nbf", 16, false).at_an_edge(),
        at("DP-IAT-11", "nbf", 60, false),
    ]
}

fn types() -> Vec<Case> {
    let mut cases = vec![bad("DP-IAT-06", "none", ProofError::Malformed, |it| {
        it.claiming(&without(it.claims(), "iat"))
    })];
    for (id, name) in [("DP-IAT-06", "iat"), ("DP-IAT-12", "exp"), ("DP-IAT-12", "nbf")] {
        for wrong in
            [json!("1700000000"), Value::Null, json!(true), json!({}), json!([1_700_000_040])]
        {
            let what = format!("{name} {wrong}");
            cases.push(bad(id, what, ProofError::Malformed, move |it| {
                it.claim(name, wrong.clone())
            }));
        }
        cases.push(bad(id, format!("{name} as text"), ProofError::Malformed, move |it| {
            it.claim(name, json!(it.now.to_string()))
        }));
    }
    cases
}

/// A proof whose `iat` is written so.
fn written(it: &Subject, iat: &str) -> String {
    let claims = without(it.claims(), "iat").to_string();
    it.raw_claims(format!(r#"{{"iat":{iat},{}"#, &claims[1..]))
}

fn numbers() -> Vec<Case> {
    let mut cases = vec![
        good("DP-IAT-07", "half a second more", |it| written(it, &format!("{}.5", it.now))),
        good("DP-IAT-07", "nine digits behind the point", |it| {
            written(it, &format!("{}.999999999", it.now))
        }),
        good("DP-IAT-07", "with an exponent", |it| {
            written(it, &format!("{}.{:04}e4", it.now / 10_000, it.now % 10_000))
        }),
        bad("DP-IAT-09", "milliseconds", ProofError::Malformed, |it| {
            written(it, &format!("{}000", it.now))
        }),
        bad("DP-IAT-09", "microseconds", ProofError::Malformed, |it| {
            written(it, &format!("{}000000", it.now))
        }),
    ];
    for iat in [
        "-1",
        "-1700000040",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "-1e308",
        "1e999",
        "NaN",
        "Infinity",
        "01700000040",
        "+1700000040",
        "0x6553f0e8",
    ] {
        cases.push(bad("DP-IAT-08", iat, ProofError::Malformed, move |it| written(it, iat)));
    }
    for iat in ["0", "-0", "-0.0", "0.0", "1", "8589934592"] {
        cases.push(bad("DP-IAT-08", iat, ProofError::Time, move |it| written(it, iat)));
    }
    cases
}

/// `exp` and `nbf` are held to the bounds of `iat`.
fn others() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["exp", "nbf"] {
        for wrong in [i64::MIN, -1, i64::MAX] {
            let what = format!("{name} {wrong}");
            cases.push(bad("DP-IAT-12", what, ProofError::Malformed, move |it| {
                it.claim(name, json!(wrong))
            }));
        }
    }
    cases
}
