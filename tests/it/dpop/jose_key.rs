//! DP-JOSE-20…29: the key in a header is one public point of P-256, in one spelling.

use backoffice::{access::dpop::ProofError, ledger::leaf};
use serde_json::{Value, json};

use super::{
    case::{Case, Subject, bad, good, numbered},
    over_http, pure,
};
use crate::access_keys::{decode, encode, with, without};

const NUMBERS: [u8; 9] = [20, 21, 22, 23, 24, 25, 27, 28, 29];

#[test]
fn dp_jose_20_21_22_23_24_25_27_28_29_a_key_is_one_public_point_in_one_spelling() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_jose_20_21_22_23_24_25_27_28_29_keys_are_told_apart_over_http() {
    over_http::hold(&cases()).await;
}

fn cases() -> Vec<Case> {
    let cases = [private(), lengths(), points(), uses()].into_iter().flatten().collect();
    numbered(cases, "DP-JOSE", &NUMBERS)
}

fn private() -> Vec<Case> {
    let mut cases = vec![
        bad("DP-JOSE-20", "the real d", ProofError::Header, |it| {
            it.jwk_member("d", json!(it.key.private()))
        }),
        bad("DP-JOSE-20", "d spelt with an escape", ProofError::Header, |it| {
            let jwk = it.jwk().to_string();
            let jwk = format!(r#"{{"\u0064":"AA",{}"#, &jwk[1..]);
            it.raw_header(format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#))
        }),
        bad("DP-JOSE-22", "kty oct", ProofError::Key, |it| it.jwk_member("kty", json!("oct"))),
        bad("DP-JOSE-22", "a symmetric key", ProofError::Header, |it| {
            it.with_jwk(json!({ "kty": "oct", "k": encode([7; 32]), "alg": "HS256" }))
        }),
        bad("DP-JOSE-27", "x twice, alike", ProofError::Header, |it| {
            twice(it, "x", &it.jwk()["x"])
        }),
        bad("DP-JOSE-27", "y twice, unlike", ProofError::Header, |it| {
            twice(it, "y", &json!(encode([1; 32])))
        }),
        bad("DP-JOSE-27", "crv twice, unlike", ProofError::Header, |it| {
            twice(it, "crv", &json!("P-384"))
        }),
        bad("DP-JOSE-27", "kty twice, unlike", ProofError::Header, |it| {
            twice(it, "kty", &json!("RSA"))
        }),
    ];
    for value in [json!("junk"), Value::Null, json!(""), json!(7), json!({})] {
        cases.push(bad("DP-JOSE-20", format!("d {value}"), ProofError::Header, move |it| {
            it.jwk_member("d", value.clone())
        }));
    }
    for name in ["k", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        for value in [json!("AA"), Value::Null] {
            cases.push(bad(
                "DP-JOSE-21",
                format!("{name} {value}"),
                ProofError::Header,
                move |it| it.jwk_member(name, value.clone()),
            ));
        }
    }
    cases
}

/// A good proof but for a member of its key that is there once more, before the others.
fn twice(it: &Subject, name: &str, first: &Value) -> String {
    let jwk = it.jwk().to_string();
    let jwk = format!(r#"{{"{name}":{first},{}"#, &jwk[1..]);
    it.raw_header(format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{jwk}}}"#))
}

fn coordinate(it: &Subject, name: &str) -> Vec<u8> {
    decode(it.jwk()[name].as_str().unwrap())
}

/// A proof of another key, generated until `is_wanted` of one coordinate is true.
fn of_key(
    it: &Subject,
    is_wanted: impl Fn(&[u8]) -> bool,
    jwk: impl Fn(&Subject) -> Value,
) -> String {
    for _ in 0..100_000 {
        let other = Subject { key: crate::access_keys::TestKey::generate(), ..it.clone() };
        if is_wanted(&coordinate(&other, "x")) {
            return other.with_jwk(jwk(&other));
        }
    }
    panic!("no such key among 100,000");
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["x", "y"] {
        let key = |what: &str, spell: fn(Vec<u8>) -> String| {
            let what = format!("{name}: {what}");
            bad("DP-JOSE-23", what, ProofError::Key, move |it| {
                it.jwk_member(name, json!(spell(coordinate(it, name))))
            })
        };
        cases.extend([
            key("empty", |_| String::new()),
            key("31 bytes", |bytes| encode(&bytes[1..])),
            key("33 bytes, a zero before", |bytes| encode([&[0][..], &bytes].concat())),
            key("33 bytes, a zero behind", |bytes| encode([&bytes, &[0][..]].concat())),
            key("padded", |bytes| format!("{}=", encode(bytes))),
            key("in base64 with a plus", |bytes| format!("+{}", &encode(bytes)[1..])),
            key("hexadecimal", |bytes| leaf::hex(&bytes)),
            key("a NUL behind", |bytes| format!("{}\0", encode(bytes))),
            key("unused bits set", |bytes| {
                let text = encode(bytes);
                let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let index = alphabet.find(&text[42..]).unwrap();
                format!("{}{}", &text[..42], &alphabet[index + 1..index + 2])
            }),
        ]);
    }
    cases.extend([
        bad("DP-JOSE-23", "no x", ProofError::Header, |it| it.with_jwk(without(it.jwk(), "x"))),
        bad("DP-JOSE-23", "no y", ProofError::Key, |it| it.with_jwk(without(it.jwk(), "y"))),
        bad("DP-JOSE-23", "y null", ProofError::Header, |it| it.jwk_member("y", Value::Null)),
        bad("DP-JOSE-23", "x a number", ProofError::Header, |it| it.jwk_member("x", json!(7))),
        bad("DP-JOSE-23", "a leading zero stripped", ProofError::Key, |it| {
            of_key(
                it,
                |x| x[0] == 0,
                |other| with(other.jwk(), "x", json!(encode(&coordinate(other, "x")[1..]))),
            )
        }),
        bad("DP-JOSE-24", "31 and 33 bytes", ProofError::Key, |it| {
            let (x, y) = (coordinate(it, "x"), coordinate(it, "y"));
            let moved = [&x[31..], &y].concat();
            it.with_jwk(with(
                with(it.jwk(), "x", json!(encode(&x[..31]))),
                "y",
                json!(encode(moved)),
            ))
        }),
        bad("DP-JOSE-24", "33 and 31 bytes", ProofError::Key, |it| {
            let (x, y) = (coordinate(it, "x"), coordinate(it, "y"));
            let longer = [&x, &y[..1]].concat();
            it.with_jwk(with(
                with(it.jwk(), "x", json!(encode(longer))),
                "y",
                json!(encode(&y[1..])),
            ))
        }),
    ]);
    cases
}

fn points() -> Vec<Case> {
    let point = |what: &str, jwk: fn(&Subject) -> Value| {
        bad("DP-JOSE-25", what, ProofError::Signature, move |it| it.with_jwk(jwk(it)))
    };
    vec![
        point("not on the curve", |it| {
            let mut y = coordinate(it, "y");
            y[31] ^= 1;
            with(it.jwk(), "y", json!(encode(y)))
        }),
        point("x and y swapped", |it| {
            let jwk = it.jwk();
            with(with(jwk.clone(), "x", jwk["y"].clone()), "y", jwk["x"].clone())
        }),
        point("(0, 0)", |it| {
            let zero = json!(encode([0; 32]));
            with(with(it.jwk(), "x", zero.clone()), "y", zero)
        }),
        point("x above p", |it| with(it.jwk(), "x", json!(encode([0xff; 32])))),
        point("x is p", |it| {
            let p = "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff";
            with(it.jwk(), "x", json!(encode(hex(p))))
        }),
        // The other key with this x: a good point, but not the one that signed.
        point("y negated", |it| {
            let negated = negate_modulo_p(&coordinate(it, "y"));
            with(it.jwk(), "y", json!(encode(negated)))
        }),
    ]
}

/// p − y for p of P-256.
fn negate_modulo_p(y: &[u8]) -> Vec<u8> {
    let mut difference = hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let mut borrow = false;
    for (digit, subtrahend) in difference.iter_mut().rev().zip(y.iter().rev()) {
        let (once, under) = digit.overflowing_sub(*subtrahend);
        let (twice, again) = once.overflowing_sub(u8::from(borrow));
        *digit = twice;
        borrow = under || again;
    }
    assert!(!borrow, "y is below p");
    difference
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn uses() -> Vec<Case> {
    let mut cases = vec![
        good("DP-JOSE-29", "as WebCrypto exports it", |it| {
            let jwk = it.jwk();
            it.with_jwk(json!({
                "ext": true, "key_ops": ["verify"], "kid": "k", "alg": "ES256", "use": "sig",
                "y": jwk["y"], "x": jwk["x"], "crv": "P-256", "kty": "EC",
            }))
        }),
        good("DP-JOSE-29", "no key_ops in the list", |it| it.jwk_member("key_ops", json!([]))),
    ];
    for (name, value) in [
        ("alg", json!("RS256")),
        ("alg", json!("ES384")),
        ("alg", json!("es256")),
        ("use", json!("enc")),
        ("use", json!("")),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!(["verify", "sign"])),
    ] {
        cases.push(bad("DP-JOSE-28", format!("{name} {value}"), ProofError::Key, move |it| {
            it.jwk_member(name, value.clone())
        }));
    }
    for (name, value) in [
        ("alg", Value::Null),
        ("use", json!(7)),
        ("key_ops", json!("verify")),
        ("key_ops", json!([7])),
    ] {
        cases.push(bad("DP-JOSE-28", format!("{name} {value}"), ProofError::Header, move |it| {
            it.jwk_member(name, value.clone())
        }));
    }
    cases
}
