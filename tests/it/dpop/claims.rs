//! DP-CLM-01…09: the payload is one JSON object with the claims of a proof, each of its type.

use backoffice::access::dpop::ProofError;
use serde_json::{Value, json};

use super::{
    case::{Case, bad, good, numbered},
    over_http, pure,
};
use crate::access_keys::{encode, without};

const NUMBERS: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn dp_clm_01_02_03_04_05_06_07_08_09_every_claim_is_there_once_and_of_its_type() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_clm_01_02_03_04_05_06_07_08_09_claims_are_told_apart_over_http() {
    over_http::hold(&cases()).await;
}

/// The name of the key that remembers a used proof is a hash: nothing a client writes shows in it.
#[tokio::test(flavor = "multi_thread")]
async fn dp_clm_06_no_jti_changes_the_shape_of_the_key_that_remembers_it() {
    let bench = over_http::Bench::start().await;
    let mut subject = bench.sign_in().await;
    bench.fresh_nonce(&mut subject).await;
    let before = bench.used_proofs().await;
    for jti in odd_ids() {
        jti.clone_into(&mut subject.jti);
        let answer = bench.send(&subject, &subject.good()).await;
        assert_eq!(answer.status, 200, "DP-CLM-06: {jti:?}: {}", answer.body);
        let replayed = bench.send(&subject, &subject.good()).await;
        over_http::assert_challenged(&replayed, "MELMASTOON.AUTH.PROOF_REPLAYED", "DP-CLM-06");
    }

    let mut names = bench.used_proofs().await;
    names.retain(|name| !before.contains(name));
    assert_eq!(names.len(), odd_ids().len(), "{names:?}");
    for name in names {
        let hash = name.strip_prefix(&format!("{{{}}}:dpop:jti:", bench.tenant_id())).unwrap();
        let is_base64url =
            hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        assert!(hash.len() == 43 && is_base64url, "{name}");
    }
}

fn odd_ids() -> [&'static str; 9] {
    ["a:b:c", "*", "a\r\nDEL b", "a\0b", "{tag}", "ключ", "\u{202e}x", "../..", "a b"]
}

fn cases() -> Vec<Case> {
    let cases = [documents(), identifiers(), methods()].into_iter().flatten().collect();
    numbered(cases, "DP-CLM", &NUMBERS)
}

fn malformed(
    id: &'static str,
    what: impl Into<String>,
    proof: impl Fn(&super::case::Subject) -> String + 'static,
) -> Case {
    bad(id, what, ProofError::Malformed, proof)
}

