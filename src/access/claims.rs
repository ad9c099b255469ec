//! What an access token says, read strictly and under all the names the platform has for it.
//!
//! The services of the platform do not agree on claim names (`tid` or `tenant_id`, `sub` or
//! `user_id`). Where a token gives one thing under two names, both must say the same: otherwise two
//! readers could take one token for two callers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use events::{DeviceId, OperatorId, PropertyId, TenantId};
use serde::Deserialize;

use super::{
    jws,
    strict_json::{self, Object, WholeSeconds, given},
};

/// More roles or properties than this are a mistake or an attack.
const LIST_MAX: usize = 256;
const SID_CHARS_MAX: usize = 128;
const JKT_CHARS: usize = 43;
const LOCALE_CHARS_MAX: usize = 35;

/// The claims of a verified access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub tenant_id: TenantId,
    pub operator_id: OperatorId,
    pub device_id: DeviceId,
    /// iam's session: 1–128 characters that can stand in a key.
    pub sid: String,
    /// Thumbprint of the key the token is bound to.
    pub jkt: String,
    /// As the token has them; empty when it names none.
    pub roles: Vec<String>,
    /// `None` when the token does not speak of properties.
    pub property_ids: Option<Vec<PropertyId>>,
    pub locale: Option<String>,
    pub issued_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Why claims are refused. Fixed texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("a claim is missing, of another type or said twice")]
    Malformed,
    #[error("not an issuer or audience of this service")]
    NotForUs,
    #[error("the token is not bound to a key")]
    Unbound,
    #[error("the token has expired")]
    Expired,
    #[error("the token is outside its time window")]
    Time,
}

/// What the claims have to satisfy beside their shape.
#[derive(Clone, Debug)]
pub struct ClaimRules {
    /// One of the token's audiences.
    pub audience: String,
    /// Slack for the clocks of issuer and service; default 10 s.
    pub leeway: Duration,
    /// `exp` − `iat` at most; default 1 h.
    pub lifetime_max: Duration,
}

/// The claims as they are written.
#[derive(Deserialize)]
pub struct RawClaims {
    pub iss: String,
    aud: Audience,
    exp: WholeSeconds,
    iat: WholeSeconds,
    #[serde(default, deserialize_with = "given")]
    nbf: Option<WholeSeconds>,
    #[serde(default, deserialize_with = "given")]
    cnf: Option<Object<Confirmation>>,
    #[serde(default, deserialize_with = "given")]
    tid: Option<TenantId>,
    #[serde(default, deserialize_with = "given")]
    tenant_id: Option<TenantId>,
    #[serde(default, deserialize_with = "given")]
    sub: Option<OperatorId>,
    #[serde(default, deserialize_with = "given")]
    user_id: Option<OperatorId>,
    #[serde(default, deserialize_with = "given")]
    staff_id: Option<OperatorId>,
    device_id: DeviceId,
    #[serde(default, deserialize_with = "given")]
    sid: Option<String>,
    #[serde(default, deserialize_with = "given")]
    session_id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    roles: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    role: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    property_ids: Option<Vec<PropertyId>>,
    #[serde(default, deserialize_with = "given")]
    property_id: Option<Vec<PropertyId>>,
    #[serde(default, deserialize_with = "given")]
    properties: Option<Vec<PropertyId>>,
    #[serde(default, rename = "propertyScope", deserialize_with = "given")]
    property_scope: Option<Vec<PropertyId>>,
    #[serde(default, deserialize_with = "given")]
    locale: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Confirmation {
    jkt: String,
}

impl RawClaims {
    /// Reads a payload. `None` when it is no object, a claim is missing, of another type, or twice
    /// there.
    pub fn read(payload: &[u8]) -> Option<Self> {
        strict_json::object(payload)
    }

