//! The key inside a proof: read strictly, checked to be a point of P-256, parsed once and kept.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use moka::sync::Cache;
use p256::PublicKey;
use serde::Deserialize;

use crate::access::{jws, strict_json};

/// Keys kept in parsed form; about 1 KiB each.
const KEYS_MAX: u64 = 10_000;
/// The length of a P-256 coordinate: 32 bytes as unpadded base64url.
const COORDINATE_CHARS: usize = 43;

/// The `jwk` member of a proof's header, before anything is believed of it.
///
/// Source: RFC 7517 and RFC 7518 §6.2. Any member of a private key refuses it.
#[derive(Debug, Deserialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(default, deserialize_with = "strict_json::given")]
    alg: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "strict_json::given")]
    public_key_use: Option<String>,
    #[serde(default, deserialize_with = "strict_json::given")]
    key_ops: Option<Vec<String>>,
    #[serde(
        default,
        rename = "d",
        alias = "k",
        alias = "p",
        alias = "q",
        alias = "dp",
        alias = "dq",
        alias = "qi",
        alias = "oth",
        alias = "priv",
        deserialize_with = "strict_json::forbidden"
    )]
    _private: (),
}

impl Jwk {
    /// The 65 bytes of the uncompressed point (SEC 1), not yet known to be on the curve. `None`
    /// when this is no public P-256 key for verifying ES256.
    pub fn point(&self) -> Option<[u8; 65]> {
        let is_for_es256 = self.kty == "EC"
            && self.crv == "P-256"
            && self.alg.as_deref().is_none_or(|alg| alg == "ES256")
            && self.public_key_use.as_deref().is_none_or(|allowed| allowed == "sig")
            && self.key_ops.iter().flatten().all(|operation| operation == "verify");
        if !is_for_es256 {
            return None;
        }
        let mut point = [0x04; 65];
        point[1..33].copy_from_slice(&coordinate(&self.x)?);
        point[33..].copy_from_slice(&coordinate(&self.y)?);
        Some(point)
    }
}

fn coordinate(text: &str) -> Option<[u8; 32]> {
    if text.len() != COORDINATE_CHARS {
        return None;
    }
    jws::decode(text)?.try_into().ok()
}

/// A public P-256 key that can verify, and its thumbprint.
pub struct ProofKey {
    parsed: ParsedPublicKey,
    jkt: String,
}

impl ProofKey {
    /// Checks that the uncompressed point is on the curve. `None` when it is not.
    pub fn parse(point: &[u8; 65]) -> Option<Self> {
        PublicKey::from_sec1_bytes(point).ok()?;
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?;
        Some(Self { parsed, jkt: thumbprint(point) })
    }

    /// Whether `signature` (r ‖ s, 64 bytes; a high s is as good as a low one) is this key's.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        signature.len() == 64 && self.parsed.verify_sig(signed, signature).is_ok()
    }

    /// The JWK thumbprint (RFC 7638): 43 characters of base64url.
    pub fn jkt(&self) -> &str {
        &self.jkt
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").field("jkt", &self.jkt).finish_non_exhaustive()
    }
}

/// Computed from the point's bytes, so that no spelling of a key has a thumbprint of its own.
fn thumbprint(point: &[u8; 65]) -> String {
    let (x, y) = (jws::encode(&point[1..33]), jws::encode(&point[33..]));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    jws::encode(jws::sha256(canonical.as_bytes()))
}

/// Parsed keys by their point. Only keys whose signature was good are kept, so that nobody fills
/// it with keys made up.
#[derive(Clone, Debug)]
pub struct KeyCache(Cache<[u8; 65], Arc<ProofKey>>);

impl Default for KeyCache {
    fn default() -> Self {
        Self(Cache::new(KEYS_MAX))
    }
}

impl KeyCache {
    /// The key of this point if it verifies `signature` over `signed`; keeps it.
    pub fn verifying_key(
        &self,
        point: &[u8; 65],
        signed: &[u8],
        signature: &[u8],
    ) -> Option<Arc<ProofKey>> {
        if let Some(key) = self.0.get(point) {
            return key.verifies(signed, signature).then_some(key);
        }
        let key = Arc::new(ProofKey::parse(point)?);
        if !key.verifies(signed, signature) {
            return None;
        }
        self.0.insert(*point, Arc::clone(&key));
        Some(key)
    }
}
