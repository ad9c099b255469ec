//! A device's key and an issuer's key, as tests hold them, and what they sign.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    elliptic_curve::Generate,
    pkcs8::EncodePublicKey,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A P-256 key that signs what it is told to.
#[derive(Clone)]
pub struct TestKey(SigningKey);

impl TestKey {
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = self.0.verifying_key().to_sec1_point(false);
        let bytes = point.as_bytes();
        json!({ "kty": "EC", "crv": "P-256", "x": encode(&bytes[1..33]), "y": encode(&bytes[33..]) })
    }

    /// The private scalar, base64url.
    pub fn private(&self) -> String {
        encode(self.0.to_bytes())
    }

    /// The public key as files have it (RFC 7468 §13).
    pub fn public_pem(&self) -> String {
        let der = self.0.verifying_key().to_public_key_der().expect("a public key has a form");
        let text = STANDARD.encode(der.as_bytes());
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
    }

    pub fn jkt(&self) -> String {
        let jwk = self.jwk();
        let canonical =
            format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        encode(Sha256::digest(canonical))
    }

    pub fn signature(&self, signed: &str) -> Signature {
        self.0.sign(signed.as_bytes())
    }

    /// A compact JWS over exactly these bytes.
    pub fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(&signed);
        format!("{signed}.{}", encode(signature.to_bytes()))
    }

    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), payload.to_string().as_bytes())
    }

    /// The header of a good proof.
    pub fn proof_header(&self) -> Value {
        json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() })
    }
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url of ours")
}

/// What a proof's `ath` is for this token.
pub fn ath(token: &str) -> String {
    encode(Sha256::digest(token))
}

/// `object` with one member set.
pub fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}

/// `object` with one member taken out.
pub fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().expect("an object").remove(name);
    object
}
