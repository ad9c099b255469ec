//! Sign-in, tokens, refresh, step-up and memberships.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Bench, answer, text};

/// RFC 7638 thumbprint of the device key, computed with jwcrypto beforehand.
const DEVICE_THUMBPRINT: &str = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s";

#[tokio::test]
async fn a_token_verifies_against_the_published_keys_also_after_a_rotation() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let before = bench.sign_in(&tenant_id, &json!({})).await;

    let (_, rotated) = bench.post("/sim/keys/rotate", &json!({})).await;
    let after = bench.sign_in(&tenant_id, &json!({})).await;

    let keys = bench.get("/.well-known/jwks.json").await;
    for answered in [&before, &after] {
        let (header, claims) = verify(&text(&answered["accessToken"]), &keys).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(claims["iss"], "https://iam.melmastoon.internal");
        assert_eq!(claims["tenant_id"], tenant_id.as_str());
        assert_eq!(claims["device_id"], answered["deviceId"]);
        assert_eq!(claims["sub"], answered["operatorId"]);
        assert_eq!(claims["cnf"]["jkt"], DEVICE_THUMBPRINT);
        assert_eq!(claims["roles"], json!(["front_desk", "property_manager"]));
        assert_eq!(claims["property_ids"], answered["propertyIds"]);
        let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 900);
    }
    let (header, _) = verify(&text(&after["accessToken"]), &keys).unwrap();
    assert_eq!(header.kid.as_deref(), rotated["kid"].as_str());
    bench.stop().await;
}

#[tokio::test]
async fn a_dropped_key_verifies_nothing_any_more() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let before = bench.sign_in(&tenant_id, &json!({})).await;

    bench.post("/sim/keys/rotate?drop=true", &json!({})).await;

    let keys = bench.get("/.well-known/jwks.json").await;
    assert!(verify(&text(&before["accessToken"]), &keys).is_none());
    bench.stop().await;
}

#[tokio::test]
async fn claims_override_any_claim_and_null_removes_it() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;

    let claims = json!({ "aud": "somebody-else", "sid": null, "extra": 1 });
    let answered = bench.sign_in(&tenant_id, &json!({ "claims": claims })).await;

    let keys = bench.get("/.well-known/jwks.json").await;
    let (_, claims) = verify(&text(&answered["accessToken"]), &keys).unwrap();
    assert_eq!(claims["aud"], "somebody-else");
    assert_eq!(claims["extra"], 1);
    assert!(claims.get("sid").is_none());
    bench.stop().await;
}

#[tokio::test]
async fn sign_in_registers_the_device_and_the_membership() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;

    let more = json!({ "roles": ["housekeeper"], "propertyIds": ["ppt_A"] });
    let signed_in = bench.sign_in(&tenant_id, &more).await;

    let operator_id = text(&signed_in["operatorId"]);
    let path = format!("/tenant-service/api/v1/tenants/{tenant_id}/memberships/{operator_id}");
    let (status, body) = answer(bench.read(&tenant_id, &path)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        body["data"],
        json!({
            "operatorId": operator_id,
            "roles": ["housekeeper"],
            "propertyIds": ["ppt_A"],
            "status": "active",
        })
    );
    let path = format!("/iam-service/api/v1/devices?operatorId={operator_id}");
    let (_, devices) = answer(bench.read(&tenant_id, &path)).await;
    assert_eq!(devices["items"][0]["id"], signed_in["deviceId"]);
    assert_eq!(devices["items"][0]["jkt"], DEVICE_THUMBPRINT);
    bench.stop().await;
}

