//! DP-SIG-01…07, 09 and 10: the signature is over these bytes, of this key, in one form.

use backoffice::access::dpop::{
    self, Algorithms, Binding, Expected, KeyCache, NoncePolicy, ProofError, PublicBases,
    RequestPath, Window,
};
use chrono::DateTime;
use http::Method;
use p256::ecdsa::Signature;

use super::{
    case::{Case, Subject, bad, good, numbered},
    over_http, pure,
};
use crate::access_keys::{TestKey, ath, decode, encode};

const NUMBERS: [u8; 7] = [1, 2, 3, 4, 5, 6, 9];

#[test]
fn dp_sig_01_02_03_04_05_06_09_a_signature_is_the_keys_over_the_bytes_as_sent() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_sig_01_02_03_04_05_06_09_signatures_are_told_apart_over_http() {
    over_http::hold(&cases()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_sig_07_a_used_proof_with_its_signature_mirrored_is_a_replay() {
    let bench = over_http::Bench::start().await;
    let mut subject = bench.sign_in().await;
    bench.fresh_nonce(&mut subject).await;
    let [header, payload, signature] = subject.parts();
    let first = format!("{header}.{payload}.{signature}");
    let second = format!("{header}.{payload}.{}", encode(mirrored(&decode(&signature))));
    assert_ne!(first, second);

    assert_eq!(bench.send(&subject, &first).await.status, 200);
    for proof in [&second, &first] {
        let refused = bench.send(&subject, proof).await;
        over_http::assert_challenged(&refused, "MELMASTOON.AUTH.PROOF_REPLAYED", "DP-SIG-07");
    }
}

#[test]
fn dp_sig_01_no_single_changed_bit_leaves_a_proof_good() {
    let verifier = pure::Verifier::new();
    let parts = verifier.subject.parts().map(|part| decode(&part));
    for part in 0..3 {
        for bit in 0..parts[part].len() * 8 {
            let mut changed = parts.clone();
            changed[part][bit / 8] ^= 1 << (bit % 8);
            let proof = changed.map(encode).join(".");
            assert!(verifier.verify(&proof).is_err(), "DP-SIG-01: bit {bit} of part {part}");
        }
    }
}

#[test]
fn dp_sig_10_the_example_of_rfc_9449_verifies() {
    let proof = include_str!("../data/rfc9449-example-proof.txt").trim();
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let ath = ath("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    assert_eq!(ath, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    let expected = Expected {
        method: &Method::GET,
        path: &RequestPath::parse("/protectedresource").unwrap(),
        bases: &PublicBases::parse(["https://resource.example.org"]).unwrap(),
        binding: Binding::Token { ath: &ath, jkt },
        nonces: NoncePolicy::Off,
        algorithms: Algorithms::default(),
        window: Window::default(),
        now: DateTime::from_timestamp(1_562_262_618, 0).unwrap(),
    };

    let verified = dpop::verify(proof, &expected, &KeyCache::default()).unwrap();

    assert_eq!((verified.jkt.as_str(), verified.jti.as_str()), (jkt, "e1j3V_bKic8-LAEB"));
}

fn cases() -> Vec<Case> {
    let cases = [others(), ranges(), lengths(), halves()].into_iter().flatten().collect();
    numbered(cases, "DP-SIG", &NUMBERS)
}

/// A good proof with its signature changed.
fn signature(id: &'static str, what: &str, change: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Case {
    bad(id, what, ProofError::Signature, move |it| {
        let [header, payload, signature] = it.parts();
        format!("{header}.{payload}.{}", encode(change(decode(&signature))))
    })
}

fn others() -> Vec<Case> {
    vec![
        signature("DP-SIG-01", "a bit of r", |mut bytes| {
            bytes[3] ^= 0x10;
            bytes
        }),
        signature("DP-SIG-01", "a bit of s", |mut bytes| {
            bytes[40] ^= 1;
            bytes
        }),
        bad("DP-SIG-01", "a bit of the payload", ProofError::Signature, |it| {
            let [header, payload, signature] = it.parts();
            let mut bytes = decode(&payload);
            let at = bytes.iter().position(|byte| *byte == b'0').expect("iat has a zero");
            bytes[at] ^= 1;
            format!("{header}.{}.{signature}", encode(bytes))
        }),
        bad("DP-SIG-01", "a member more in the header", ProofError::Signature, |it| {
            let [_, payload, signature] = it.parts();
            let header = it.header().to_string();
            let header = format!(r#"{{"n":1,{}"#, &header[1..]);
            format!("{}.{payload}.{signature}", encode(header))
        }),
        bad("DP-SIG-02", "another key signed", ProofError::Signature, |it| {
            TestKey::generate().sign(&it.header(), &it.claims())
        }),
        bad("DP-SIG-02", "another key is named", ProofError::Signature, |it| {
            it.with_jwk(TestKey::generate().jwk())
        }),
        bad("DP-SIG-09", "the payload written anew", ProofError::Signature, |it| {
            let [header, _, signature] = it.parts();
            let respelt = serde_json::to_string_pretty(&it.claims()).unwrap();
            format!("{header}.{}.{signature}", encode(respelt))
        }),
        bad("DP-SIG-09", "the header written anew", ProofError::Signature, |it| {
            let [_, payload, signature] = it.parts();
            let respelt = format!("{} ", it.header());
            format!("{}.{payload}.{signature}", encode(respelt))
        }),
        bad("DP-SIG-09", "signed without the base64", ProofError::Signature, |it| {
            let [header, payload, _] = it.parts();
            let signature = it.key.signature(&format!("{}.{}", it.header(), it.claims()));
            format!("{header}.{payload}.{}", encode(signature.to_bytes()))
        }),
        bad("DP-SIG-09", "signed the payload alone", ProofError::Signature, |it| {
            let [header, payload, _] = it.parts();
            let signature = it.key.signature(&payload);
            format!("{header}.{payload}.{}", encode(signature.to_bytes()))
        }),
    ]
}

/// r and s that no signature has (CVE-2022-21449).
fn ranges() -> Vec<Case> {
    let order = decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE");
    let next = decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVI");
    let mut cases = Vec::new();
    for (what, number) in
        [("zero", vec![0; 32]), ("n", order), ("n + 1", next), ("2²⁵⁶ − 1", vec![0xff; 32])]
    {
        let (as_r, as_s, as_both) = (number.clone(), number.clone(), number.repeat(2));
        cases.extend([
            signature("DP-SIG-03", &format!("r is {what}"), move |bytes| {
                [&as_r, &bytes[32..]].concat()
            }),
            signature("DP-SIG-03", &format!("s is {what}"), move |bytes| {
                [&bytes[..32], &as_s].concat()
            }),
            signature("DP-SIG-03", &format!("r and s are {what}"), move |_| as_both.clone()),
        ]);
    }
    cases
}

fn lengths() -> Vec<Case> {
    vec![
        signature("DP-SIG-04", "DER", |bytes| {
            Signature::from_slice(&bytes).unwrap().to_der().as_bytes().to_vec()
        }),
        signature("DP-SIG-04", "63 bytes", |bytes| bytes[..63].to_vec()),
        signature("DP-SIG-04", "65 bytes", |bytes| [&bytes[..], &[0]].concat()),
        signature("DP-SIG-04", "65 bytes, a zero before", |bytes| [&[0], &bytes[..]].concat()),
        signature("DP-SIG-04", "96 bytes", |bytes| [&bytes[..], &[0; 32]].concat()),
        signature("DP-SIG-04", "132 bytes", |_| vec![0x11; 132]),
        signature("DP-SIG-04", "one byte", |_| vec![0]),
        bad("DP-SIG-04", "nothing", ProofError::Malformed, |it| it.signed_with([0; 0])),
    ]
}

fn halves() -> Vec<Case> {
    let half = |id, what, is_high: bool| {
        good(id, what, move |it: &Subject| {
            let [header, payload, signature] = it.parts();
            let bytes = decode(&signature);
            let bytes = if is_high_s(&bytes) == is_high { bytes } else { mirrored(&bytes) };
            assert_eq!(is_high_s(&bytes), is_high);
            format!("{header}.{payload}.{}", encode(bytes))
        })
    };
    vec![half("DP-SIG-05", "a high s", true), half("DP-SIG-06", "a low s", false)]
}

/// (r, n − s): as good a signature.
fn mirrored(bytes: &[u8]) -> Vec<u8> {
    let signature = Signature::from_slice(bytes).unwrap();
    let (r, s) = (*signature.r(), *signature.s());
    Signature::from_scalars(r, -s).unwrap().to_bytes().to_vec()
}

fn is_high_s(bytes: &[u8]) -> bool {
    let half = decode("f____4AAAAB_________95zfVbTi89CedzlYX4xkqg");
    bytes[32..] > half[..]
}
