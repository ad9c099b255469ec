//! Verifies `DPoP` proofs (RFC 9449 §4.3): a pure function of the proof, the request and the time.
//!
//! ES256, and `EdDSA` where it is switched on. Replay is not seen here, it is the store's to see
//! (`access::replay`), last.

mod algorithms;
mod htu;
mod key;

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use self::key::Jwk;
pub use self::{
    algorithms::{Algorithm, Algorithms, UnknownAlgorithm},
    htu::{InvalidBase, PublicBases, RequestPath},
    key::{KeyCache, PublicKeyBytes},
};
use super::{
    jws,
    nonce::{Freshness, Nonces},
    strict_json::{self, NumericDate, Object},
};

/// Longer proofs are refused unread; real ones have about 520 bytes.
pub const PROOF_BYTES_MAX: usize = 2048;
const HEADER_BYTES_MAX: usize = 1024;
const JTI_BYTES_MAX: usize = 256;
/// How far in the past `exp` may lie; the same slack that access tokens have.
const EXPIRY_LEEWAY: Duration = Duration::from_secs(10);

/// What a proof has to say to be good for a request.
pub struct Expected<'a> {
    pub method: &'a Method,
    pub path: &'a RequestPath,
    pub bases: &'a PublicBases,
    pub binding: Binding<'a>,
    pub nonces: NoncePolicy<'a>,
    pub algorithms: Algorithms,
    pub window: Window,
    pub now: DateTime<Utc>,
}

/// What the proof is tied to.
#[derive(Clone, Copy, Debug)]
pub enum Binding<'a> {
    /// An access token: base64url of its SHA-256, and the thumbprint its `cnf` names.
    Token { ath: &'a str, jkt: &'a str },
    /// No access token (the refresh route): the proof must carry no `ath`.
    None,
}

/// Whether a nonce is asked for.
#[derive(Clone, Copy)]
pub enum NoncePolicy<'a> {
    /// None is; one that is there is not looked at.
    Off,
    Required {
        nonces: &'a Nonces,
        tenant: &'a str,
    },
}

/// How far `iat` may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Into the past; default 60 s.
    pub age_max: Duration,
    /// Into the future; default 15 s.
    pub future_max: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self { age_max: Duration::from_mins(1), future_max: Duration::from_secs(15) }
    }
}

/// A proof that is good, unless it was used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Thumbprint of the key that signed.
    pub jkt: String,
    pub jti: String,
    /// `None` when nonces are off.
    pub nonce: Option<Freshness>,
}

/// Why a proof is refused. The texts are fixed: nothing of the input is in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("malformed proof")]
    Malformed,
    #[error("unsupported proof header")]
    Header,
    #[error("unsupported proof key")]
    Key,
    #[error("invalid proof signature")]
    Signature,
    /// The key is not the one the access token is bound to.
    #[error("invalid key binding")]
    KeyBinding,
    #[error("proof does not match the access token")]
    AccessToken,
    #[error("proof does not match the method")]
    Method,
    #[error("proof does not match the URI")]
    Uri,
    #[error("proof is outside its time window")]
    Time,
    /// A nonce is missing or not good; everything else is.
    #[error("a fresh nonce is required")]
    Nonce,
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
    jwk: Object<Jwk>,
    /// Extensions we would have to understand, and nesting that nobody needs.
    #[serde(
        default,
        rename = "crit",
        alias = "b64",
        alias = "zip",
        alias = "cty",
        deserialize_with = "strict_json::forbidden"
    )]
    _extensions: (),
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: NumericDate,
    #[serde(default, deserialize_with = "strict_json::given")]
    ath: Option<String>,
    #[serde(default, deserialize_with = "strict_json::given")]
    nonce: Option<String>,
    #[serde(default, deserialize_with = "strict_json::given")]
    exp: Option<NumericDate>,
    #[serde(default, deserialize_with = "strict_json::given")]
    nbf: Option<NumericDate>,
}

