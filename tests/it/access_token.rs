//! Access tokens at the gate: every claim and header of RFC 9068 taken strictly.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use backoffice::access::{Reason, jwks::Algorithm};
use serde_json::{Value, json};

use crate::{
    access_keys::{TestKey, encode, with, without},
    access_world::{Setup, World, code, opening, serving, settings},
};

const INVALID: &str = "MELMASTOON.AUTH.TOKEN_INVALID";

async fn refused(world: &World, token: &str) -> &'static str {
    code(world.enter(token, &world.proof(token)).await)
}

#[tokio::test]
async fn dp_at_a_header_that_is_not_exactly_an_access_tokens_is_refused() {
    let world = World::new();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let claims = world.token_claims();
    let mut headers = vec![
        ("dp_at_02_missing", without(header.clone(), "kid")),
        ("dp_at_02_long", with(header.clone(), "kid", json!("k".repeat(10_000)))),
        ("dp_at_02_empty", with(header.clone(), "kid", json!(""))),
        ("dp_at_02_path", with(header.clone(), "kid", json!("../../k1"))),
        ("dp_at_02_sql", with(header.clone(), "kid", json!("' or 1=1 --"))),
        ("dp_at_02_crlf", with(header.clone(), "kid", json!("k1\r\n"))),
        ("dp_at_08", with(header.clone(), "crit", json!(["zz"]))),
        ("dp_at_09_missing", without(header.clone(), "typ")),
        ("dp_at_01_jwk", with(header.clone(), "jwk", TestKey::generate().jwk())),
        ("dp_at_01_jku", with(header.clone(), "jku", json!("https://evil.example/"))),
        ("dp_at_01_x5u", with(header.clone(), "x5u", json!("https://evil.example/"))),
    ];
    for alg in ["none", "HS256", "RS256", "ES384", "EdDSA", "es256"] {
        headers.push(("dp_at_01", with(header.clone(), "alg", json!(alg))));
    }
    for typ in ["JWT", "dpop+jwt", "logout+jwt", ""] {
        headers.push(("dp_at_09_dp_key_09", with(header.clone(), "typ", json!(typ))));
    }
    for (case, header) in headers {
        let token = world.issuer.sign(&header, &claims);
        assert_eq!(refused(&world, &token).await, INVALID, "{case}");
    }
    let full_type = with(header, "typ", json!("application/at+jwt"));
    let token = world.issuer.sign(&full_type, &claims);
    opening(world.enter(&token, &world.proof(&token)).await);
}

#[tokio::test]
async fn dp_at_a_token_that_is_not_the_issuers_is_refused() {
    let world = World::new();
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" });
    let forged = TestKey::generate().sign(&header, &world.token_claims());
    assert_eq!(refused(&world, &forged).await, INVALID, "dp_at_12");

    let good = world.token();
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let changed = with(world.token_claims(), "sub", json!("usr_9")).to_string();
    let spliced = format!("{header}.{}.{}", encode(changed), good.rsplit_once('.').unwrap().1);
    assert_eq!(refused(&world, &spliced).await, INVALID);
    assert_eq!(refused(&world, &format!("{signed}.")).await, INVALID);
    let huge = world.token_of(&with(world.token_claims(), "x", json!("x".repeat(8192))));
    assert_eq!(refused(&world, &huge).await, INVALID, "dp_at_11");
    assert_eq!(refused(&world, &world.proof("x")).await, INVALID, "dp_key_08");
}

