//! The device's P-256 key and the `DPoP` proofs (RFC 9449) it signs.

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use p256::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    elliptic_curve::Generate,
};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ulid::Ulid;
use url::Url;

/// A private key. It has no `Debug`, so that it cannot slip into a log.
pub struct DeviceKey(SigningKey);

/// What a proof is bound to.
pub struct ProofTarget<'a> {
    pub method: &'a Method,
    /// The URL as it is called; query and fragment are left out of `htu`.
    pub url: &'a Url,
    /// The token that travels with the proof; `None` where there is none (token refresh).
    pub access_token: Option<&'a str>,
    /// The nonce the server gave last.
    pub nonce: Option<&'a str>,
}

impl DeviceKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(SigningKey::generate())
    }

    /// Reads what [`Self::secret`] wrote.
    ///
    /// # Errors
    /// The text is not 32 bytes of base64url, or no scalar of the curve.
    pub fn from_secret(secret: &str) -> anyhow::Result<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(secret).context("the device key is not base64url")?;
        let key = SigningKey::from_slice(&bytes).context("the device key is not a P-256 scalar")?;
        Ok(Self(key))
    }

    /// The private scalar, 32 bytes in base64url. For the device's own file only.
    pub fn secret(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.to_bytes())
    }

    /// The public key as a JWK: `{kty, crv, x, y}`.
    pub fn public_jwk(&self) -> Value {
        let point = self.0.verifying_key().to_sec1_point(false);
        // An uncompressed point is 0x04 ‖ x ‖ y, each coordinate 32 bytes.
        let (x, y) = point.as_bytes()[1..].split_at(32);
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// A compact JWS that may be used once, within seconds of `now`.
    pub fn proof(&self, target: &ProofTarget<'_>, now: DateTime<Utc>) -> String {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.public_jwk() });
        let mut htu = target.url.clone();
        htu.set_query(None);
        htu.set_fragment(None);
        let mut claims = json!({
            "jti": Ulid::generate().to_string(),
            "htm": target.method.as_str(),
            "htu": htu.as_str(),
            "iat": now.timestamp(),
        });
        if let Some(access_token) = target.access_token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(Sha256::digest(access_token)).into();
        }
        if let Some(nonce) = target.nonce {
            claims["nonce"] = nonce.into();
        }
        let signing_input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature: Signature = self.0.sign(signing_input.as_bytes());
        format!("{signing_input}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn a_proof_verifies_with_another_implementation_under_the_key_in_its_header() {
        let proof = sign(&DeviceKey::generate(), None, None);

        let (signing_input, signature) = proof.rsplit_once('.').unwrap();
        let header = decode(signing_input.split_once('.').unwrap().0);
        let coordinate =
            |name: &str| URL_SAFE_NO_PAD.decode(header["jwk"][name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signing_input.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        assert_eq!(header["typ"], "dpop+jwt");
        assert_eq!(header["alg"], "ES256");
        assert_eq!(header["jwk"].as_object().unwrap().len(), 4, "no private member");
    }

    #[test]
    fn a_proof_names_the_request_without_its_query() {
        let claims = claims_of(&sign(&DeviceKey::generate(), None, None));

        assert_eq!(claims["htm"], "GET");
        assert_eq!(claims["htu"], "http://127.0.0.1:8083/bff/backoffice/v1/alerts");
        assert_eq!(claims["iat"], NOW);
        assert!(claims.get("ath").is_none());
        assert!(claims.get("nonce").is_none());
    }

    #[test]
    fn a_proof_is_bound_to_its_token_and_carries_the_nonce() {
        let claims = claims_of(&sign(&DeviceKey::generate(), Some("token"), Some("n-1")));

        // printf token | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(claims["ath"], "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A");
        assert_eq!(claims["nonce"], "n-1");
    }

    #[test]
    fn no_two_proofs_share_an_id() {
        let key = DeviceKey::generate();
        let first = claims_of(&sign(&key, None, None));
        let second = claims_of(&sign(&key, None, None));
        assert_ne!(first["jti"], second["jti"]);
    }

    #[test]
    fn a_key_survives_the_way_through_its_file() {
        let key = DeviceKey::generate();
        let read = DeviceKey::from_secret(&key.secret()).unwrap();
        assert_eq!(read.public_jwk(), key.public_jwk());
    }

    #[test]
    fn a_damaged_key_is_refused() {
        assert!(DeviceKey::from_secret("AAAA").is_err());
        assert!(DeviceKey::from_secret("not base64!").is_err());
        assert!(DeviceKey::from_secret(&URL_SAFE_NO_PAD.encode([0; 32])).is_err());
    }

    fn sign(key: &DeviceKey, access_token: Option<&str>, nonce: Option<&str>) -> String {
        let url = Url::parse("http://127.0.0.1:8083/bff/backoffice/v1/alerts?state=raised#top");
        let target = ProofTarget { method: &Method::GET, url: &url.unwrap(), access_token, nonce };
        key.proof(&target, DateTime::from_timestamp(NOW, 0).unwrap())
    }

    fn claims_of(proof: &str) -> Value {
        decode(proof.split('.').nth(1).unwrap())
    }

    fn decode(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }
}
