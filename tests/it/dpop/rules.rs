//! What the verifier alone decides of the token's key, the nonce and the order of doubts.

use backoffice::access::{
    dpop::{Binding, ProofError},
    nonce::{Freshness, Nonces},
};
use chrono::TimeDelta;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

use super::pure::{NOW, TENANT, Verifier};
use crate::access_keys::{TestKey, with, without};

#[test]
fn dp_key_01_a_proof_of_another_key_breaks_the_binding() {
    let verifier = Verifier::new();
    let other = TestKey::generate();
    let proof = other.sign(&other.proof_header(), &verifier.subject.claims());
    assert_eq!(verifier.verify(&proof), Err(ProofError::KeyBinding));
}

#[test]
fn dp_key_08_a_token_is_no_proof() {
    let verifier = Verifier::new();
    let token = verifier.subject.key.sign(
        &json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k" }),
        &json!({ "iss": "https://iam.example", "sub": "usr_1" }),
    );
    assert_eq!(verifier.verify(&token), Err(ProofError::Header));
}

#[test]
fn dp_ref_01_02_without_a_token_a_proof_has_no_ath() {
    let verifier = Verifier::new();
    let subject = &verifier.subject;
    let bare = subject.claiming(&without(subject.claims(), "ath"));
    let outcome = verifier.verify_bound(&bare, Binding::None).unwrap();
    assert_eq!(outcome.jkt, subject.key.jkt());
    let with_ath = verifier.verify_bound(&subject.good(), Binding::None);
    assert_eq!(with_ath, Err(ProofError::AccessToken));
}

#[test]
fn dp_non_05_07_08_09_a_required_nonce_is_fresh_and_of_this_key_and_tenant() {
    let secret = SecretString::from("s".repeat(32));
    let nonces = || Nonces::new(&secret, None).unwrap();
    let mut verifier = Verifier { nonces: Some(nonces()), ..Verifier::new() };
    let nonces = nonces();
    let jkt = verifier.subject.key.jkt();
    let fresh = nonces.issue(TENANT, &jkt, verifier.now);
    let answer = |verifier: &Verifier, nonce: &str| {
        let subject = &verifier.subject;
        let claims = with(subject.claims(), "iat", json!(verifier.now.timestamp()));
        verifier.verify(&subject.claiming(&with(claims, "nonce", json!(nonce))))
    };

    let missing = verifier.verify(&verifier.subject.good());
    assert_eq!(missing, Err(ProofError::Nonce), "DP-NON-01");
    assert_eq!(answer(&verifier, &fresh).unwrap().nonce, Some(Freshness::Current), "DP-NON-02");
    assert_eq!(answer(&verifier, ""), Err(ProofError::Nonce), "DP-NON-09");
    let number = verifier.verify(&verifier.subject.claim("nonce", json!(7)));
    assert_eq!(number, Err(ProofError::Malformed), "DP-NON-09");
    let foreign = nonces.issue(TENANT, &TestKey::generate().jkt(), verifier.now);
    assert_eq!(answer(&verifier, &foreign), Err(ProofError::Nonce), "DP-NON-07");
    let other = nonces.issue("tnt_01HZX3V7Q8M4N5P6R7S8T9W0ZZ", &jkt, verifier.now);
    assert_eq!(answer(&verifier, &other), Err(ProofError::Nonce), "DP-NON-08");
    verifier.now += TimeDelta::minutes(2);
    assert_eq!(answer(&verifier, &fresh).unwrap().nonce, Some(Freshness::Ageing), "DP-NON-05");
    verifier.now += TimeDelta::minutes(1);
    assert_eq!(answer(&verifier, &fresh), Err(ProofError::Nonce), "DP-NON-05");
}

#[test]
fn dp_non_17_a_nonce_that_nobody_asked_for_is_not_looked_at() {
    let verifier = Verifier::new();
    let outcome = verifier.verify(&verifier.subject.claim("nonce", json!("unasked"))).unwrap();
    assert_eq!(outcome.nonce, None);
}

#[test]
fn of_several_doubts_the_first_in_the_documented_order_decides() {
    let secret = SecretString::from("s".repeat(32));
    let nonces = Some(Nonces::new(&secret, None).unwrap());
    let verifier = Verifier { nonces, ..Verifier::new() };
    let subject = &verifier.subject;

    let stale = with(subject.claims(), "iat", json!(NOW - 3600));
    assert_eq!(verifier.verify(&subject.claiming(&stale)), Err(ProofError::Time));
    let elsewhere = with(stale, "htu", json!("https://evil.example/"));
    assert_eq!(verifier.verify(&subject.claiming(&elsewhere)), Err(ProofError::Uri));
    let otherwise = with(elsewhere, "htm", json!("PUT"));
    assert_eq!(verifier.verify(&subject.claiming(&otherwise)), Err(ProofError::Method));
    let unbound = with(otherwise, "ath", json!("x"));
    assert_eq!(verifier.verify(&subject.claiming(&unbound)), Err(ProofError::AccessToken));
    let other = TestKey::generate();
    let foreign = other.sign(&other.proof_header(), &unbound);
    assert_eq!(verifier.verify(&foreign), Err(ProofError::KeyBinding));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,300}") {
        prop_assert!(Verifier::new().verify(&text).is_err());
    }

    #[test]
    fn no_bytes_in_the_three_parts_make_it_panic(
        header in proptest::collection::vec(any::<u8>(), 0..200),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let verifier = Verifier::new();
        prop_assert!(verifier.verify(&verifier.subject.key.sign_bytes(&header, &payload)).is_err());
    }

    #[test]
    fn no_single_changed_letter_leaves_a_proof_good(
        position in 0_usize..500,
        letter in "[A-Za-z0-9_.-]",
    ) {
        let verifier = Verifier::new();
        let good = verifier.subject.good();
        let position = position % good.len();
        let mut changed = good.clone();
        changed.replace_range(position..=position, &letter);
        prop_assert!(changed == good || verifier.verify(&changed).is_err());
    }
}
