//! The key inside a proof: read strictly, checked to be a point that proves something, parsed once
//! and kept.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use curve25519_dalek::edwards::CompressedEdwardsY;
use moka::sync::Cache;
use p256::PublicKey;
use serde::Deserialize;

use super::algorithms::Algorithm;
use crate::access::{jws, strict_json};

/// Keys kept in parsed form; about 1 KiB each.
const KEYS_MAX: u64 = 10_000;
/// The length of a coordinate on either curve: 32 bytes as unpadded base64url.
const COORDINATE_CHARS: usize = 43;
/// r ‖ s of ES256 and R ‖ S of Ed25519.
const SIGNATURE_BYTES: usize = 64;

/// The `jwk` member of a proof's header, before anything is believed of it.
///
/// Source: RFC 7517, RFC 7518 §6.2, RFC 8037 §2. Any member of a private key refuses it.
#[derive(Debug, Deserialize)]
pub struct Jwk {
    kty: String,
    crv: String,
    x: String,
    #[serde(default, deserialize_with = "strict_json::given")]
    y: Option<String>,
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

/// The bytes of a public key, not yet known to be on its curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicKeyBytes {
    /// An uncompressed point of P-256 (SEC 1): 0x04 ‖ x ‖ y.
    P256([u8; 65]),
    /// An encoded point of edwards25519 (RFC 8032 §5.1.2).
    Ed25519([u8; 32]),
}

impl Jwk {
    /// The key's bytes. `None` when this is no public key for verifying `algorithm`.
    pub fn bytes(&self, algorithm: Algorithm) -> Option<PublicKeyBytes> {
        let is_for_proofs = self.alg.as_deref().is_none_or(|alg| alg == algorithm.name())
            && self.public_key_use.as_deref().is_none_or(|allowed| allowed == "sig")
            && self.key_ops.iter().flatten().all(|operation| operation == "verify");
        if !is_for_proofs {
            return None;
        }
        let x = coordinate(&self.x)?;
        match (algorithm, self.kty.as_str(), self.crv.as_str(), &self.y) {
            (Algorithm::Es256, "EC", "P-256", Some(y)) => {
                let mut point = [0x04; 65];
                point[1..33].copy_from_slice(&x);
                point[33..].copy_from_slice(&coordinate(y)?);
                Some(PublicKeyBytes::P256(point))
            }
            (Algorithm::EdDsa, "OKP", "Ed25519", None) => Some(PublicKeyBytes::Ed25519(x)),
            _ => None,
        }
    }
}

fn coordinate(text: &str) -> Option<[u8; 32]> {
    if text.len() != COORDINATE_CHARS {
        return None;
    }
    jws::decode(text)?.try_into().ok()
}

/// A public key that can verify, and its thumbprint.
pub struct ProofKey {
    parsed: ParsedPublicKey,
    jkt: String,
}

impl ProofKey {
    /// Checks that the key is a point of its curve whose signatures only its holder can make.
    /// `None` when it is not.
    pub fn parse(bytes: &PublicKeyBytes) -> Option<Self> {
        let parsed = match bytes {
            PublicKeyBytes::P256(point) => {
                PublicKey::from_sec1_bytes(point).ok()?;
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?
            }
            PublicKeyBytes::Ed25519(encoded) => {
                if !is_of_prime_order(encoded) {
                    return None;
                }
                ParsedPublicKey::new(&ED25519, encoded).ok()?
            }
        };
        Some(Self { parsed, jkt: thumbprint(bytes) })
    }

    /// Whether `signature` is this key's: r ‖ s, where a high s is as good as a low one, or R ‖ S,
    /// where S must be below the group's order.
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES && self.parsed.verify_sig(signed, signature).is_ok()
    }

    /// The JWK thumbprint (RFC 7638): 43 characters of base64url.
    pub fn jkt(&self) -> &str {
        &self.jkt
    }
}

/// Whether the bytes are the one encoding of a point in the subgroup that honest keys are in.
///
/// The verification of aws-lc accepts keys of small order, under which one signature fits almost
/// every message, and it does not say whether it accepts an encoding that is not canonical. Asked
/// once a key: verifying stays at the speed of aws-lc.
fn is_of_prime_order(encoded: &[u8; 32]) -> bool {
    let encoded = CompressedEdwardsY(*encoded);
    encoded.decompress().is_some_and(|point| {
        point.compress() == encoded && !point.is_small_order() && point.is_torsion_free()
    })
}

/// Computed from the key's bytes, so that no spelling of a key has a thumbprint of its own.
fn thumbprint(bytes: &PublicKeyBytes) -> String {
    let canonical = match bytes {
        PublicKeyBytes::P256(point) => {
            let (x, y) = (jws::encode(&point[1..33]), jws::encode(&point[33..]));
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
        }
        PublicKeyBytes::Ed25519(encoded) => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, jws::encode(encoded))
        }
    };
    jws::encode(jws::sha256(canonical.as_bytes()))
}

/// Parsed keys by their bytes. Only keys whose signature was good are kept, so that nobody fills
/// it with keys made up.
#[derive(Clone)]
pub struct KeyCache(Cache<PublicKeyBytes, Arc<ProofKey>>);

impl Default for KeyCache {
    fn default() -> Self {
        Self(Cache::new(KEYS_MAX))
    }
}

impl KeyCache {
    /// The key of these bytes if it verifies `signature` over `signed`; keeps it.
    pub fn verifying_key(
        &self,
        bytes: &PublicKeyBytes,
        signed: &[u8],
        signature: &[u8],
    ) -> Option<Arc<ProofKey>> {
        if let Some(key) = self.0.get(bytes) {
            return key.verifies(signed, signature).then_some(key);
        }
        let key = Arc::new(ProofKey::parse(bytes)?);
        if !key.verifies(signed, signature) {
            return None;
        }
        self.0.insert(*bytes, Arc::clone(&key));
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only points with a second spelling are those with y < 19: they can be written with
    /// y + p. None of them is a key in its own spelling either.
    #[test]
    fn dp_ed_04_a_point_that_can_be_spelt_otherwise_is_no_key() {
        let mut points = 0;
        for number in 0..19 {
            let mut canonical = [0; 32];
            canonical[0] = number;
            let mut respelt = [0xff; 32];
            (respelt[0], respelt[31]) = (0xed + number, 0x7f);
            points += u32::from(CompressedEdwardsY(respelt).decompress().is_some());
            for spelling in [canonical, respelt] {
                assert!(!is_of_prime_order(&spelling), "DP-ED-04: {number}");
            }
        }
        assert!(points > 2, "some of them are points");
    }
}
