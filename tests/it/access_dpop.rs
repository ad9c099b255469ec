//! The proof verifier against the conformance list: pure, with the time set by hand.

use std::time::{Duration, Instant};

use backoffice::access::{
    dpop::{
        self, Binding, Expected, KeyCache, NoncePolicy, ProofError, PublicBases, RequestPath,
        Verified, Window,
    },
    nonce::{Freshness, Nonces},
};
use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use p256::ecdsa::Signature;
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::access_keys::{TestKey, ath, decode, encode, with, without};

const TOKEN: &str = "a.bound.token";
const NOW: i64 = 1_700_000_040;
const TENANT: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY";

/// A request to `POST https://api.example/a/b`, and the key of its token.
struct Request {
    key: TestKey,
    jkt: String,
    ath: String,
    method: Method,
    path: RequestPath,
    bases: PublicBases,
    nonces: Option<Nonces>,
    now: DateTime<Utc>,
    keys: KeyCache,
}

impl Request {
    fn new() -> Self {
        let key = TestKey::generate();
        Self {
            jkt: key.jkt(),
            key,
            ath: ath(TOKEN),
            method: Method::POST,
            path: RequestPath::parse("/a/b").unwrap(),
            bases: PublicBases::parse(["https://api.example"]).unwrap(),
            nonces: None,
            now: at(NOW),
            keys: KeyCache::default(),
        }
    }

    fn with_nonces() -> Self {
        let secret = SecretString::from("s".repeat(32));
        Self { nonces: Some(Nonces::new(&secret, None).unwrap()), ..Self::new() }
    }

    fn verify(&self, proof: &str) -> Result<Verified, ProofError> {
        self.verify_bound(proof, Binding::Token { ath: &self.ath, jkt: &self.jkt })
    }

    fn verify_bound(&self, proof: &str, binding: Binding<'_>) -> Result<Verified, ProofError> {
        let nonces = match &self.nonces {
            Some(nonces) => NoncePolicy::Required { nonces, tenant: TENANT },
            None => NoncePolicy::Off,
        };
        let expected = Expected {
            method: &self.method,
            path: &self.path,
            bases: &self.bases,
            binding,
            nonces,
            window: Window::default(),
            now: self.now,
        };
        dpop::verify(proof, &expected, &self.keys)
    }

    fn claims(&self) -> Value {
        json!({
            "jti": "e1j3V_bKic8-LAEB",
            "htm": "POST",
            "htu": "https://api.example/a/b",
            "iat": NOW,
            "ath": self.ath,
        })
    }

    /// The proof with these claims under a good header.
    fn proof(&self, claims: &Value) -> String {
        self.key.sign(&self.key.proof_header(), claims)
    }

    /// The proof with this header over good claims.
    fn proof_under(&self, header: &Value) -> String {
        self.key.sign(header, &self.claims())
    }

