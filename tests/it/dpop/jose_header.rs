//! DP-JOSE-08…19 and 30…33: the type, the algorithm, the key and the extensions a header names.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use backoffice::access::dpop::ProofError;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    case::{Case, Subject, bad, good, numbered},
    over_http, pure,
};
use crate::access_keys::{decode, encode, with, without};

const NUMBERS: [u8; 12] = [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
const EXTENSIONS: [u8; 4] = [30, 31, 32, 33];

#[test]
fn dp_jose_08_09_10_11_12_13_14_15_16_17_18_19_a_header_is_exactly_a_proofs() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_jose_08_09_10_11_12_13_14_15_16_17_18_19_headers_are_told_apart_over_http() {
    over_http::hold(&cases()).await;
}

#[test]
fn dp_jose_30_31_32_33_of_extensions_those_that_change_the_meaning_are_refused() {
    pure::hold(&extensions());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_jose_30_31_32_33_extensions_are_told_apart_over_http() {
    over_http::hold(&extensions()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_jose_18_19_no_address_in_a_header_is_ever_called() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/jwks.json", trap.local_addr().unwrap());
    let mut cases = Vec::new();
    for name in ["jku", "x5u"] {
        let there = address.clone();
        cases.push(good("DP-JOSE-19", format!("{name} beside jwk"), move |it| {
            it.member(name, json!(there))
        }));
        let there = address.clone();
        cases.push(bad("DP-JOSE-18", format!("{name} for jwk"), ProofError::Header, move |it| {
            it.under(&with(without(it.header(), "jwk"), name, json!(there)))
        }));
        let there = address.clone();
        cases.push(good("DP-JOSE-19", format!("{name} inside jwk"), move |it| {
            it.jwk_member(name, json!(there))
        }));
    }

    over_http::hold(&cases).await;

    // Whatever the service did with the address it did before it answered.
    let trap = trap.into_std().unwrap();
    let nobody = trap.accept().expect_err("nobody called");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
    let _caller = std::net::TcpStream::connect(trap.local_addr().unwrap()).unwrap();
    trap.accept().expect("whoever calls is noticed");
}

#[test]
fn dp_jose_33_a_header_made_to_be_slow_costs_less_than_a_millisecond() {
    let verifier = pure::Verifier::new();
    for case in extensions().iter().filter(|case| case.id == "DP-JOSE-33") {
        let proof = (case.proof)(&verifier.subject);
        // The quickest of many is what it costs; the others shared the machine.
        let cost = (0..100)
            .map(|_| {
                let started = std::time::Instant::now();
                assert_eq!(verifier.verify(&proof).is_ok(), case.expected.is_ok());
                started.elapsed()
            })
            .min()
            .unwrap();
        assert!(cost < std::time::Duration::from_millis(1), "{}: {cost:?}", case.name());
    }
}

fn cases() -> Vec<Case> {
    let cases = [types(), algorithms(), signed_by_others(), keys(), foreign_keys()];
    numbered(cases.into_iter().flatten().collect(), "DP-JOSE", &NUMBERS)
}

fn header(
    id: &'static str,
    what: impl Into<String>,
    proof: impl Fn(&Subject) -> String + 'static,
) -> Case {
    bad(id, what, ProofError::Header, proof)
}

fn types() -> Vec<Case> {
    let mut cases =
        vec![header("DP-JOSE-08", "no typ", |it| it.under(&without(it.header(), "typ")))];
    for typ in [
        json!("JWT"),
        json!("at+jwt"),
        json!("jwt+dpop"),
        json!("dpop+jwt+wrong"),
        json!("dpop+jwt "),
        json!(""),
        json!(7),
        Value::Null,
        json!(["dpop+jwt"]),
    ] {
        cases.push(header("DP-JOSE-09", typ.to_string(), move |it| it.member("typ", typ.clone())));
    }
    for typ in ["DPOP+JWT", "Dpop+Jwt", "application/dpop+jwt"] {
        cases.push(header("DP-JOSE-10", typ, move |it| it.member("typ", json!(typ))));
    }
    cases
}

fn algorithms() -> Vec<Case> {
    let mut cases = vec![
        header("DP-JOSE-11", "no alg", |it| it.under(&without(it.header(), "alg"))),
        header("DP-JOSE-11", "alg2", |it| {
            it.under(&with(without(it.header(), "alg"), "alg2", json!("ES256")))
        }),
        header("DP-JOSE-15", "an array", |it| it.member("alg", json!(["ES256"]))),
        header("DP-JOSE-15", "a number", |it| it.member("alg", json!(256))),
        header("DP-JOSE-15", "null", |it| it.member("alg", Value::Null)),
    ];
    for alg in ["es256", "Es256", "ES256 ", " ES256", "ES256\0", "ES2560", ""] {
        cases
            .push(header("DP-JOSE-15", format!("{alg:?}"), move |it| it.member("alg", json!(alg))));
    }
    for alg in ["none", "None", "NONE", "nOnE"] {
        let unsigned = move |it: &Subject| {
            let header = with(it.header(), "alg", json!(alg)).to_string();
            format!("{}.{}.", encode(header), encode(it.claims().to_string()))
        };
        cases.push(bad(
            "DP-JOSE-12",
            format!("{alg}, no signature"),
            ProofError::Malformed,
            unsigned,
        ));
        cases.push(header("DP-JOSE-12", format!("{alg}, a signature of one byte"), move |it| {
            format!("{}AA", unsigned(it))
        }));
        cases.push(header("DP-JOSE-12", format!("{alg}, signed with ES256"), move |it| {
            it.member("alg", json!(alg))
        }));
    }
    cases
}

/// Proofs that really are signed with what they say, by a key of that kind.
fn signed_by_others() -> Vec<Case> {
    let hmac_key_of = |what, key: fn(&Subject) -> Vec<u8>| {
        header("DP-JOSE-13", what, move |it| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &key(it));
            let header = with(it.header(), "alg", json!("HS256"));
            signed_as(it, &header, |bytes| hmac::sign(&key, bytes).as_ref().to_vec())
        })
    };
    let mut cases = vec![
        hmac_key_of("HS256 with the jwk for a key", |it| it.jwk().to_string().into_bytes()),
        hmac_key_of("HS256 with the public point for a key", |it| {
            let jwk = it.jwk();
            let x = decode(jwk["x"].as_str().unwrap());
            [vec![4], x, decode(jwk["y"].as_str().unwrap())].concat()
        }),
        hmac_key_of("HS256 with the public key's PEM for a key", |it| it.key.public_pem().into()),
        hmac_key_of("HS256 with nothing for a key", |_| Vec::new()),
        header("DP-JOSE-14", "RS256", |it| rsa(it, "RS256", &RSA_PKCS1_SHA256)),
        header("DP-JOSE-14", "PS256", |it| rsa(it, "PS256", &RSA_PSS_SHA256)),
        header("DP-JOSE-14", "ES384", |it| {
            let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
            elliptic(it, "ES384", "P-384", &pair)
        }),
        header("DP-JOSE-14", "ES512", |it| {
            let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
            elliptic(it, "ES512", "P-521", &pair)
        }),
        header("DP-JOSE-14", "EdDSA", |it| edwards(it, "EdDSA")),
        header("DP-JOSE-14", "Ed25519", |it| edwards(it, "Ed25519")),
    ];
    for alg in ["ES256K", "ML-DSA-44", "HS256", "RS256", "ES384"] {
        let what = format!("{alg}, signed with ES256");
        cases.push(header("DP-JOSE-14", what, move |it| it.member("alg", json!(alg))));
    }
    cases
}

fn signed_as(it: &Subject, header: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!("{}.{}", encode(header.to_string()), encode(it.claims().to_string()));
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", encode(signature))
}

fn rsa(it: &Subject, alg: &str, encoding: &'static dyn RsaEncoding) -> String {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let modulus = pair.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let jwk = json!({ "kty": "RSA", "n": encode(modulus), "e": "AQAB" });
    let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
    signed_as(it, &header, |bytes| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), bytes, &mut signature).unwrap();
        signature
    })
}

