//! Access tokens for sessions, and the document that sign-in and refresh answer with.

use serde_json::{Map, Value, json};

use crate::{
    clock, identifier,
    identity::{Membership, Session},
    issuer::Issuer,
};

/// The audience of every access token for the back office.
const AUDIENCE: &str = "bff-backoffice";

/// A fresh access token and the session's refresh token, as iam answers them.
pub fn document(issuer: &Issuer, session: &Session, membership: &Membership) -> Value {
    json!({
        "accessToken": issuer.sign(&claims(issuer, session, membership)),
        "refreshToken": session.refresh_token(),
        "tokenType": "DPoP",
        "expiresIn": session.ttl_seconds,
        "tenantId": session.tenant_id,
        "operatorId": session.operator_id,
        "deviceId": session.device_id,
        "propertyIds": membership.property_ids,
    })
}

fn claims(issuer: &Issuer, session: &Session, membership: &Membership) -> Value {
    let issued_at = clock::now().timestamp();
    let mut claims = Map::from_iter([
        ("iss".to_owned(), json!(issuer.name)),
        ("aud".to_owned(), json!(AUDIENCE)),
        ("sub".to_owned(), json!(session.operator_id)),
        ("tenant_id".to_owned(), json!(session.tenant_id)),
        ("device_id".to_owned(), json!(session.device_id)),
        ("sid".to_owned(), json!(session.id)),
        ("jti".to_owned(), json!(identifier::fresh("jti"))),
        ("roles".to_owned(), json!(membership.roles)),
        ("property_ids".to_owned(), json!(membership.property_ids)),
        ("locale".to_owned(), json!(session.locale)),
        ("iat".to_owned(), json!(issued_at)),
        ("exp".to_owned(), json!(issued_at + session.ttl_seconds)),
        ("cnf".to_owned(), json!({ "jkt": session.jkt })),
    ]);
    for (name, value) in session.claims.as_object().into_iter().flatten() {
        if value.is_null() {
            claims.remove(name);
        } else {
            claims.insert(name.clone(), value.clone());
        }
    }
    Value::Object(claims)
}