    fn good(&self) -> String {
        self.proof(&self.claims())
    }
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// Every case is named after its row in the conformance list.
fn assert_refused(request: &Request, cases: Vec<(&str, String, ProofError)>) {
    for (case, proof, expected) in cases {
        assert_eq!(request.verify(&proof), Err(expected), "{case}: {proof}");
    }
}

fn assert_accepted(request: &Request, cases: Vec<(&str, String)>) {
    for (case, proof) in cases {
        let verified = request.verify(&proof);
        assert!(verified.is_ok(), "{case}: {verified:?} {proof}");
    }
}

#[test]
fn dp_sig_10_the_example_of_rfc_9449_verifies() {
    let proof = include_str!("data/rfc9449-example-proof.txt").trim();
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let ath = ath("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    assert_eq!(ath, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
    let expected = Expected {
        method: &Method::GET,
        path: &RequestPath::parse("/protectedresource").unwrap(),
        bases: &PublicBases::parse(["https://resource.example.org"]).unwrap(),
        binding: Binding::Token { ath: &ath, jkt },
        nonces: NoncePolicy::Off,
        window: Window::default(),
        now: at(1_562_262_618),
    };

    let verified = dpop::verify(proof, &expected, &KeyCache::default()).unwrap();

    assert_eq!((verified.jkt.as_str(), verified.jti.as_str()), (jkt, "e1j3V_bKic8-LAEB"));
}

#[test]
fn a_good_proof_is_accepted_with_the_extras_the_rfc_allows() {
    let request = Request::new();
    let header = request.key.proof_header();
    let jwk = request.key.jwk();
    let web_crypto = json!({
        "ext": true, "key_ops": ["verify"], "kid": "k", "alg": "ES256", "use": "sig",
        "y": jwk["y"], "x": jwk["x"], "crv": "P-256", "kty": "EC",
    });
    let foreign = with(with(header.clone(), "jku", json!("https://evil/")), "kid", json!("k"));
    assert_accepted(
        &request,
        vec![
            ("dp_hdr_01", request.good()),
            ("dp_jose_19", request.proof_under(&with(foreign, "x5u", json!("https://evil/")))),
            ("dp_jose_29_dp_key_07", request.proof_under(&with(header.clone(), "jwk", web_crypto))),
            ("dp_jose_30", request.proof_under(&with(header, "tx_id", json!(7)))),
            ("dp_clm_04_one", request.proof(&with(request.claims(), "jti", json!("j")))),
            (
                "dp_clm_04_most",
                request.proof(&with(request.claims(), "jti", json!("j".repeat(256)))),
            ),
            (
                "dp_htu_02",
                request.proof(&with(
                    request.claims(),
                    "htu",
                    json!("https://api.example/a/b?q=1#f"),
                )),
            ),
            (
                "dp_iat_10",
                request.proof(&with(
                    with(request.claims(), "exp", json!(NOW + 300)),
                    "nbf",
                    json!(NOW),
                )),
            ),
            ("dp_iat_07", request.proof(&with(request.claims(), "iat", json!(1_700_000_040.5)))),
            ("dp_non_17", request.proof(&with(request.claims(), "nonce", json!("unasked")))),
        ],
    );
}

#[test]
fn a_proof_that_is_no_jws_is_refused() {
    let request = Request::new();
    let good = request.good();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let flipped = {
        let last = payload.chars().last().unwrap();
        let index =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".find(last).unwrap();
        let next = "BADCFEHGJILKNMPORQTSVUXWZYbadcfehgjilknmporqtsvuxwzy1032547698_-";
        format!("{}{}", &payload[..payload.len() - 1], &next[index..=index])
    };
    let json = json!({ "protected": header, "payload": payload, "signature": signature });
    let malformed = |case, proof| (case, proof, ProofError::Malformed);
    assert_refused(
        &request,
        vec![
            malformed("dp_jose_01_two", format!("{header}.{payload}")),
            malformed("dp_jose_01_four", format!("{good}.AA")),
            malformed("dp_jose_01_five", format!("{good}.AA.AA")),
            malformed("dp_jose_01_trailing", format!("{good}.")),
            malformed("dp_jose_01_leading", format!(".{good}")),
            malformed("dp_jose_02", json.to_string()),
            malformed("dp_jose_03_padding", format!("{header}=.{payload}.{signature}")),
            malformed("dp_jose_03_plus", format!("{header}.{payload}.+{}", &signature[1..])),
            malformed("dp_jose_03_newline", format!("{header}\n.{payload}.{signature}")),
            malformed("dp_sig_04_empty", format!("{header}.{payload}.")),
            malformed("dp_hdr_13", format!("{header}.{}.{signature}", "A".repeat(4096))),
            ("dp_hdr_empty", String::new(), ProofError::Malformed),
        ],
    );
    let refused = request.verify(&format!("{header}.{flipped}.{signature}"));
    assert!(refused.is_err(), "dp_jose_04: {refused:?}");
}

#[test]
fn a_header_that_is_not_exactly_a_proofs_is_refused() {
    let request = Request::new();
    let payload = request.claims().to_string();
    let header = request.key.proof_header();
    let jwk = request.key.jwk();
    let raw = |header: String| request.key.sign_bytes(header.as_bytes(), payload.as_bytes());
    let set = |name: &str, value: Value| request.proof_under(&with(header.clone(), name, value));
    let refused = |case, proof| (case, proof, ProofError::Header);
    let mut cases = vec![
        refused("dp_jose_05_number", raw("7".into())),
        refused("dp_jose_05_null", raw("null".into())),
        refused("dp_jose_05_text", raw("x".into())),
        refused("dp_jose_05_array", raw(format!(r#"["dpop+jwt","ES256",{jwk}]"#))),
        refused("dp_jose_05_bom", raw(format!("\u{feff}{header}"))),
        refused("dp_jose_05_trailing", raw(format!("{header}x"))),
        refused("dp_jose_06", request.key.sign_bytes(b"{\"typ\":\"\xff\"}", payload.as_bytes())),
        refused("dp_jose_08", request.proof_under(&without(header.clone(), "typ"))),
        refused("dp_jose_11", request.proof_under(&without(header.clone(), "alg"))),
        refused("dp_jose_17_missing", request.proof_under(&without(header.clone(), "jwk"))),
        refused("dp_jose_17_null", set("jwk", Value::Null)),
        refused("dp_jose_17_text", set("jwk", json!("k"))),
        refused("dp_jose_17_array", set("jwk", json!(["EC", "P-256", jwk["x"], jwk["y"]]))),
        refused("dp_jose_17_empty", set("jwk", json!({}))),
        refused(
            "dp_jose_18",
            request.proof_under(&with(without(header.clone(), "jwk"), "kid", json!("k"))),
        ),
        refused("dp_jose_31_unknown", set("crit", json!(["zz"]))),
        refused("dp_jose_31_b64", set("b64", json!(false))),
        refused("dp_jose_31_empty", set("crit", json!([]))),
        refused("dp_jose_31_text", set("crit", json!("exp"))),
        refused("dp_jose_31_null", set("crit", Value::Null)),
        refused("dp_jose_32_zip", set("zip", json!("DEF"))),
        refused("dp_jose_32_cty", set("cty", json!("JWT"))),
    ];
    for (name, first, second) in [
        ("typ", json!("dpop+jwt"), json!("JWT")),
        ("typ", json!("JWT"), json!("dpop+jwt")),
        ("alg", json!("ES256"), json!("none")),
        ("alg", json!("none"), json!("ES256")),
        ("jwk", jwk.clone(), json!({})),
        ("jwk", jwk.clone(), jwk.clone()),
    ] {
        let rest = without(header.clone(), name).to_string();
        let rest = rest.trim_start_matches('{');
        let doubled = format!(r#"{{"{name}":{first},"{name}":{second},{rest}"#);
        cases.push(refused("dp_jose_07", raw(doubled)));
    }
    assert_refused(&request, cases);
}

#[test]
fn only_the_type_of_proofs_and_es256_are_accepted() {
    let request = Request::new();
    let header = request.key.proof_header();
    let set = |name: &str, value: Value| request.proof_under(&with(header.clone(), name, value));
    let refused = |case, proof| (case, proof, ProofError::Header);
    let mut cases = Vec::new();
    for typ in
        ["JWT", "at+jwt", "jwt+dpop", "dpop+jwt+wrong", "", "DPOP+JWT", "application/dpop+jwt"]
    {
        cases.push(refused("dp_jose_09_10", set("typ", json!(typ))));
    }
    cases.push(refused("dp_jose_09_number", set("typ", json!(7))));
    for alg in [
        "none",
        "None",
        "NONE",
        "HS256",
        "RS256",
        "PS256",
        "ES384",
        "ES512",
        "ES256K",
        "EdDSA",
        "Ed25519",
        "ML-DSA-44",
        "es256",
        "ES256 ",
    ] {
        cases.push(refused("dp_jose_12_13_14_15", set("alg", json!(alg))));
    }
    cases.push(refused("dp_jose_15_array", set("alg", json!(["ES256"]))));
    assert_refused(&request, cases);

    let unsigned = |alg: &str, signature: &str| {
        let header = with(header.clone(), "alg", json!(alg)).to_string();
        format!("{}.{}.{signature}", encode(header), encode(request.claims().to_string()))
    };
    assert_eq!(request.verify(&unsigned("none", "")), Err(ProofError::Malformed), "dp_jose_12");
    assert_eq!(request.verify(&unsigned("none", "AA")), Err(ProofError::Header), "dp_jose_12");
}

#[test]
fn a_key_that_is_not_exactly_a_public_p256_key_is_refused() {
    let request = Request::new();
    let header = request.key.proof_header();
    let jwk = request.key.jwk();
    let under = |jwk: Value| request.proof_under(&with(header.clone(), "jwk", jwk));
    let set = |name: &str, value: Value| under(with(jwk.clone(), name, value));
    let (x, y) = (decode(jwk["x"].as_str().unwrap()), decode(jwk["y"].as_str().unwrap()));
    let mut cases = Vec::new();
    for private in ["d", "k", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        for value in [json!(request.key.private()), json!("junk"), Value::Null, json!("")] {
            cases.push(("dp_jose_20_21", set(private, value), ProofError::Header));
        }
    }
    let doubled = format!(
        r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{{"kty":"EC","crv":"P-256","x":{x},"x":{x},"y":{y}}}}}"#,
        x = jwk["x"],
        y = jwk["y"],
    );
    let doubled =
        request.key.sign_bytes(doubled.as_bytes(), request.claims().to_string().as_bytes());
    cases.push(("dp_jose_27", doubled, ProofError::Header));
    cases.push(("dp_jose_23_x", under(without(jwk.clone(), "x")), ProofError::Header));
    cases.push(("dp_jose_23_y", under(without(jwk.clone(), "y")), ProofError::Header));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = header.to_string().replacen('{', &format!(r#"{{"n":{deep},"#), 1);
    let deep = request.key.sign_bytes(deep.as_bytes(), request.claims().to_string().as_bytes());
    cases.push(("dp_jose_33", deep, ProofError::Malformed));

    let key = |case, proof| (case, proof, ProofError::Key);
    let longer = [&[0][..], &x].concat();
    let mut moved = y.clone();
    moved.insert(0, x[31]);
    cases.extend([
        key("dp_jose_16_rsa", set("kty", json!("RSA"))),
        key("dp_jose_16_okp", set("kty", json!("OKP"))),
        key("dp_jose_22", set("kty", json!("oct"))),
        key("dp_jose_16_crv", set("crv", json!("P-384"))),
        key("dp_ed_03", set("crv", json!("Ed25519"))),
        key("dp_jose_23_empty", set("x", json!(""))),
        key("dp_jose_23_31", set("x", json!(encode(&x[1..])))),
        key("dp_jose_23_33", set("x", json!(encode(longer)))),
        key("dp_jose_23_padding", set("x", json!(format!("{}=", jwk["x"].as_str().unwrap())))),
        key(
            "dp_jose_24",
            under(with(with(jwk.clone(), "x", json!(encode(&x[..31]))), "y", json!(encode(moved)))),
        ),
        key("dp_jose_28_alg", set("alg", json!("RS256"))),
        key("dp_jose_28_use", set("use", json!("enc"))),
        key("dp_jose_28_ops", set("key_ops", json!(["sign"]))),
    ]);
    let zero = json!(encode([0; 32]));
    let above = json!(encode([0xff; 32]));
    let signature = |case, proof| (case, proof, ProofError::Signature);
    let mut off_curve = y.clone();
    off_curve[31] ^= 1;
    cases.extend([
        signature("dp_jose_25_curve", set("y", json!(encode(off_curve)))),
        signature("dp_jose_25_zero", under(with(with(jwk.clone(), "x", zero.clone()), "y", zero))),
        signature("dp_jose_25_above_p", set("x", above)),
    ]);
    assert_refused(&request, cases);
}

#[test]
fn a_signature_that_is_not_the_keys_is_refused() {
    let request = Request::new();
    let good = request.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let bytes = decode(signature);
    let signature =
        |case, bytes: &[u8]| (case, format!("{signed}.{}", encode(bytes)), ProofError::Signature);
    let mut flipped = bytes.clone();
    flipped[40] ^= 1;
    let order = decode("_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE");
    let with_half = |r: Option<&[u8]>, s: Option<&[u8]>| {
        [r.unwrap_or(&bytes[..32]), s.unwrap_or(&bytes[32..])].concat()
    };
    let zero = [0_u8; 32];
    let der = Signature::from_slice(&bytes).unwrap().to_der();
    let other = TestKey::generate();
    let mut cases = vec![
        signature("dp_sig_01", &flipped),
        signature("dp_sig_03_r_zero", &with_half(Some(&zero), None)),
        signature("dp_sig_03_s_zero", &with_half(None, Some(&zero))),
        signature("dp_sig_03_both", &[0; 64]),
        signature("dp_sig_03_r_n", &with_half(Some(&order), None)),
        signature("dp_sig_03_s_n", &with_half(None, Some(&order))),
        signature("dp_sig_03_ones", &[0xff; 64]),
        signature("dp_sig_04_der", der.as_bytes()),
        signature("dp_sig_04_63", &bytes[..63]),
        signature("dp_sig_04_65", &[&bytes[..], &[0]].concat()),
        signature("dp_sig_04_96", &[&bytes[..], &zero].concat()),
        signature("dp_sig_04_132", &[0x11; 132]),
        (
            "dp_sig_02",
            other.sign(&request.key.proof_header(), &request.claims()),
            ProofError::Signature,
        ),
    ];
    let pretty = serde_json::to_string_pretty(&request.claims()).unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let respelt = format!("{header}.{}.{}", encode(pretty), encode(&bytes));
    cases.push(("dp_sig_09", respelt, ProofError::Signature));
    assert_refused(&request, cases);
}

#[test]
fn dp_sig_05_06_a_high_s_is_as_good_as_a_low_one() {
    let request = Request::new();
    let good = request.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&decode(signature)).unwrap();
    let (r, s) = (*signature.r(), *signature.s());
    let mirrored = Signature::from_scalars(r, -s).unwrap();
    for signature in [signature, mirrored] {
        let proof = format!("{signed}.{}", encode(signature.to_bytes()));
        let verified = request.verify(&proof).unwrap();
        assert_eq!(verified.jti, "e1j3V_bKic8-LAEB", "dp_sig_07: both have one jti");
    }
}

#[test]
fn a_claim_that_is_missing_or_of_another_type_is_refused() {
    let request = Request::new();
    let claims = request.claims();
    let set = |name: &str, value: Value| request.proof(&with(claims.clone(), name, value));
    let raw = |payload: &str| {
        request
            .key
            .sign_bytes(request.key.proof_header().to_string().as_bytes(), payload.as_bytes())
    };
    let mut cases = vec![
        ("dp_clm_01_array", raw("[]"), ProofError::Malformed),
        ("dp_clm_01_text", raw("x"), ProofError::Malformed),
        ("dp_clm_05", set("jti", json!("j".repeat(257))), ProofError::Malformed),
        ("dp_clm_03_empty", set("jti", json!("")), ProofError::Malformed),
        ("dp_clm_03_spaces", set("jti", json!("  ")), ProofError::Malformed),
        ("dp_clm_07", set("htm", json!("PUT")), ProofError::Method),
        ("dp_clm_08", set("htm", json!("post")), ProofError::Method),
        ("dp_clm_09_space", set("htm", json!(" POST")), ProofError::Method),
        ("dp_clm_10", set("htm", json!("GET")), ProofError::Method),
        ("dp_htu_16", set("htu", json!("https://evil.example/a/b")), ProofError::Uri),
        ("dp_htu_18_empty", set("htu", json!("")), ProofError::Uri),
        ("dp_ath_01", request.proof(&without(claims.clone(), "ath")), ProofError::AccessToken),
        ("dp_ath_02", set("ath", json!(ath("another.token"))), ProofError::AccessToken),
        (
            "dp_ath_03_padding",
            set("ath", json!(format!("{}=", request.ath))),
            ProofError::AccessToken,
        ),
        (
            "dp_ath_03_scheme",
            set("ath", json!(ath(&format!("DPoP {TOKEN}")))),
            ProofError::AccessToken,
        ),
        ("dp_ath_03_case", set("ath", json!(request.ath.to_lowercase())), ProofError::AccessToken),
        ("dp_ath_04_empty", set("ath", json!("")), ProofError::AccessToken),
    ];
    for name in ["jti", "htm", "htu", "iat"] {
        cases.push((
            "dp_clm_02",
            request.proof(&without(claims.clone(), name)),
            ProofError::Malformed,
        ));
    }
    for name in ["jti", "htm", "htu", "ath", "nonce"] {
        for wrong in [json!(7), Value::Null, json!(["x"]), json!({}), json!(true)] {
            cases.push(("dp_clm_03_09_ath_04_non_09", set(name, wrong), ProofError::Malformed));
        }
    }
    for name in ["jti", "htu", "iat", "ath"] {
        let rest = claims.to_string();
        let doubled = format!(r#"{{"{name}":{},{}"#, claims[name], &rest[1..]);
        cases.push(("dp_clm_01_twice", raw(&doubled), ProofError::Malformed));
    }
    assert_refused(&request, cases);
}

#[test]
fn dp_iat_a_time_that_is_no_number_of_seconds_is_refused() {
    let request = Request::new();
    let claims = request.claims();
    let set = |name: &str, value: Value| request.proof(&with(claims.clone(), name, value));
    let header = request.key.proof_header().to_string();
    let raw = |payload: &str| request.key.sign_bytes(header.as_bytes(), payload.as_bytes());
    let mut cases = Vec::new();
    for wrong in [json!("1700000000"), Value::Null, json!(true), json!({})] {
        cases.push(("dp_iat_06", set("iat", wrong.clone()), ProofError::Malformed));
        cases.push(("dp_iat_12", set("exp", wrong.clone()), ProofError::Malformed));
        cases.push(("dp_iat_12", set("nbf", wrong), ProofError::Malformed));
    }
    for wrong in [
        "-1",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
        "1e308",
        "1e999",
        "1700000040000",
    ] {
        let payload = claims.to_string().replace(&NOW.to_string(), wrong);
        cases.push(("dp_iat_08_09", raw(&payload), ProofError::Malformed));
    }
    for old in ["0", "-0", "-0.0"] {
        let payload = claims.to_string().replace(&NOW.to_string(), old);
        let refused = request.verify(&raw(&payload));
        assert!(refused.is_err(), "dp_iat_08 {old}: {refused:?}");
    }
    assert_refused(&request, cases);
}

#[test]
fn a_proof_is_good_from_a_minute_ago_to_a_quarter_ahead() {
    let request = Request::new();
    for (case, offset, is_good) in [
        ("dp_iat_01", 0, true),
        ("dp_iat_02_back", -10, true),
        ("dp_iat_02_ahead", 10, true),
        ("dp_iat_03_edge", -60, true),
        ("dp_iat_03", -61, false),
        ("dp_iat_04_edge", 15, true),
        ("dp_iat_04", 16, false),
        ("dp_iat_04_minute", 60, false),
        ("dp_iat_04_hour", 3600, false),
        ("dp_iat_05", -3600, false),
    ] {
        let proof = request.proof(&with(request.claims(), "iat", json!(NOW + offset)));
        let verified = request.verify(&proof);
        assert_eq!(verified.is_ok(), is_good, "{case}: {verified:?}");
    }
    for (case, name, offset, is_good) in [
        ("dp_iat_11_exp_edge", "exp", -10, true),
        ("dp_iat_11_exp", "exp", -11, false),
        ("dp_iat_11_nbf_edge", "nbf", 15, true),
        ("dp_iat_11_nbf", "nbf", 16, false),
    ] {
        let proof = request.proof(&with(request.claims(), name, json!(NOW + offset)));
        assert_eq!(request.verify(&proof).is_ok(), is_good, "{case}");
    }
}

#[test]
fn dp_key_01_a_proof_of_another_key_breaks_the_binding() {
    let request = Request::new();
    let other = TestKey::generate();
    let proof = other.sign(&other.proof_header(), &request.claims());
    assert_eq!(request.verify(&proof), Err(ProofError::KeyBinding));
}

#[test]
fn dp_key_08_a_token_is_no_proof() {
    let request = Request::new();
    let token = request.key.sign(
        &json!({ "typ": "at+jwt", "alg": "ES256", "kid": "k" }),
        &json!({ "iss": "https://iam.example", "sub": "usr_1" }),
    );
    assert_eq!(request.verify(&token), Err(ProofError::Header));
}

#[test]
fn dp_ref_01_02_without_a_token_a_proof_has_no_ath() {
    let request = Request::new();
    let bare = request.proof(&without(request.claims(), "ath"));
    let verified = request.verify_bound(&bare, Binding::None).unwrap();
    assert_eq!(verified.jkt, request.jkt);
    let with_ath = request.good();
    assert_eq!(request.verify_bound(&with_ath, Binding::None), Err(ProofError::AccessToken));
}

#[test]
fn dp_non_a_required_nonce_is_fresh_and_of_this_key() {
    let mut request = Request::with_nonces();
    let nonces = Nonces::new(&SecretString::from("s".repeat(32)), None).unwrap();
    let fresh = nonces.issue(TENANT, &request.jkt, request.now);
    let proof = |request: &Request, nonce: &str| {
        let claims = with(request.claims(), "iat", json!(request.now.timestamp()));
        request.proof(&with(claims, "nonce", json!(nonce)))
    };

    assert_eq!(request.verify(&request.good()), Err(ProofError::Nonce), "dp_non_01");
    let verified = request.verify(&proof(&request, &fresh)).unwrap();
    assert_eq!(verified.nonce, Some(Freshness::Current), "dp_non_02_03");
    assert_eq!(request.verify(&proof(&request, "")), Err(ProofError::Nonce), "dp_non_09");
    let foreign = nonces.issue(TENANT, &TestKey::generate().jkt(), request.now);
    assert_eq!(request.verify(&proof(&request, &foreign)), Err(ProofError::Nonce), "dp_non_07");
    let other = nonces.issue("tnt_01HZX3V7Q8M4N5P6R7S8T9W0ZZ", &request.jkt, request.now);
    assert_eq!(request.verify(&proof(&request, &other)), Err(ProofError::Nonce), "dp_non_08");
    request.now += TimeDelta::minutes(2);
    let verified = request.verify(&proof(&request, &fresh)).unwrap();
    assert_eq!(verified.nonce, Some(Freshness::Ageing), "dp_non_05_12");
    request.now += TimeDelta::minutes(1);
    assert_eq!(request.verify(&proof(&request, &fresh)), Err(ProofError::Nonce), "dp_non_05");
}

#[test]
fn dp_prec_the_first_doubt_decides() {
    let request = Request::with_nonces();
    let stale = with(request.claims(), "iat", json!(NOW - 3600));
    assert_eq!(request.verify(&request.proof(&stale)), Err(ProofError::Time), "dp_prec_03");
    let elsewhere = with(stale, "htu", json!("https://evil.example/"));
    assert_eq!(request.verify(&request.proof(&elsewhere)), Err(ProofError::Uri), "dp_prec_02");
    let unbound = with(elsewhere, "ath", json!("x"));
    assert_eq!(request.verify(&request.proof(&unbound)), Err(ProofError::AccessToken));
    let other = TestKey::generate();
    let foreign = other.sign(&other.proof_header(), &unbound);
    assert_eq!(request.verify(&foreign), Err(ProofError::KeyBinding));
}

#[test]
fn verifying_costs_little_more_than_the_curve() {
    let request = Request::new();
    let proof = request.good();
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let signature = decode(signature);
    let jwk = request.key.jwk();
    let point =
        [vec![4], decode(jwk["x"].as_str().unwrap()), decode(jwk["y"].as_str().unwrap())].concat();
    let raw = aws_lc_rs::signature::ParsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        &point,
    )
    .unwrap();
    let time = |run: &dyn Fn()| {
        let rounds = 500;
        run();
        let started = Instant::now();
        for _ in 0..rounds {
            run();
        }
        started.elapsed() / rounds
    };
    let curve: Duration = time(&|| raw.verify_sig(signed.as_bytes(), &signature).unwrap());
    let whole: Duration = time(&|| drop(request.verify(&proof).unwrap()));
    println!(
        "one P-256 verification {curve:?}, a whole proof {whole:?}, ratio {:.2}",
        whole.as_secs_f64() / curve.as_secs_f64()
    );
    assert!(request.verify(&proof).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,300}") {
        prop_assert!(Request::new().verify(&text).is_err());
    }

    #[test]
    fn no_bytes_in_the_three_parts_make_it_panic(
        header in proptest::collection::vec(any::<u8>(), 0..200),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let request = Request::new();
        prop_assert!(request.verify(&request.key.sign_bytes(&header, &payload)).is_err());
    }

    #[test]
    fn no_single_changed_letter_leaves_a_proof_good(
        position in 0_usize..500,
        letter in "[A-Za-z0-9_.-]",
    ) {
        let request = Request::new();
        let good = request.good();
        let position = position % good.len();
        let mut changed = good.clone();
        changed.replace_range(position..=position, &letter);
        prop_assert!(changed == good || request.verify(&changed).is_err());
    }
}