fn elliptic(it: &Subject, alg: &str, crv: &str, pair: &EcdsaKeyPair) -> String {
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    let jwk = json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) });
    let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
    signed_as(it, &header, |bytes| {
        pair.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
    })
}

fn edwards(it: &Subject, alg: &str) -> String {
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key()) });
    let header = json!({ "typ": "dpop+jwt", "alg": alg, "jwk": jwk });
    signed_as(it, &header, |bytes| pair.sign(bytes).as_ref().to_vec())
}

/// The algorithm is ours, the key is for another.
fn keys() -> Vec<Case> {
    let key = |what: &str, jwk: fn(&Subject) -> Value| {
        bad("DP-JOSE-16", what, ProofError::Key, move |it| it.with_jwk(jwk(it)))
    };
    vec![
        key("kty RSA with a point", |it| with(it.jwk(), "kty", json!("RSA"))),
        key("kty OKP with a point", |it| with(it.jwk(), "kty", json!("OKP"))),
        key("kty ec", |it| with(it.jwk(), "kty", json!("ec"))),
        key("crv P-384", |it| with(it.jwk(), "crv", json!("P-384"))),
        key("crv secp256k1", |it| with(it.jwk(), "crv", json!("secp256k1"))),
        key("crv p-256", |it| with(it.jwk(), "crv", json!("p-256"))),
        key("an Ed25519 key", |it| json!({ "kty": "OKP", "crv": "Ed25519", "x": it.jwk()["x"] })),
        header("DP-JOSE-16", "an RSA key", |it| {
            it.with_jwk(json!({ "kty": "RSA", "n": encode([0xc5; 256]), "e": "AQAB" }))
        }),
        header("DP-JOSE-16", "a symmetric key", |it| {
            it.with_jwk(json!({ "kty": "oct", "k": encode([7; 32]) }))
        }),
    ]
}