    /// Checks everything but the signature and that `iss` is an issuer of ours.
    ///
    /// # Errors
    /// The first rule the claims break.
    pub fn check(self, rules: &ClaimRules, now: DateTime<Utc>) -> Result<Claims, ClaimError> {
        self.check_audience(rules)?;
        let (issued_at, expires_at) = self.check_time(rules, now)?;
        let jkt = read_jkt(self.cnf)?;
        let held_roles: Vec<String> = agreed([self.roles, self.role])?.unwrap_or_default();
        let property_ids =
            agreed([self.property_ids, self.property_id, self.properties, self.property_scope])?;
        if held_roles.len() > LIST_MAX
            || property_ids.as_ref().is_some_and(|ids| ids.len() > LIST_MAX)
        {
            return Err(ClaimError::Malformed);
        }
        let sid = agreed([self.sid, self.session_id])?
            .filter(|text| is_key_safe(text))
            .ok_or(ClaimError::Malformed)?;
        if self.locale.as_deref().is_some_and(|locale| !is_language_tag(locale)) {
            return Err(ClaimError::Malformed);
        }
        Ok(Claims {
            // The reserved tenant holds the service's own events: nobody signs in there.
            tenant_id: agreed([self.tid, self.tenant_id])?
                .filter(|tenant_id| *tenant_id != TenantId::system())
                .ok_or(ClaimError::Malformed)?,
            operator_id: agreed([self.sub, self.user_id, self.staff_id])?
                .ok_or(ClaimError::Malformed)?,
            device_id: self.device_id,
            sid,
            jkt,
            roles: held_roles,
            property_ids,
            locale: self.locale,
            issued_at,
            expires_at,
        })
    }

    fn check_audience(&self, rules: &ClaimRules) -> Result<(), ClaimError> {
        let is_ours = match &self.aud {
            Audience::One(audience) => *audience == rules.audience,
            Audience::Many(audiences) => audiences.contains(&rules.audience),
        };
        if is_ours { Ok(()) } else { Err(ClaimError::NotForUs) }
    }

    fn check_time(
        &self,
        rules: &ClaimRules,
        now: DateTime<Utc>,
    ) -> Result<(DateTime<Utc>, DateTime<Utc>), ClaimError> {
        let instant = |seconds: WholeSeconds| {
            DateTime::from_timestamp(seconds.0, 0).ok_or(ClaimError::Malformed)
        };
        let (issued_at, expires_at) = (instant(self.iat)?, instant(self.exp)?);
        let not_before = self.nbf.map(instant).transpose()?;
        if is_expired(expires_at, rules.leeway, now) {
            return Err(ClaimError::Expired);
        }
        let is_early = |at: DateTime<Utc>| at > now + rules.leeway;
        let lives_too_long = expires_at > issued_at + rules.lifetime_max || expires_at < issued_at;
        if is_early(issued_at) || not_before.is_some_and(is_early) || lives_too_long {
            return Err(ClaimError::Time);
        }
        Ok((issued_at, expires_at))
    }
}

/// Whether a token that ends at `expires_at` is of no use any more.
pub fn is_expired(expires_at: DateTime<Utc>, leeway: Duration, now: DateTime<Utc>) -> bool {
    expires_at + leeway < now
}

/// The one value the names agree on; `None` when none is there.
fn agreed<T: PartialEq, const N: usize>(names: [Option<T>; N]) -> Result<Option<T>, ClaimError> {
    let mut agreed = None;
    for value in names.into_iter().flatten() {
        match &agreed {
            Some(first) if *first != value => return Err(ClaimError::Malformed),
            Some(_) => (),
            None => agreed = Some(value),
        }
    }
    Ok(agreed)
}

fn read_jkt(confirmation: Option<Object<Confirmation>>) -> Result<String, ClaimError> {
    let Object(confirmation) = confirmation.ok_or(ClaimError::Unbound)?;
    let is_thumbprint = confirmation.jkt.len() == JKT_CHARS
        && jws::decode(&confirmation.jkt).is_some_and(|bytes| bytes.len() == 32);
    if is_thumbprint { Ok(confirmation.jkt) } else { Err(ClaimError::Unbound) }
}

/// The shape of BCP 47, not its registry.
fn is_language_tag(text: &str) -> bool {
    (1..=LOCALE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The same letters as every other id: no braces, globs, spaces or control characters.
fn is_key_safe(text: &str) -> bool {
    (1..=SID_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'~')
        })
}