fn documents() -> Vec<Case> {
    let mut cases = vec![
        malformed("DP-CLM-01", "an array", |it| it.raw_claims("[]")),
        malformed("DP-CLM-01", "no JSON", |it| it.raw_claims("x")),
        malformed("DP-CLM-01", "text", |it| it.raw_claims("\"x\"")),
        malformed("DP-CLM-01", "null", |it| it.raw_claims("null")),
        malformed("DP-CLM-01", "the values in an array", |it| {
            let claims = it.claims();
            let values: Vec<&Value> = claims.as_object().unwrap().values().collect();
            it.raw_claims(json!(values).to_string())
        }),
        malformed("DP-CLM-01", "bytes behind it", |it| it.raw_claims(format!("{}x", it.claims()))),
        malformed("DP-CLM-01", "a byte order mark", |it| {
            it.raw_claims(format!("\u{feff}{}", it.claims()))
        }),
        malformed("DP-CLM-01", "jti not UTF-8", |it| {
            let claims = without(it.claims(), "jti").to_string();
            it.raw_claims([b"{\"jti\":\"\xff\",", &claims.as_bytes()[1..]].concat())
        }),
        malformed("DP-CLM-01", "a member more, not UTF-8", |it| {
            let claims = it.claims().to_string();
            it.raw_claims([b"{\"n\":\"\xff\",", &claims.as_bytes()[1..]].concat())
        }),
        malformed("DP-CLM-01", "a lone surrogate for jti", |it| {
            let claims = without(it.claims(), "jti").to_string();
            it.raw_claims(format!(r#"{{"jti":"\ud800",{}"#, &claims[1..]))
        }),
    ];
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        cases.push(malformed("DP-CLM-01", format!("{name} twice"), move |it| {
            let claims = it.claims();
            let text = claims.to_string();
            it.raw_claims(format!(r#"{{"{name}":{},{}"#, claims[name], &text[1..]))
        }));
        let error = if name == "ath" { ProofError::AccessToken } else { ProofError::Malformed };
        cases.push(bad("DP-CLM-02", format!("no {name}"), error, move |it| {
            it.claiming(&without(it.claims(), name))
        }));
    }
    cases
}

fn identifiers() -> Vec<Case> {
    let mut cases = Vec::new();
    for jti in [
        json!(""),
        json!(" "),
        json!("   "),
        json!("\t\n"),
        json!(7),
        Value::Null,
        json!(["x"]),
        json!({ "a": "b" }),
        json!(true),
    ] {
        cases.push(malformed("DP-CLM-03", format!("jti {jti}"), move |it| {
            it.claim("jti", jti.clone())
        }));
    }
    // Told apart by their letters: a jti is used up for its key.
    for (length, letter) in [(1, "k"), (36, "l"), (255, "m"), (256, "n")] {
        cases.push(good("DP-CLM-04", format!("a jti of {length} bytes"), move |it| {
            it.claim("jti", json!(letter.repeat(length)))
        }));
    }
    cases.push(good("DP-CLM-04", "a jti of 256 bytes in 64 letters", |it| {
        it.claim("jti", json!("\u{1f511}".repeat(64)))
    }));
    cases.extend([
        malformed("DP-CLM-05", "a jti of 257 bytes", |it| it.claim("jti", json!("j".repeat(257)))),
        malformed("DP-CLM-05", "a jti of 65 letters and 260 bytes", |it| {
            it.claim("jti", json!("\u{1f511}".repeat(65)))
        }),
        malformed("DP-CLM-05", "a jti of 20 KB", |it| it.claim("jti", json!("j".repeat(20_000)))),
        malformed("DP-CLM-05", "a jti of 100 KB", |it| it.claim("jti", json!("j".repeat(100_000))))
            .unsendable(),
    ]);
    for jti in odd_ids() {
        cases
            .push(good("DP-CLM-06", format!("jti {jti:?}"), move |it| it.claim("jti", json!(jti))));
    }
    cases
}

fn methods() -> Vec<Case> {
    let method = |id, what: &str, htm: fn(&str) -> String| {
        bad(id, what, ProofError::Method, move |it| it.claim("htm", json!(htm(it.method.as_str()))))
    };
    let mut cases = vec![
        method("DP-CLM-07", "PUT", |_| "PUT".to_owned()),
        method("DP-CLM-07", "DELETE", |_| "DELETE".to_owned()),
        method("DP-CLM-07", "none", |_| String::new()),
        method("DP-CLM-07", "two", |good| format!("{good},PUT")),
        method("DP-CLM-08", "in lower case", str::to_lowercase),
        method("DP-CLM-08", "one letter in lower case", |good| {
            format!("{}{}", &good[..1], good[1..].to_lowercase())
        }),
        method("DP-CLM-09", "a space before", |good| format!(" {good}")),
        method("DP-CLM-09", "a space behind", |good| format!("{good} ")),
        method("DP-CLM-09", "a NUL behind", |good| format!("{good}\0")),
        method("DP-CLM-09", "in base64", |good| encode(good)),
    ];
    for wrong in [json!(7), Value::Null, json!(["POST"]), json!({}), json!(true)] {
        cases.push(malformed("DP-CLM-09", format!("htm {wrong}"), move |it| {
            it.claim("htm", wrong.clone())
        }));
    }
    cases
}