/// Verifies one proof in the order signature, binding, method, URI, time, nonce.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn verify(
    proof: &str,
    expected: &Expected<'_>,
    keys: &KeyCache,
) -> Result<Verified, ProofError> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err(ProofError::Malformed);
    }
    let compact = jws::split(proof).ok_or(ProofError::Malformed)?;
    let bytes = read_header(&compact.header, expected.algorithms)?;
    let key = keys
        .verifying_key(&bytes, compact.signed, &compact.signature)
        .ok_or(ProofError::Signature)?;
    let claims: Claims = strict_json::object(&compact.payload).ok_or(ProofError::Malformed)?;
    if claims.jti.trim().is_empty() || claims.jti.len() > JTI_BYTES_MAX {
        return Err(ProofError::Malformed);
    }
    check_binding(&claims, key.jkt(), expected.binding)?;
    if claims.htm != expected.method.as_str() {
        return Err(ProofError::Method);
    }
    if !expected.bases.names(&claims.htu, expected.path) {
        return Err(ProofError::Uri);
    }
    check_time(&claims, expected)?;
    let nonce = check_nonce(&claims, key.jkt(), expected)?;
    Ok(Verified { jkt: key.jkt().to_owned(), jti: claims.jti, nonce })
}

/// Whose key signed a proof that was refused, so that a fresh nonce can be bound to it. `None` when
/// its signature is not good.
pub fn signer(proof: &str, algorithms: Algorithms, keys: &KeyCache) -> Option<String> {
    let compact = jws::split(proof).filter(|_| proof.len() <= PROOF_BYTES_MAX)?;
    let bytes = read_header(&compact.header, algorithms).ok()?;
    let key = keys.verifying_key(&bytes, compact.signed, &compact.signature)?;
    Some(key.jkt().to_owned())
}

fn read_header(json: &[u8], algorithms: Algorithms) -> Result<PublicKeyBytes, ProofError> {
    if json.len() > HEADER_BYTES_MAX {
        return Err(ProofError::Malformed);
    }
    let header: Header = strict_json::object(json).ok_or(ProofError::Header)?;
    let algorithm = Algorithm::named(&header.alg).filter(|algorithm| algorithms.allow(*algorithm));
    let algorithm = algorithm.filter(|_| header.typ == "dpop+jwt").ok_or(ProofError::Header)?;
    header.jwk.0.bytes(algorithm).ok_or(ProofError::Key)
}

fn check_binding(claims: &Claims, signer: &str, binding: Binding<'_>) -> Result<(), ProofError> {
    match binding {
        Binding::Token { jkt, .. } if !same(jkt, signer) => Err(ProofError::KeyBinding),
        Binding::Token { ath, .. } => match &claims.ath {
            Some(claimed) if same(claimed, ath) => Ok(()),
            _ => Err(ProofError::AccessToken),
        },
        Binding::None if claims.ath.is_some() => Err(ProofError::AccessToken),
        Binding::None => Ok(()),
    }
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// In whole seconds, both edges included. Every number is between 0 and 2³³, so that no sum wraps.
fn check_time(claims: &Claims, expected: &Expected<'_>) -> Result<(), ProofError> {
    let now = expected.now.timestamp();
    let oldest = now - whole_seconds(expected.window.age_max);
    let newest = now + whole_seconds(expected.window.future_max);
    let is_expired = claims.exp.is_some_and(|exp| exp.0 < now - whole_seconds(EXPIRY_LEEWAY));
    let is_too_early = claims.nbf.is_some_and(|nbf| nbf.0 > newest);
    if (oldest..=newest).contains(&claims.iat.0) && !is_expired && !is_too_early {
        Ok(())
    } else {
        Err(ProofError::Time)
    }
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::from(u32::try_from(duration.as_secs()).unwrap_or(u32::MAX))
}

fn check_nonce(
    claims: &Claims,
    jkt: &str,
    expected: &Expected<'_>,
) -> Result<Option<Freshness>, ProofError> {
    let NoncePolicy::Required { nonces, tenant } = expected.nonces else { return Ok(None) };
    claims
        .nonce
        .as_deref()
        .and_then(|nonce| nonces.check(nonce, tenant, jkt, expected.now))
        .map(Some)
        .ok_or(ProofError::Nonce)
}
