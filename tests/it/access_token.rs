//! Access tokens at the gate: every claim and header of RFC 9068 taken strictly.

use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use backoffice::access::{
    Admission, Issuer, Reason, Refusal, Settings, fence,
    jwks::{self, Algorithm},
};
use chrono::TimeDelta;
use futures::FutureExt;
use p256::ecdsa::Signature;
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::{
    access_keys::{TestKey, ath, decode, encode, with, without},
    access_world::{Setup, World, code, issuer_jwk, opening, reason, serving, set, settings},
};

const INVALID: &str = "MELMASTOON.AUTH.TOKEN_INVALID";
const EXPIRED: &str = "MELMASTOON.AUTH.TOKEN_EXPIRED";
const WRONG_KEY: &str = "MELMASTOON.AUTH.KEY_MISMATCH";
const BAD_PROOF: &str = "MELMASTOON.AUTH.PROOF_INVALID";

/// The code with which a token is refused, in an answer that blames the token.
async fn refused(world: &World, token: &str) -> &'static str {
    blamed("invalid_token", world.enter(token, &world.proof(token)).await)
}

/// The code of a refusal whose challenge has this `error`.
fn blamed(error: &str, admission: Result<Admission, Refusal>) -> &'static str {
    let refusal = admission.expect_err("a refusal");
    let challenge = refusal.challenge().expect("a challenge");
    assert!(challenge.starts_with(&format!("DPoP error=\"{error}\"")), "{challenge}");
    refusal.reason.code()
}

/// The same signature with the other of its two values for s.
fn malleated(jws: &str) -> String {
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&decode(signature)).unwrap();
    let (r, s) = signature.split_scalars();
    let other = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    format!("{signed}.{}", encode(other.to_bytes()))
}

/// What a request without trouble leaves in the session tier.
async fn used(world: &World) -> usize {
    let mut redis = world.redis.clone();
    let keys: Vec<String> =
        redis.keys(format!("{{{}}}:dpop:jti:*", world.tenant_id)).await.unwrap();
    keys.len()
}

#[tokio::test]
async fn dp_at_01_02_08_09_a_header_that_is_not_exactly_an_access_tokens_is_refused() {
    let issuer = TestKey::generate();
    let document = bytes::Bytes::from(json!({ "keys": [issuer_jwk(&issuer)] }).to_string());
    let urls = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&urls);
    let fetch: jwks::Fetch = Arc::new(move |url| {
        asked.lock().unwrap().push(url.to_string());
        let document = document.clone();
        async move { Ok(document) }.boxed()
    });
    let world = World::with(Setup { issuer, fetch, ..Setup::default() });
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let claims = world.token_claims();
    let attacker = TestKey::generate();
    let mut headers = vec![
        ("dp_at_02 missing", without(header.clone(), "kid")),
        ("dp_at_02 unknown", with(header.clone(), "kid", json!("k2"))),
        ("dp_at_02 long", with(header.clone(), "kid", json!("k".repeat(10_000)))),
        ("dp_at_02 empty", with(header.clone(), "kid", json!(""))),
        ("dp_at_02 path", with(header.clone(), "kid", json!("../../k1"))),
        ("dp_at_02 SQL", with(header.clone(), "kid", json!("' or 1=1 --"))),
        ("dp_at_02 CRLF", with(header.clone(), "kid", json!("k1\r\n"))),
        ("dp_at_02 number", with(header.clone(), "kid", json!(1))),
        ("dp_at_08 unknown", with(header.clone(), "crit", json!(["zz"]))),
        ("dp_at_08 empty", with(header.clone(), "crit", json!([]))),
        ("dp_at_08 exp", with(header.clone(), "crit", json!(["exp"]))),
        ("dp_at_09 missing", without(header.clone(), "typ")),
        ("dp_at_09 JWT", with(header.clone(), "typ", json!("JWT"))),
    ];
    for alg in ["none", "None", "HS256", "RS256", "PS256", "ES384", "EdDSA", "es256", ""] {
        headers.push(("dp_at_01 alg", with(header.clone(), "alg", json!(alg))));
    }
    for (case, header) in headers {
        let token = world.issuer.sign(&header, &claims);
        assert_eq!(refused(&world, &token).await, INVALID, "{case}: {header}");
    }
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!(["AA"])),
    ] {
        for signer in [&attacker, &world.issuer] {
            let token = signer.sign(&with(header.clone(), name, value.clone()), &claims);
            assert_eq!(refused(&world, &token).await, INVALID, "dp_at_01 {name}");
        }
    }
    let unsigned = world.token().rsplit_once('.').unwrap().0.to_owned();
    let none = with(header.clone(), "alg", json!("none")).to_string();
    let none = format!("{}.{}", encode(none), unsigned.split_once('.').unwrap().1);
    for token in [format!("{none}."), format!("{none}.AA"), format!("{unsigned}."), unsigned] {
        assert_eq!(refused(&world, &token).await, INVALID, "dp_at_01 unsigned");
    }
    assert_eq!(used(&world).await, 0);

    let full_type = with(header, "typ", json!("application/at+jwt"));
    let token = world.issuer.sign(&full_type, &claims);
    opening(world.enter(&token, &world.proof(&token)).await);
    let urls = urls.lock().unwrap();
    assert!(!urls.is_empty(), "keys are asked for");
    assert!(urls.iter().all(|url| url == "https://iam.example/jwks.json"), "{urls:?}");
}

