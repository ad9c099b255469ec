//! Verifies access tokens (RFC 9068): signature by an issuer's key, then every claim, strictly.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use events::TenantId;
use jsonwebtoken::Validation;
use moka::sync::Cache;
use serde::Deserialize;

pub use super::claims::{ClaimError, ClaimRules, Claims};
use super::{
    claims::{RawClaims, is_expired},
    jwks::{Algorithm, Jwks, JwksError},
    jws, strict_json,
};

/// Longer tokens are refused unread.
pub const TOKEN_BYTES_MAX: usize = 4096;
const HEADER_BYTES_MAX: usize = 1024;
const KID_BYTES_MAX: usize = 128;
/// For so long a token's signature is not checked again; its expiry is, each time. A key that the
/// issuer withdrew is believed this much longer.
const CACHE_TTL: Duration = Duration::from_mins(1);
const CACHE_MAX: u64 = 10_000;

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("malformed token")]
    Malformed,
    #[error("unsupported token header")]
    Header,
    #[error("unknown issuer")]
    Issuer,
    #[error("unknown key")]
    Key,
    #[error("invalid token signature")]
    Signature,
    #[error("the issuer does not speak for the tenant")]
    Tenant,
    #[error(transparent)]
    Claims(#[from] ClaimError),
    /// The issuer's keys cannot be had: says nothing about the token.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
}

/// A verified token.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    pub claims: Arc<Claims>,
    /// What a proof's `ath` must be: base64url of the token's SHA-256.
    pub ath: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
    /// Nothing in a token says where its key is, and no extension is understood.
    #[serde(
        default,
        rename = "crit",
        alias = "b64",
        alias = "zip",
        alias = "cty",
        alias = "jwk",
        alias = "jku",
        alias = "x5u",
        alias = "x5c",
        deserialize_with = "strict_json::forbidden"
    )]
    _forbidden: (),
}

/// Verifies tokens of the configured issuers; remembers good ones for a minute.
pub struct TokenVerifier {
    issuers: HashMap<String, Arc<Jwks>>,
    /// By `iss`; an issuer that is not here speaks for every tenant.
    tenants: HashMap<String, HashSet<TenantId>>,
    rules: ClaimRules,
    /// By the token's SHA-256.
    verified: Cache<[u8; 32], Remembered>,
}

/// A token whose signature was good `at` a time of the service's clock.
#[derive(Clone)]
struct Remembered {
    claims: Arc<Claims>,
    at: DateTime<Utc>,
}

impl TokenVerifier {
    /// `issuers` by their exact `iss`.
    pub fn new(issuers: HashMap<String, Arc<Jwks>>, rules: ClaimRules) -> Self {
        let verified = Cache::builder().max_capacity(CACHE_MAX).time_to_live(CACHE_TTL).build();
        Self { issuers, tenants: HashMap::new(), rules, verified }
    }

    /// Holds issuers, by their `iss`, to the tenants they may speak for.
    #[must_use]
    pub fn with_tenants(self, tenants: HashMap<String, HashSet<TenantId>>) -> Self {
        Self { tenants, ..self }
    }

    /// Verifies one token against the time `now`. May wait for the issuer's keys (≤ 3 s).
    ///
    /// # Errors
    /// The first thing that is wrong with it, or that the keys cannot be had.
    pub async fn verify(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<VerifiedToken, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let hash = jws::sha256(token.as_bytes());
        let is_fresh = |remembered: &Remembered| {
            (now - remembered.at).to_std().is_ok_and(|age| age < CACHE_TTL)
        };
        let claims = match self.verified.get(&hash).filter(is_fresh) {
            Some(Remembered { claims, .. })
                if is_expired(claims.expires_at, self.rules.leeway, now) =>
            {
                return Err(ClaimError::Expired.into());
            }
            Some(Remembered { claims, .. }) => claims,
            None => {
                let claims = Arc::new(self.verify_anew(token, now).await?);
                let remembered = Remembered { claims: Arc::clone(&claims), at: now };
                self.verified.insert(hash, remembered);
                claims
            }
        };
        Ok(VerifiedToken { claims, ath: jws::encode(hash) })
    }

    /// Whether every issuer has a usable key set.
    pub fn is_ready(&self) -> bool {
        self.issuers.values().all(|jwks| jwks.is_usable())
    }

    async fn verify_anew(&self, token: &str, now: DateTime<Utc>) -> Result<Claims, TokenError> {
        let compact = jws::split(token).ok_or(TokenError::Malformed)?;
        let header = read_header(&compact.header)?;
        let claims = RawClaims::read(&compact.payload).ok_or(ClaimError::Malformed)?;
        let jwks = self.issuers.get(&claims.iss).ok_or(TokenError::Issuer)?;
        let algorithm = jwks.algorithm(&header.alg).ok_or(TokenError::Header)?;
        let key = jwks.key(&header.kid, algorithm).await.map_err(|error| match error {
            JwksError::UnknownKey => TokenError::Key,
            JwksError::Unavailable => TokenError::KeysUnavailable,
        })?;
        verify_signature(token, &key, algorithm)?;
        let tenants = self.tenants.get(&claims.iss);
        let claims = claims.check(&self.rules, now)?;
        if tenants.is_some_and(|tenants| !tenants.contains(&claims.tenant_id)) {
            return Err(TokenError::Tenant);
        }
        Ok(claims)
    }
}

fn read_header(json: &[u8]) -> Result<Header, TokenError> {
    if json.len() > HEADER_BYTES_MAX {
        return Err(TokenError::Malformed);
    }
    let header: Header = strict_json::object(json).ok_or(TokenError::Header)?;
    let is_access_token = matches!(header.typ.as_str(), "at+jwt" | "application/at+jwt");
    let is_short = (1..=KID_BYTES_MAX).contains(&header.kid.len());
    if is_access_token && is_short { Ok(header) } else { Err(TokenError::Header) }
}

/// The crate verifies the signature and nothing else: its checks of claims are lax where ours are
/// strict, and it asks the machine for the time.
pub(super) fn verify_signature(
    token: &str,
    key: &jsonwebtoken::DecodingKey,
    algorithm: Algorithm,
) -> Result<(), TokenError> {
    let mut validation = Validation::new(algorithm.into());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    jsonwebtoken::decode::<serde::de::IgnoredAny>(token, key, &validation)
        .map(|_| ())
        .map_err(|_| TokenError::Signature)
}
