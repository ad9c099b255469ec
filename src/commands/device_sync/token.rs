//! The token with which a desktop exchanges data with sync-service, and the public keys by which
//! that service believes it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use chrono::{DateTime, TimeDelta, Utc};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::DecodePrivateKey,
};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::{access::Caller, secrets::Rotating};

/// How long a token is good.
pub const LIFETIME: TimeDelta = TimeDelta::minutes(10);
/// `iss` of the tokens.
pub const ISSUER: &str = "bff-backoffice-service";
/// `aud` of the tokens.
pub const AUDIENCE: &str = "sync-service";

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// The secret is no private key of P-256 as PKCS#8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sync-signing-key is no P-256 key as PKCS#8 PEM")]
pub struct NoKey;

/// The keys in use. Cheap to clone; clones see a rotation.
#[derive(Clone)]
pub struct SyncKeys(Arc<ArcSwap<Keys>>);

struct Keys {
    current: Key,
    /// The current one's first.
    published: Vec<Value>,
}

struct Key {
    id: String,
    signing: SigningKey,
}

/// A token that was made.
pub struct Grant {
    /// Compact JWS.
    pub token: String,
    /// Its `jti`, a ULID.
    pub token_id: String,
    pub expires_at: DateTime<Utc>,
}

impl SyncKeys {
    /// # Errors
    /// [`NoKey`].
    pub fn new(secret: &Rotating) -> Result<Self, NoKey> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(Keys::read(secret)?))))
    }

    /// Makes with the current key from now on, and publishes the previous ones beside it.
    ///
    /// # Errors
    /// [`NoKey`]; the keys in use stay.
    pub fn rotate(&self, secret: &Rotating) -> Result<(), NoKey> {
        self.0.store(Arc::new(Keys::read(secret)?));
        Ok(())
    }

    /// The JWKs (RFC 7517) that verify every token that is still good.
    pub fn published(&self) -> Vec<Value> {
        self.0.load().published.clone()
    }

    /// A token for the caller's device, bound to its key.
    pub fn grant(&self, caller: &Caller, at: DateTime<Utc>) -> Grant {
        let expires_at = at + LIFETIME;
        let token_id = Ulid::generate().to_string();
        let claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": caller.operator_id,
            "jti": token_id,
            "iat": at.timestamp(),
            "nbf": at.timestamp(),
            "exp": expires_at.timestamp(),
            "tenantId": caller.tenant_id,
            "deviceId": caller.device_id,
            "sessionId": caller.session_id,
            "propertyIds": caller.property_ids,
            "cnf": { "jkt": caller.jkt },
        });
        let token = self.0.load().current.sign(&claims);
        Grant { token, token_id, expires_at }
    }
}

impl Keys {
    fn read(secret: &Rotating) -> Result<Self, NoKey> {
        let current = Key::read(&secret.current)?;
        let mut published = vec![current.jwk()];
        for previous in &secret.previous {
            published.push(Key::read(previous)?.jwk());
        }
        Ok(Self { current, published })
    }
}

impl Key {
    /// Reads PKCS#8 in PEM (RFC 7468).
    fn read(secret: &SecretString) -> Result<Self, NoKey> {
        let inside = secret
            .expose_secret()
            .trim()
            .strip_prefix(PEM_BEGIN)
            .and_then(|rest| rest.strip_suffix(PEM_END))
            .ok_or(NoKey)?;
        let mut base64 = Zeroizing::new(String::with_capacity(inside.len()));
        base64.extend(inside.chars().filter(|character| !character.is_ascii_whitespace()));
        let der = STANDARD.decode(base64.as_bytes()).map(Zeroizing::new).map_err(|_| NoKey)?;
        let signing = SigningKey::from_pkcs8_der(&der).map_err(|_| NoKey)?;
        let mut key = Self { id: String::new(), signing };
        key.id = key.thumbprint();
        Ok(key)
    }

    fn coordinates(&self) -> [String; 2] {
        let point = self.signing.verifying_key().to_sec1_point(false);
        // An uncompressed point is 0x04 ‖ x ‖ y, each coordinate 32 bytes.
        let (x, y) = point.as_bytes()[1..].split_at(32);
        [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate))
    }

    /// RFC 7638.
    fn thumbprint(&self) -> String {
        let [x, y] = self.coordinates();
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(Sha256::digest(members))
    }

    fn jwk(&self) -> Value {
        let [x, y] = self.coordinates();
        json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y,
            "kid": self.id, "alg": "ES256", "use": "sig",
        })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "ES256", "kid": self.id });
        let encode = |document: &Value| URL_SAFE_NO_PAD.encode(document.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let signature: Signature = self.signing.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use p256::{elliptic_curve::Generate, pkcs8::EncodePrivateKey};

    use super::*;

    #[test]
    fn a_key_in_pem_is_read_whatever_its_lines_are_and_nothing_else_is() {
        let pem = pem(&SigningKey::generate());
        let one = Key::read(&pem.as_str().into()).unwrap();
        let other = Key::read(&pem.replace('\n', "\r\n").into()).unwrap();
        assert_eq!(one.id, other.id);
        for bad in ["x".repeat(40), pem.replace("PRIVATE", "PUBLIC"), pem.replace('M', "!")] {
            assert!(Key::read(&bad.into()).is_err());
        }
    }

    #[test]
    fn a_rotation_publishes_both_keys_and_one_that_is_no_key_changes_nothing() {
        let [first, second] = [(), ()].map(|()| SecretString::from(pem(&SigningKey::generate())));
        let keys = SyncKeys::new(&Rotating { current: first.clone(), previous: vec![] }).unwrap();
        let before = keys.published();

        keys.rotate(&Rotating { current: second, previous: vec![first] }).unwrap();

        let after = keys.published();
        assert_eq!(after.len(), 2);
        assert_eq!(after[1], before[0]);
        let bad = Rotating { current: "x".repeat(40).into(), previous: vec![] };
        assert_eq!(keys.rotate(&bad), Err(NoKey));
        assert_eq!(keys.published(), after);
        assert!(!json!(after).to_string().contains("\"d\""), "no private member");
    }

    fn pem(key: &SigningKey) -> String {
        let der = key.to_pkcs8_der().unwrap();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(der.as_bytes()))
    }
}
