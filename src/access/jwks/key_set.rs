//! A JWK set (RFC 7517 §5) as we take it: signing keys of P-256, Ed25519 and RSA with an id, of the
//! algorithms that their issuer may use, nothing else.

use std::collections::{HashMap, HashSet};

use jsonwebtoken::DecodingKey;
use p256::PublicKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::access::{
    jws,
    strict_json::{self, forbidden, given},
};

const KEYS_MAX: usize = 32;
const KID_BYTES_MAX: usize = 128;

/// What a token can be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256: what Google signs its identity tokens with.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// The `alg` of a JOSE header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
        }
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::ES256,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Rs256 => Self::RS256,
        }
    }
}

/// Usable keys by their id.
pub struct KeySet(HashMap<String, (Algorithm, DecodingKey)>);

#[derive(Deserialize)]
struct Document {
    keys: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    #[serde(default, deserialize_with = "given")]
    crv: Option<String>,
    #[serde(default, deserialize_with = "given")]
    x: Option<String>,
    #[serde(default, deserialize_with = "given")]
    y: Option<String>,
    /// Of RSA: modulus and exponent.
    #[serde(default, deserialize_with = "given")]
    n: Option<String>,
    #[serde(default, deserialize_with = "given")]
    e: Option<String>,
    #[serde(default, deserialize_with = "given")]
    alg: Option<String>,
    #[serde(default, rename = "use", deserialize_with = "given")]
    public_key_use: Option<String>,
    #[serde(default, rename = "d", alias = "k", alias = "priv", deserialize_with = "forbidden")]
    _private: (),
}

impl KeySet {
    /// Reads a document, leaving out keys that are of no use to us: for none of `algorithms`, or
    /// malformed. `None` when no key is left, there are more than 32, or two have one id.
    pub fn read(document: &[u8], algorithms: &[Algorithm]) -> Option<Self> {
        let document: Document = strict_json::object(document)?;
        if document.keys.len() > KEYS_MAX || has_duplicates(&document.keys) {
            return None;
        }
        let keys: HashMap<_, _> = document
            .keys
            .iter()
            .filter_map(|key| usable(key))
            .filter(|(_, (algorithm, _))| algorithms.contains(algorithm))
            .collect();
        if keys.is_empty() { None } else { Some(Self(keys)) }
    }

    /// The key `kid` if it is for `algorithm`.
    pub fn find(&self, kid: &str, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.0.get(kid).filter(|(for_algorithm, _)| *for_algorithm == algorithm).map(|(_, key)| key)
    }
}

/// One id for two keys means that we do not know which of them signed, so nothing is believed.
fn has_duplicates(keys: &[Box<RawValue>]) -> bool {
    let mut seen = HashSet::new();
    keys.iter()
        .filter_map(|key| strict_json::object::<Named>(key.get().as_bytes())?.kid)
        .any(|kid| !seen.insert(kid))
}

fn usable(key: &RawValue) -> Option<(String, (Algorithm, DecodingKey))> {
    let jwk: Jwk = strict_json::object(key.get().as_bytes())?;
    if jwk.kid.is_empty()
        || jwk.kid.len() > KID_BYTES_MAX
        || jwk.public_key_use.as_deref().is_some_and(|allowed| allowed != "sig")
    {
        return None;
    }
    let (x, y) = (jwk.x.as_deref(), jwk.y.as_deref());
    let (algorithm, key) = match (jwk.kty.as_str(), jwk.crv.as_deref(), x, y) {
        ("EC", Some("P-256"), Some(x), Some(y)) => (Algorithm::Es256, p256_key(x, y)?),
        ("OKP", Some("Ed25519"), Some(x), None) => (Algorithm::EdDsa, ed25519_key(x)?),
        ("RSA", None, None, None) => (Algorithm::Rs256, rsa_key(jwk.n.as_deref()?, &jwk.e?)?),
        _ => return None,
    };
    let is_for_it = jwk.alg.as_deref().is_none_or(|alg| alg == algorithm.name());
    is_for_it.then_some((jwk.kid, (algorithm, key)))
}

fn p256_key(x: &str, y: &str) -> Option<DecodingKey> {
    let (x_bytes, y_bytes) = (coordinate(x)?, coordinate(y)?);
    let point = [&[0x04][..], &x_bytes, &y_bytes].concat();
    PublicKey::from_sec1_bytes(&point).ok()?;
    DecodingKey::from_ec_components(x, y).ok()
}

fn ed25519_key(x: &str) -> Option<DecodingKey> {
    coordinate(x)?;
    DecodingKey::from_ed_components(x).ok()
}

/// 2,048 to 4,096 bits, and the exponent that everybody uses.
fn rsa_key(n: &str, e: &str) -> Option<DecodingKey> {
    let is_sound = (256..=512).contains(&jws::decode(n)?.len()) && e == "AQAB";
    if is_sound { DecodingKey::from_rsa_components(n, e).ok() } else { None }
}

fn coordinate(text: &str) -> Option<[u8; 32]> {
    jws::decode(text)?.try_into().ok()
}
