//! DP-JOSE-01…07: three parts of canonical base64url around JSON objects, and nothing else.

use backoffice::access::dpop::ProofError;
use serde_json::json;

use super::{
    case::{Case, bad, numbered},
    over_http, pure,
};
use crate::access_keys::{encode, without};

const NUMBERS: [u8; 7] = [1, 2, 3, 4, 5, 6, 7];

#[test]
fn dp_jose_01_02_03_04_05_06_07_what_is_no_compact_jws_is_no_proof() {
    pure::hold(&cases());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_jose_01_02_03_04_05_06_07_what_is_no_compact_jws_is_refused_over_http() {
    over_http::hold(&cases()).await;
}

fn cases() -> Vec<Case> {
    let cases = [parts(), spellings(), documents(), doubles()].into_iter().flatten().collect();
    numbered(cases, "DP-JOSE", &NUMBERS)
}

fn malformed(
    id: &'static str,
    what: &str,
    proof: impl Fn([String; 3]) -> String + 'static,
) -> Case {
    bad(id, what, ProofError::Malformed, move |it| proof(it.parts()))
}

fn parts() -> Vec<Case> {
    vec![
        malformed("DP-JOSE-01", "two parts", |[h, p, _]| format!("{h}.{p}")),
        malformed("DP-JOSE-01", "one part", |[h, _, _]| h),
        malformed("DP-JOSE-01", "four parts", |[h, p, s]| format!("{h}.{p}.{s}.AA")),
        malformed("DP-JOSE-01", "five parts", |[h, p, s]| format!("{h}.{p}.{s}.AA.AA")),
        malformed("DP-JOSE-01", "a trailing dot", |[h, p, s]| format!("{h}.{p}.{s}.")),
        malformed("DP-JOSE-01", "a leading dot", |[h, p, s]| format!(".{h}.{p}.{s}")),
        malformed("DP-JOSE-01", "dots alone", |_| "..".to_owned()),
        malformed("DP-JOSE-01", "an empty header", |[_, p, s]| format!(".{p}.{s}")),
        malformed("DP-JOSE-01", "an empty payload", |[h, _, s]| format!("{h}..{s}")),
        malformed("DP-JOSE-02", "the JSON serialisation", |[h, p, s]| {
            json!({ "protected": h, "payload": p, "signature": s }).to_string()
        }),
        malformed("DP-JOSE-02", "the general JSON serialisation", |[h, p, s]| {
            json!({ "payload": p, "signatures": [{ "protected": h, "signature": s }] }).to_string()
        }),
    ]
}

fn spellings() -> Vec<Case> {
    vec![
        malformed("DP-JOSE-03", "a padded header", |[h, p, s]| format!("{h}=.{p}.{s}")),
        malformed("DP-JOSE-03", "a padded payload", |[h, p, s]| format!("{h}.{p}==.{s}")),
        malformed("DP-JOSE-03", "a padded signature", |[h, p, s]| format!("{h}.{p}.{s}==")),
        malformed("DP-JOSE-03", "a plus", |[h, p, s]| format!("{h}.{p}.+{}", &s[1..])),
        malformed("DP-JOSE-03", "a slash", |[h, p, s]| format!("{h}.{p}./{}", &s[1..])),
        malformed("DP-JOSE-03", "a newline", |[h, p, s]| format!("{h}\n.{p}.{s}")).unsendable(),
        malformed("DP-JOSE-03", "a space", |[h, p, s]| format!("{h}.{p} .{s}")),
        // 64 bytes leave four bits of the last letter unused.
        malformed("DP-JOSE-04", "unused bits in the signature", |[h, p, s]| {
            format!("{h}.{p}.{}", with_an_unused_bit(&s))
        }),
        bad("DP-JOSE-04", "unused bits in the header", ProofError::Malformed, |it| {
            let [_, payload, signature] = it.parts();
            format!("{}.{payload}.{signature}", respelt(it.header().to_string()))
        }),
        bad("DP-JOSE-04", "unused bits in the payload", ProofError::Malformed, |it| {
            let [header, _, signature] = it.parts();
            format!("{header}.{}.{signature}", respelt(it.claims().to_string()))
        }),
        bad("DP-JOSE-04", "unused bits that were signed", ProofError::Malformed, |it| {
            let [header, ..] = it.parts();
            let signed = format!("{header}.{}", respelt(it.claims().to_string()));
            format!("{signed}.{}", encode(it.key.signature(&signed).to_bytes()))
        }),
    ]
}

/// JSON in a spelling of base64url that decodes to the same bytes where unused bits are ignored.
fn respelt(mut json: String) -> String {
    // White space at the end is JSON too, and leaves a letter with unused bits.
    while json.len().is_multiple_of(3) {
        json.push(' ');
    }
    with_an_unused_bit(&encode(json))
}

fn with_an_unused_bit(text: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = text.split_at(text.len() - 1);
    let index = alphabet.find(last).unwrap();
    assert_eq!(index % 2, 0, "the last letter has unused bits");
    format!("{rest}{}", &alphabet[index + 1..index + 2])
}

fn documents() -> Vec<Case> {
    let header = |id, what: &str, make: fn(String) -> String| {
        bad(id, what, ProofError::Header, move |it| it.raw_header(make(it.header().to_string())))
    };
    vec![
        header("DP-JOSE-05", "no JSON", |_| "x".to_owned()),
        header("DP-JOSE-05", "a number", |_| "7".to_owned()),
        header("DP-JOSE-05", "null", |_| "null".to_owned()),
        header("DP-JOSE-05", "text", |_| r#""dpop+jwt""#.to_owned()),
        header("DP-JOSE-05", "an empty object", |_| "{}".to_owned()),
        header("DP-JOSE-05", "a byte order mark", |header| format!("\u{feff}{header}")),
        header("DP-JOSE-05", "bytes behind it", |header| format!("{header}x")),
        header("DP-JOSE-05", "a second document behind it", |header| format!("{header}{header}")),
        header("DP-JOSE-05", "NUL behind it", |header| format!("{header}\0")),
        header("DP-JOSE-05", "a comment", |header| format!("/**/{header}")),
        bad("DP-JOSE-05", "an array of the members", ProofError::Header, |it| {
            it.raw_header(json!(["dpop+jwt", "ES256", it.jwk()]).to_string())
        }),
        bad("DP-JOSE-06", "a byte that is not UTF-8", ProofError::Header, |it| {
            let mut header = it.header().to_string().into_bytes();
            header.splice(1..1, *b"\"n\":\"\xff\",");
            it.raw_header(header)
        }),
        bad("DP-JOSE-06", "an overlong slash", ProofError::Header, |it| {
            let mut header = it.header().to_string().into_bytes();
            header.splice(1..1, *b"\"n\":\"\xc0\xaf\",");
            it.raw_header(header)
        }),
        bad("DP-JOSE-06", "UTF-16", ProofError::Header, |it| {
            let units = it.header().to_string().encode_utf16().collect::<Vec<_>>();
            it.raw_header(
                units.into_iter().take(200).flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
            )
        }),
    ]
}

fn doubles() -> Vec<Case> {
    let doubled = |name: &'static str, what: &str, first: &'static str, second: &'static str| {
        bad("DP-JOSE-07", format!("{name} twice, {what}"), ProofError::Header, move |it| {
            let good = it.header()[name].to_string();
            let value = |text: &str| if text.is_empty() { good.clone() } else { text.to_owned() };
            let rest = without(it.header(), name).to_string();
            let (first, second) = (value(first), value(second));
            it.raw_header(format!(r#"{{"{name}":{first},"{name}":{second},{}"#, &rest[1..]))
        })
    };
    let mut cases = Vec::new();
    for (name, other) in [("typ", r#""JWT""#), ("alg", r#""none""#), ("jwk", "{}")] {
        cases.push(doubled(name, "the good one first", "", other));
        cases.push(doubled(name, "the good one second", other, ""));
        cases.push(doubled(name, "both good", "", ""));
    }
    cases.push(bad("DP-JOSE-07", "alg twice, once escaped", ProofError::Header, |it| {
        let header = it.header().to_string();
        it.raw_header(format!(r#"{{"\u0061lg":"none",{}"#, &header[1..]))
    }));
    cases
}