#[tokio::test]
async fn dp_at_a_claim_that_is_missing_or_of_another_type_is_refused() {
    let world = World::new();
    let claims = world.token_claims();
    let now = world.now();
    let set = |name: &str, value: Value| with(claims.clone(), name, value);
    let mut cases = vec![
        ("dp_at_03_nbf", set("nbf", json!(now + 11))),
        ("dp_at_03_iat", set("iat", json!(now + 11))),
        ("dp_at_04_far", set("exp", json!(now + 7200))),
        ("dp_at_04_before_iat", with(set("iat", json!(now)), "exp", json!(now - 5))),
        ("dp_at_05_number", set("iss", json!(7))),
        ("dp_at_05_array", set("iss", json!(["https://iam.example", "https://evil.example"]))),
        ("dp_at_05_other", set("iss", json!("https://iam.example/"))),
        ("dp_at_06_number", set("aud", json!(7))),
        ("dp_at_06_other", set("aud", json!("another"))),
        ("dp_at_06_mixed", set("aud", json!(["bff-backoffice", 7]))),
        ("dp_at_07_empty", set("tid", json!(""))),
        ("dp_at_07_array", set("tid", json!([world.tenant_id]))),
        ("dp_at_07_lower", set("tid", json!(world.tenant_id.as_str().to_lowercase()))),
        ("dp_at_07_two", set("tenant_id", json!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY"))),
        ("alias_user", set("user_id", json!("usr_2"))),
        ("alias_staff", set("staff_id", json!("usr_2"))),
        ("alias_roles", set("role", json!(["owner"]))),
        ("alias_properties", set("properties", json!(["ppt_9"]))),
        ("sid_key_breaking", set("sid", json!("a}:b"))),
        ("locale_no_tag", set("locale", json!("ps AF\n"))),
        ("sub_key_breaking", set("sub", json!("a b"))),
        ("roles_text", set("roles", json!("owner"))),
        ("roles_mixed", set("roles", json!(["owner", 7]))),
        ("roles_many", set("roles", json!(vec!["owner"; 257]))),
        ("dp_hdr_24", without(claims.clone(), "cnf")),
        ("dp_key_03_pad", set("cnf", json!({ "jkt": format!("{}=", world.device.jkt()) }))),
        ("dp_key_03_wrong", set("cnf", json!({ "jkt": "*".repeat(43) }))),
        ("dp_key_05", set("cnf", json!({ "x5t#S256": world.device.jkt() }))),
        ("dp_key_05_jwk", set("cnf", json!({ "jwk": world.device.jwk() }))),
    ];
    for name in ["iss", "aud", "exp", "iat", "sub", "tid", "device_id", "sid"] {
        cases.push(("dp_at_missing", without(claims.clone(), name)));
        cases.push(("dp_at_null", set(name, Value::Null)));
    }
    for name in ["exp", "iat", "nbf"] {
        for wrong in [json!("1"), json!(1.5), json!(-1), json!(u64::MAX), json!(now * 1000)] {
            cases.push(("dp_at_04", set(name, wrong)));
        }
    }
    for cnf in [
        json!("x"),
        json!(7),
        json!([]),
        Value::Null,
        json!(true),
        json!({}),
        json!({ "jkt": null }),
        json!({ "jkt": 7 }),
        json!({ "jkt": "" }),
        json!([world.device.jkt()]),
    ] {
        cases.push(("dp_key_02_03", set("cnf", cnf)));
    }
    for (case, claims) in cases {
        assert_eq!(refused(&world, &world.token_of(&claims)).await, INVALID, "{case}: {claims}");
    }
    let doubled = format!(r#"{{"tid":"{}",{}"#, world.tenant_id, &claims.to_string()[1..]);
    let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k1" }).to_string();
    let token = world.issuer.sign_bytes(header.as_bytes(), doubled.as_bytes());
    assert_eq!(refused(&world, &token).await, INVALID, "duplicate claim");
}

#[tokio::test]
async fn dp_at_what_the_platform_calls_otherwise_is_read_as_well() {
    let world = World::new();
    let claims = world.token_claims();
    let renamed =
        |from: &str, to: &str| with(without(claims.clone(), from), to, claims[from].clone());
    for (case, claims) in [
        ("dp_at_06_array", with(claims.clone(), "aud", json!(["x", "bff-backoffice"]))),
        ("dp_key_04", with(claims.clone(), "cnf", json!({ "jkt": world.device.jkt(), "x": 1 }))),
        ("tenant_id", renamed("tid", "tenant_id")),
        ("user_id", renamed("sub", "user_id")),
        ("staff_id", renamed("sub", "staff_id")),
        ("session_id", renamed("sid", "session_id")),
        ("role", renamed("roles", "role")),
        ("propertyScope", renamed("property_ids", "propertyScope")),
        ("both the same", with(claims.clone(), "tenant_id", claims["tid"].clone())),
        ("no roles", without(claims.clone(), "roles")),
        ("no properties", without(claims.clone(), "property_ids")),
        (
            "dp_at_03_within",
            with(
                with(claims.clone(), "iat", json!(world.now() - 100)),
                "exp",
                json!(world.now() - 10),
            ),
        ),
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

    world.clock.advance(chrono::TimeDelta::seconds(901));

    let refused = world.enter(&token, &world.proof(&token)).await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TokenExpired), "{refused:?}");
}

#[tokio::test]
async fn dp_prec_01_an_expired_token_is_said_before_a_bad_proof() {
    let world = World::new();
    let claims = with(world.token_claims(), "iat", json!(world.now() - 1000));
    let token = world.token_of(&with(claims, "exp", json!(world.now() - 100)));
    let refused = world.enter(&token, "e30.e30.AA").await.unwrap_err();
    assert!(matches!(refused.reason, Reason::TokenExpired));
}