#[tokio::test]
async fn dp_at_03_04_05_06_07_a_claim_that_is_missing_or_of_another_type_is_refused() {
    let world = World::new();
    let claims = world.token_claims();
    let now = world.now();
    let set = |name: &str, value: Value| with(claims.clone(), name, value);
    let mut cases = vec![
        ("dp_at_03 nbf", set("nbf", json!(now + 11))),
        ("dp_at_03 iat", set("iat", json!(now + 11))),
        ("dp_at_04 far", set("exp", json!(now + 7200))),
        ("dp_at_04 before iat", with(set("iat", json!(now)), "exp", json!(now - 5))),
        ("dp_at_05 missing", without(claims.clone(), "iss")),
        ("dp_at_05 number", set("iss", json!(7))),
        ("dp_at_05 array", set("iss", json!(["https://iam.example", "https://evil.example"]))),
        ("dp_at_05 other", set("iss", json!("https://iam.example/"))),
        ("dp_at_06 missing", without(claims.clone(), "aud")),
        ("dp_at_06 number", set("aud", json!(7))),
        ("dp_at_06 other", set("aud", json!("another"))),
        ("dp_at_06 mixed", set("aud", json!(["bff-backoffice", 7]))),
        ("dp_at_06 none", set("aud", json!([]))),
        ("dp_at_07 missing", without(claims.clone(), "tid")),
        ("dp_at_07 empty", set("tid", json!(""))),
        ("dp_at_07 array", set("tid", json!([world.tenant_id]))),
        ("dp_at_07 number", set("tid", json!(7))),
        ("dp_at_07 lower", set("tid", json!(world.tenant_id.as_str().to_lowercase()))),
        ("dp_at_07 two", set("tenant_id", json!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY"))),
        ("another operator", set("user_id", json!("usr_2"))),
        ("another member of staff", set("staff_id", json!("usr_2"))),
        ("other roles", set("role", json!(["owner"]))),
        ("other properties", set("properties", json!(["ppt_9"]))),
        ("a session that breaks keys", set("sid", json!("a}:b"))),
        ("a locale that is none", set("locale", json!("ps AF\n"))),
        ("an operator that breaks keys", set("sub", json!("a b"))),
        ("roles as text", set("roles", json!("owner"))),
        ("roles of many types", set("roles", json!(["owner", 7]))),
        ("too many roles", set("roles", json!(vec!["owner"; 257]))),
    ];
    for name in ["iss", "aud", "exp", "iat", "sub", "tid", "device_id", "sid"] {
        cases.push(("a claim that is missing", without(claims.clone(), name)));
        cases.push(("a claim that is null", set(name, Value::Null)));
    }
    for name in ["exp", "iat", "nbf"] {
        for wrong in [
            json!("1"),
            json!(1.5),
            json!(-1),
            json!(u64::MAX),
            json!(1e18),
            json!(now * 1000),
            Value::Null,
            json!([now]),
        ] {
            cases.push(("dp_at_04", set(name, wrong)));
        }
    }
    for (case, claims) in cases {
        assert_eq!(refused(&world, &world.token_of(&claims)).await, INVALID, "{case}: {claims}");
    }
    let ended = |ago: i64| with(set("iat", json!(now - 100)), "exp", json!(now - ago));
    assert_eq!(refused(&world, &world.token_of(&ended(11))).await, EXPIRED, "dp_at_03 exp");
    let doubled = format!(r#"{{"tid":"{}",{}"#, world.tenant_id, &claims.to_string()[1..]);
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }).to_string();
    let token = world.issuer.sign_bytes(header.as_bytes(), doubled.as_bytes());
    assert_eq!(refused(&world, &token).await, INVALID, "a claim twice");
    assert_eq!(used(&world).await, 0);
}

#[tokio::test]
async fn dp_at_03_06_07_what_is_within_the_leeway_or_said_twice_alike_is_let_in() {
    let world = World::new();
    let claims = world.token_claims();
    let now = world.now();
    let set = |name: &str, value: Value| with(claims.clone(), name, value);
    let ended = with(set("iat", json!(now - 100)), "exp", json!(now - 10));
    for (case, claims) in [
        ("dp_at_03 exp within", ended),
        ("dp_at_03 nbf within", set("nbf", json!(now + 10))),
        ("dp_at_03 iat within", set("iat", json!(now + 10))),
        ("dp_at_06 array", set("aud", json!(["x", "bff-backoffice"]))),
        ("dp_at_07 both the same", set("tenant_id", claims["tid"].clone())),
    ] {
        let token = world.token_of(&claims);
        let admission = world.enter(&token, &world.proof(&token)).await;
        assert!(admission.is_ok(), "{case}: {admission:?}");
    }
}

#[tokio::test]
async fn dp_at_10_a_revoked_session_is_ended_in_every_spelling_of_its_token() {
    let world = World::new();
    let token = world.token();
    let copy = malleated(&token);
    assert_ne!(copy, token);
    opening(world.enter(&token, &world.proof(&token)).await);
    opening(world.enter(&copy, &world.proof(&copy)).await);
    let fence = fence::session_key(&world.tenant_id, "ses_1");
    let _: () = world.redis.clone().pset_ex(fence, "0", 60_000).await.unwrap();
    for token in [&token, &copy] {
        let code = refused(&world, token).await;
        assert_eq!(code, "MELMASTOON.AUTH.SESSION_REVOKED");
    }
}

#[tokio::test]
async fn dp_at_11_12_a_token_that_is_huge_forged_or_of_another_issuer_is_refused() {
    let (ours, theirs) = (TestKey::generate(), TestKey::generate());
    let documents = [issuer_jwk(&ours), issuer_jwk(&theirs)]
        .map(|jwk| bytes::Bytes::from(json!({ "keys": [jwk] }).to_string()));
    let fetch: jwks::Fetch = Arc::new(move |url| {
        let document = documents[usize::from(url.host_str() == Some("staging.example"))].clone();
        async move { Ok(document) }.boxed()
    });
    let mut settings = settings();
    settings.issuers.push(Issuer {
        iss: "https://staging.example".to_owned(),
        jwks_url: "https://staging.example/jwks.json".parse().unwrap(),
        algorithms: vec![Algorithm::Es256],
    });
    let world = World::with(Setup { settings, issuer: ours, fetch, ..Setup::default() });
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let staging = with(world.token_claims(), "iss", json!("https://staging.example"));
    for (case, token) in [
        ("dp_at_12 their key", theirs.sign(&header, &world.token_claims())),
        ("dp_at_12 their name", world.issuer.sign(&header, &staging)),
        ("dp_at_12 nobody's key", TestKey::generate().sign(&header, &world.token_claims())),
        ("dp_at_11 5 KiB", world.token_of(&with(staging.clone(), "x", json!("x".repeat(5000))))),
        (
            "dp_at_11 a header of 1 KiB",
            world
                .issuer
                .sign(&with(header.clone(), "x", json!("x".repeat(1024))), &world.token_claims()),
        ),
        ("dp_at_11", world.token_of(&with(world.token_claims(), "x", json!("x".repeat(8192))))),
    ] {
        assert_eq!(refused(&world, &token).await, INVALID, "{case}");
    }
    let good = world.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let changed = with(world.token_claims(), "sub", json!("usr_9")).to_string();
    let spliced = format!("{}.{}.{signature}", signed.split_once('.').unwrap().0, encode(changed));
    assert_eq!(refused(&world, &spliced).await, INVALID);
    assert_eq!(used(&world).await, 0);

    let token = theirs.sign(&header, &staging);
    opening(world.enter(&token, &world.proof(&token)).await);
}

#[tokio::test]
async fn dp_key_01_07_11_12_the_key_of_the_proof_and_the_device_are_those_of_the_token() {
    let world = World::new();
    let token = world.token();
    let other = TestKey::generate();
    let proof = other.sign(&other.proof_header(), &world.proof_claims(&token));
    let refusal = world.enter(&token, &proof).await;
    assert!(matches!(&refusal, Err(it) if it.challenge().unwrap().contains("key binding")));
    assert_eq!(blamed("invalid_token", refusal), WRONG_KEY, "dp_key_01");

    let theirs = format!("dev_{}", ulid::Ulid::generate());
    for (case, device, expected) in [
        ("dp_key_12 another", Some("dev_2"), (401, WRONG_KEY)),
        ("dp_key_12 another tenant's", Some(theirs.as_str()), (401, WRONG_KEY)),
        ("dp_key_12 missing", None, (400, "MELMASTOON.GENERAL.VALIDATION_FAILED")),
        ("dp_key_12 empty", Some(""), (400, "MELMASTOON.GENERAL.VALIDATION_FAILED")),
        ("dp_key_12 no id", Some("a b"), (400, "MELMASTOON.GENERAL.VALIDATION_FAILED")),
    ] {
        let mut headers = World::headers(&token, &world.proof(&token));
        headers.remove("x-device-id");
        if let Some(device) = device {
            set(&mut headers, "x-device-id", device);
        }
        let refused = reason(world.send(&headers).await);
        assert_eq!((refused.status().as_u16(), refused.code()), expected, "{case}");
    }
    let mut headers = World::headers(&token, &world.proof(&token));
    headers.append("x-device-id", "dev_1".parse().unwrap());
    let twice = reason(world.send(&headers).await);
    assert!(matches!(twice, Reason::HeaderInvalid("X-Device-Id")), "dp_key_12 twice");

    let device = fence::device_key(&world.tenant_id, &"dev_1".parse().unwrap());
    let mut redis = world.redis.clone();
    let revoked_at = world.now() * 1000;
    let _: () = redis.pset_ex(&device, revoked_at, 60_000).await.unwrap();
    let refused = refused(&world, &token).await;
    assert_eq!(refused, "MELMASTOON.AUTH.SESSION_REVOKED", "dp_key_11");
    let _: () = redis.del(&device).await.unwrap();
    assert_eq!(used(&world).await, 0);

    let jwk = world.device.jwk();
    let reordered = format!(
        r#"{{"typ":"dpop+jwt","jwk":{{"y":{},"kid":"k","x":{},"use":"sig","ext":true,"kty":"EC","key_ops":["verify"],"crv":"P-256"}},"alg":"ES256"}}"#,
        jwk["y"], jwk["x"]
    );
    let claims = world.proof_claims(&token).to_string();
    let proof = world.device.sign_bytes(reordered.as_bytes(), claims.as_bytes());
    opening(world.enter(&token, &proof).await);
}

#[tokio::test]
async fn dp_key_02_03_04_05_06_a_token_is_bound_by_the_thumbprint_of_a_key_and_nothing_else() {
    let world = World::new();
    let jkt = world.device.jkt();
    let bound = |cnf: Value| world.token_of(&with(world.token_claims(), "cnf", cnf));
    let swapped: String = jkt
        .chars()
        .map(|it| if it.is_lowercase() { it.to_ascii_uppercase() } else { it.to_ascii_lowercase() })
        .collect();
    let mut cases = vec![
        ("dp_key_03 padding", json!({ "jkt": format!("{jkt}=") })),
        ("dp_key_03 letters", json!({ "jkt": "*".repeat(43) })),
        ("dp_key_03 short", json!({ "jkt": &jkt[..42] })),
        ("dp_key_05 x5t", json!({ "x5t#S256": jkt })),
        ("dp_key_05 jwk", json!({ "jwk": world.device.jwk() })),
        ("dp_key_05 jku", json!({ "jku": "https://evil.example/", "kid": "k" })),
        ("dp_key_05 jwe", json!({ "jwe": "e30.AA.AA.AA.AA" })),
        ("dp_key_02 list of it", json!([jkt])),
    ];
    for cnf in [json!(jkt), json!(7), json!([]), Value::Null, json!(true)] {
        cases.push(("dp_key_02", cnf));
    }
    for cnf in [
        json!({}),
        json!({ "jkt": null }),
        json!({ "jkt": 7 }),
        json!({ "jkt": "" }),
        json!({ "jkt": [jkt] }),
    ] {
        cases.push(("dp_key_03", cnf));
    }
    for (case, cnf) in cases {
        assert_eq!(refused(&world, &bound(cnf.clone())).await, INVALID, "{case}: {cnf}");
    }
    let other_case = refused(&world, &bound(json!({ "jkt": swapped }))).await;
    assert!([INVALID, WRONG_KEY].contains(&other_case), "dp_key_06: {other_case}");
    assert_eq!(used(&world).await, 0);

    let token = bound(json!({ "jkt": jkt, "x5t#S256": "x", "more": 1 }));
    opening(world.enter(&token, &world.proof(&token)).await);
}

#[tokio::test]
async fn dp_key_08_09_10_no_other_jwt_stands_for_a_token_or_a_proof() {
    let world = World::new();
    let token = world.token();
    let proof = world.proof(&token);
    let swapped = world.enter(&token, &token).await;
    assert_eq!(blamed("invalid_dpop_proof", swapped), BAD_PROOF, "dp_key_08 token as proof");
    assert_eq!(refused(&world, &proof).await, INVALID, "dp_key_08 proof as token");

    for typ in ["JWT", "dpop+jwt", "logout+jwt", "id_token+jwt", "mfa+jwt", ""] {
        let header = json!({ "alg": "ES256", "typ": typ, "kid": "k1" });
        let other = world.issuer.sign(&header, &world.token_claims());
        assert_eq!(refused(&world, &other).await, INVALID, "dp_key_09 {typ}");
    }
    let cursor = encode([7; 40]);
    for opaque in ["rft_01HZX3V7Q8M4N5P6R7S8T9W0XY", "mfa_01HZX3V7Q8M4N5P6R7S8T9W0XY", &cursor] {
        assert_eq!(refused(&world, opaque).await, INVALID, "dp_key_09 {opaque}");
    }

    let claims = world.proof_claims(&token);
    for typ in ["key-attestation+jwt", "openid4vci-proof+jwt", "JWT", "at+jwt"] {
        let header = with(world.device.proof_header(), "typ", json!(typ));
        let attestation = world.device.sign(&header, &claims);
        let refused = world.enter(&token, &attestation).await;
        assert_eq!(blamed("invalid_dpop_proof", refused), BAD_PROOF, "dp_key_10 {typ}");
    }
    assert_eq!(used(&world).await, 0);
    opening(world.enter(&token, &proof).await);
}

#[tokio::test]
async fn dp_hdr_17_18_23_24_with_the_switch_bearer_needs_every_check_of_dpop() {
    let settings = Settings { bearer_with_proof: true, ..settings() };
    let world = World::with(Setup { settings, ..Setup::default() });
    let token = world.token();
    let bearer = |token: &str, proof: &str| {
        let mut headers = World::headers(token, proof);
        set(&mut headers, "authorization", &format!("Bearer {token}"));
        headers
    };
    let other = TestKey::generate();
    let foreign = other.sign(&other.proof_header(), &world.proof_claims(&token));
    let refused = reason(world.send(&bearer(&token, &foreign)).await);
    assert!(matches!(refused, Reason::KeyMismatch));
    let mut alone = bearer(&token, "");
    alone.remove("dpop");
    assert!(matches!(reason(world.send(&alone).await), Reason::ProofMissing));
    let unbound = world.token_of(&without(world.token_claims(), "cnf"));
    let unbound = bearer(&unbound, &world.proof(&unbound));
    assert_eq!(code(world.send(&unbound).await), INVALID, "dp_hdr_23");
    let stale = with(world.proof_claims(&token), "iat", json!(world.now() - 61));
    assert_eq!(code(world.send(&bearer(&token, &world.proof_of(&stale))).await), BAD_PROOF);
    let elsewhere = with(world.proof_claims(&token), "ath", json!(ath("another")));
    assert_eq!(code(world.send(&bearer(&token, &world.proof_of(&elsewhere))).await), BAD_PROOF);
    assert_eq!(used(&world).await, 0);

    let proof = world.proof(&token);
    opening(world.send(&bearer(&token, &proof)).await);
    let again = code(world.send(&bearer(&token, &proof)).await);
    assert_eq!(again, "MELMASTOON.AUTH.PROOF_REPLAYED");
}

#[tokio::test]
async fn what_the_platform_calls_otherwise_is_read_as_well() {
    let world = World::new();
    let claims = world.token_claims();
    let renamed =
        |from: &str, to: &str| with(without(claims.clone(), from), to, claims[from].clone());
    for (case, claims) in [
        ("tenant_id", renamed("tid", "tenant_id")),
        ("user_id", renamed("sub", "user_id")),
        ("staff_id", renamed("sub", "staff_id")),
        ("session_id", renamed("sid", "session_id")),
        ("role", renamed("roles", "role")),
        ("propertyScope", renamed("property_ids", "propertyScope")),
        ("both the same", with(claims.clone(), "tenant_id", claims["tid"].clone())),
        ("no roles", without(claims.clone(), "roles")),
        ("no properties", without(claims.clone(), "property_ids")),
    ] {
        let token = world.token_of(&claims);
        let admission = world.enter(&token, &world.proof(&token)).await;
        assert!(admission.is_ok(), "{case}: {admission:?}");
    }
}

#[tokio::test]
async fn an_issuer_may_sign_with_ed25519_where_its_list_says_so() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = encode(pair.public_key().as_ref());
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e1", "use": "sig", "x": x });
    let sign = |claims: &Value| {
        let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": "e1" });
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = pair.sign(signed.as_bytes());
        format!("{signed}.{}", encode(signature.as_ref()))
    };
    let world_of = |algorithms: Vec<Algorithm>| {
        let mut settings = settings();
        settings.issuers[0].algorithms = algorithms;
        let fetch = serving(&json!({ "keys": [jwk] }));
        World::with(Setup { settings, fetch, ..Setup::default() })
    };

    let world = world_of(vec![Algorithm::EdDsa]);
    let token = sign(&world.token_claims());
    opening(world.enter(&token, &world.proof(&token)).await);
    assert_eq!(refused(&world, &world.token()).await, INVALID, "ES256 is not in its list");

    let world = world_of(vec![Algorithm::Es256]);
    assert_eq!(refused(&world, &sign(&world.token_claims())).await, INVALID, "EdDSA is not");
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let world = World::new();
    let token = world.token();
    opening(world.enter(&token, &world.proof(&token)).await);

    world.clock.advance(TimeDelta::seconds(901));

    let refused = world.enter(&token, &world.proof(&token)).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TokenExpired), "{refused:?}");

    // Within the minute for which it is remembered.
    let world = World::new();
    let token = world.token_of(&with(world.token_claims(), "exp", json!(world.now() + 5)));
    opening(world.enter(&token, &world.proof(&token)).await);
    world.clock.advance(TimeDelta::seconds(50));
    let refused = world.enter(&token, &world.proof(&token)).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TokenExpired), "{refused:?}");
}

#[tokio::test]
async fn a_proof_whose_header_is_larger_than_any_is_refused() {
    let world = World::new();
    let token = world.token();
    for (bytes, is_good) in [(700, true), (900, false)] {
        let mut claims = world.proof_claims(&token);
        claims["jti"] = json!(ulid::Ulid::generate().to_string());
        let header = with(world.device.proof_header(), "x", json!("x".repeat(bytes)));
        let proof = world.device.sign(&header, &claims);
        assert!(proof.len() <= 2048, "not refused for its length");
        let admission = world.enter(&token, &proof).await;
        assert_eq!(admission.is_ok(), is_good, "{bytes}: {admission:?}");
    }
}

#[tokio::test]
async fn dp_prec_01_an_expired_token_is_said_before_a_bad_proof() {
    let world = World::new();
    let claims = with(world.token_claims(), "iat", json!(world.now() - 1000));
    let token = world.token_of(&with(claims, "exp", json!(world.now() - 100)));
    let refused = world.enter(&token, "e30.e30.AA").await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TokenExpired));
}