#[tokio::test]
async fn an_unknown_operator_and_another_tenant_are_not_found() {
    let bench = Bench::start().await;
    let world = bench.get("/sim/world").await;
    let (one, other) = (text(&world["tenants"][0]["id"]), text(&world["tenants"][1]["id"]));

    let path = format!("/tenant-service/api/v1/tenants/{one}/memberships/usr_NOBODY");
    assert_eq!(answer(bench.read(&one, &path)).await.0, StatusCode::NOT_FOUND);
    let path = format!("/tenant-service/api/v1/tenants/{other}");
    assert_eq!(answer(bench.read(&one, &path)).await.0, StatusCode::NOT_FOUND);
    assert_eq!(answer(bench.read(&other, &path)).await.0, StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn a_refresh_rotates_the_token_and_repeats_under_its_key() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let signed_in = bench.sign_in(&tenant_id, &json!({})).await;

    let first = refresh(&bench, &signed_in["refreshToken"], "KEY1").await;
    let repeated = refresh(&bench, &signed_in["refreshToken"], "KEY1").await;
    let second = refresh(&bench, &first.1["refreshToken"], "KEY2").await;

    assert_eq!(first.0, StatusCode::OK);
    assert_eq!(first, repeated);
    assert_eq!(second.0, StatusCode::OK);
    assert_ne!(first.1["refreshToken"], signed_in["refreshToken"]);
    let keys = bench.get("/.well-known/jwks.json").await;
    let (_, old) = verify(&text(&signed_in["accessToken"]), &keys).unwrap();
    let (_, new) = verify(&text(&second.1["accessToken"]), &keys).unwrap();
    assert_eq!(old["sid"], new["sid"]);
    assert_eq!(old["cnf"], new["cnf"]);
    bench.stop().await;
}

#[tokio::test]
async fn a_refresh_token_used_twice_revokes_its_family() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let signed_in = bench.sign_in(&tenant_id, &json!({})).await;
    let (_, first) = refresh(&bench, &signed_in["refreshToken"], "KEY1").await;

    let reused = refresh(&bench, &signed_in["refreshToken"], "KEY2").await;
    let current = refresh(&bench, &first["refreshToken"], "KEY3").await;

    for (status, body) in [reused, current] {
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(body["error"], "invalid_grant");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_refresh_for_another_key_is_refused_and_uses_nothing_up() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let signed_in = bench.sign_in(&tenant_id, &json!({})).await;

    let body = json!({ "refreshToken": signed_in["refreshToken"], "jkt": "another" });
    let request = bench.mutate(&tenant_id, "/iam-service/api/v1/auth/refresh", "KEY1").json(&body);
    let (status, problem) = answer(request).await;

    assert_eq!((status, &problem["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
    let (status, _) = refresh(&bench, &signed_in["refreshToken"], "KEY2").await;
    assert_eq!(status, StatusCode::OK);
    bench.stop().await;
}

#[tokio::test]
async fn step_up_takes_the_one_code_and_no_other() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let signed_in = bench.sign_in(&tenant_id, &json!({})).await;
    let step_up = |code: &str, key: &str| {
        let body = json!({
            "operatorId": signed_in["operatorId"],
            "deviceId": signed_in["deviceId"],
            "scope": "lock.revoke",
            "factor": "totp",
            "code": code,
        });
        answer(bench.mutate(&tenant_id, "/iam-service/api/v1/auth/step-up", key).json(&body))
    };

    let (status, attestation) = step_up("000000", "KEY1").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(attestation["scope"], "lock.revoke");
    assert_eq!(attestation["sub"], signed_in["operatorId"]);
    assert_eq!(step_up("000001", "KEY2").await.0, StatusCode::FORBIDDEN);
    bench.stop().await;
}

#[tokio::test]
async fn preferences_are_written_only_over_the_version_that_was_read() {
    let bench = Bench::start().await;
    let tenant_id = first_tenant(&bench).await;
    let signed_in = bench.sign_in(&tenant_id, &json!({})).await;
    let path = format!(
        "/tenant-service/api/v1/tenants/{tenant_id}/operators/{}/preferences",
        text(&signed_in["operatorId"])
    );
    let put = |tag: &'static str, key: &'static str, theme: &'static str| {
        let request = bench
            .request(Method::PUT, &path)
            .header("Authorization", "Bearer id-token")
            .header("X-Tenant-Id", &tenant_id)
            .header("Idempotency-Key", key)
            .header("If-Match", tag);
        answer(request.json(&json!({ "theme": theme })))
    };

    assert_eq!(put("\"v0\"", "KEY1", "dark").await.0, StatusCode::OK);
    assert_eq!(put("\"v0\"", "KEY2", "light").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put("\"v1\"", "KEY3", "light").await.0, StatusCode::OK);

    let response = bench.read(&tenant_id, &path).send().await.unwrap();
    assert_eq!(response.headers()["etag"], "\"v2\"");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["data"], json!({ "theme": "light" }));
    bench.stop().await;
}

async fn refresh(bench: &Bench, token: &Value, key: &str) -> (StatusCode, Value) {
    // No tenant: whoever refreshes knows only the refresh token.
    let request = bench
        .request(Method::POST, "/iam-service/api/v1/auth/refresh")
        .header("Authorization", "Bearer id-token")
        .header("Idempotency-Key", key);
    answer(request.json(&json!({ "refreshToken": token }))).await
}

async fn first_tenant(bench: &Bench) -> String {
    text(&bench.get("/sim/world").await["tenants"][0]["id"])
}

fn verify(token: &str, keys: &Value) -> Option<(jsonwebtoken::Header, Value)> {
    let keys: JwkSet = serde_json::from_value(keys.clone()).unwrap();
    let header = jsonwebtoken::decode_header(token).unwrap();
    let key = DecodingKey::from_jwk(keys.find(header.kid.as_deref()?)?).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["bff-backoffice", "somebody-else"]);
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap();
    Some((header, decoded.claims))
}