fn foreign_keys() -> Vec<Case> {
    let mut cases = vec![
        header("DP-JOSE-17", "no jwk", |it| it.under(&without(it.header(), "jwk"))),
        header("DP-JOSE-17", "its members in an array", |it| {
            let jwk = it.jwk();
            it.with_jwk(json!([jwk["kty"], jwk["crv"], jwk["x"], jwk["y"]]))
        }),
        header("DP-JOSE-17", "its JSON as text", |it| it.with_jwk(json!(it.jwk().to_string()))),
        header("DP-JOSE-17", "a key set", |it| it.with_jwk(json!({ "keys": [it.jwk()] }))),
        header("DP-JOSE-18", "x5c for jwk", |it| {
            it.under(&with(without(it.header(), "jwk"), "x5c", json!(["MIIB"])))
        }),
        good("DP-JOSE-19", "kid beside jwk", |it| it.member("kid", json!("../../etc/passwd"))),
        good("DP-JOSE-19", "x5c beside jwk", |it| it.member("x5c", json!(["MIIB"]))),
        good("DP-JOSE-19", "jku beside jwk", |it| {
            it.member("jku", json!("https://keys.invalid/jwks.json"))
        }),
    ];
    for jwk in [Value::Null, json!("k"), json!([]), json!({}), json!(7), json!(true)] {
        let what = format!("jwk {jwk}");
        cases.push(header("DP-JOSE-17", what, move |it| it.with_jwk(jwk.clone())));
    }
    for (name, value) in [
        ("kid", json!("k1")),
        ("jku", json!("https://keys.invalid/jwks.json")),
        ("x5u", json!("https://keys.invalid/chain.pem")),
    ] {
        cases.push(header("DP-JOSE-18", format!("{name} for jwk"), move |it| {
            it.under(&with(without(it.header(), "jwk"), name, value.clone()))
        }));
    }
    cases
}

fn extensions() -> Vec<Case> {
    let mut cases = vec![
        good("DP-JOSE-30", "tx_id", |it| it.member("tx_id", json!(7))),
        good("DP-JOSE-30", "a member of objects", |it| {
            it.member("x", json!({ "a": [{ "b": 1 }] }))
        }),
        header("DP-JOSE-31", "crit b64, b64 false", |it| {
            it.under(&with(with(it.header(), "crit", json!(["b64"])), "b64", json!(false)))
        }),
        bad("DP-JOSE-33", "ten thousand members", ProofError::Malformed, |it| {
            let mut header = it.header();
            for number in 0..10_000 {
                header[format!("m{number}")] = json!(number);
            }
            it.under(&header)
        })
        .unsendable(),
        bad("DP-JOSE-33", "ten thousand levels", ProofError::Malformed, |it| {
            it.raw_header(nested(it, 10_000))
        }),
        // What nobody reads is passed over without a stack.
        good("DP-JOSE-33", "as many levels as fit", |it| it.raw_header(nested(it, 380))),
        good("DP-JOSE-33", "as many levels as fit, in jwk", |it| {
            let jwk = it.jwk().to_string();
            let deep = format!("{}{}", "[".repeat(380), "]".repeat(380));
            let jwk = format!(r#"{{"n":{deep},{}"#, &jwk[1..]);
            it.raw_header(format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#))
        }),
    ];
    for (name, value) in [
        ("crit", json!(["zz"])),
        ("crit", json!([])),
        ("crit", json!("exp")),
        ("crit", Value::Null),
        ("b64", json!(false)),
        ("b64", json!(true)),
    ] {
        let what = format!("{name} {value}");
        cases.push(header("DP-JOSE-31", what, move |it| it.member(name, value.clone())));
    }
    for (name, value) in [
        ("zip", json!("DEF")),
        ("zip", Value::Null),
        ("cty", json!("JWT")),
        ("cty", json!("dpop+jwt")),
    ] {
        let what = format!("{name} {value}");
        cases.push(header("DP-JOSE-32", what, move |it| it.member(name, value.clone())));
    }
    numbered(cases, "DP-JOSE", &EXTENSIONS)
}

/// A good header with one more member, of so many levels.
fn nested(it: &Subject, levels: usize) -> String {
    let header = it.header().to_string();
    format!(r#"{{"n":{}{},{}"#, "[".repeat(levels), "]".repeat(levels), &header[1..])
}
