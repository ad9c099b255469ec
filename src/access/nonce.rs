//! Nonces for proofs (RFC 9449 §8): stateless, good for three minutes, bound to a tenant and a key.
//!
//! A nonce is `base64url(step ‖ HMAC-SHA256(secret, label ‖ step ‖ tenant ‖ jkt)[..16])`, step
//! being minutes since 1970 as 32 bits. Every instance with the secret accepts it; nobody else can
//! make one, of this minute or of one to come. The gate passes the epoch of the replay store with
//! the tenant, so that nonces end when the store forgets which proofs were used.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::jws;

const LABEL: &[u8] = b"dpop-nonce-v1";
const STEP_SECONDS: i64 = 60;
/// Nonces of this many steps back are accepted still.
const STEPS_BACK_MAX: i64 = 2;
/// The clock of another instance may be this many steps ahead.
const STEPS_AHEAD_MAX: i64 = 1;
const MAC_BYTES: usize = 16;
const NONCE_BYTES: usize = 4 + MAC_BYTES;
/// Shorter secrets are refused.
const SECRET_BYTES_MIN: usize = 32;

/// A nonce secret is shorter than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a nonce secret is shorter than 32 bytes")]
pub struct ShortSecret;

/// Issues and checks nonces.
pub struct Nonces(ArcSwap<Keys>);

/// The keys between two rotations.
struct Keys {
    current: hmac::Key,
    previous: Vec<hmac::Key>,
}

/// What a good nonce says of its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Of this minute and the current secret.
    Current,
    /// Good, but the answer should carry a fresh one.
    Ageing,
}

impl Nonces {
    /// `current` signs; nonces under `previous` are accepted, so that a rotation refuses nobody.
    ///
    /// # Errors
    /// A secret of less than 32 bytes.
    pub fn new(
        current: &SecretString,
        previous: Option<&SecretString>,
    ) -> Result<Self, ShortSecret> {
        let previous = previous.map(key).transpose()?.into_iter().collect();
        Ok(Self(ArcSwap::from_pointee(Keys { current: key(current)?, previous })))
    }

    /// From now on `current` signs, and nonces under any of `previous` are accepted beside it.
    ///
    /// # Errors
    /// A secret of less than 32 bytes; the keys stay what they were.
    pub fn rotate(
        &self,
        current: &SecretString,
        previous: &[SecretString],
    ) -> Result<(), ShortSecret> {
        let previous = previous.iter().map(key).collect::<Result<_, _>>()?;
        self.0.store(Arc::new(Keys { current: key(current)?, previous }));
        Ok(())
    }

    /// The nonce of this minute: 27 characters of base64url.
    pub fn issue(&self, tenant: &str, jkt: &str, now: DateTime<Utc>) -> String {
        let step = step_of(now);
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&step.to_be_bytes());
        nonce[4..].copy_from_slice(&mac(&self.0.load().current, step, tenant, jkt));
        jws::encode(nonce)
    }

    /// `None` when `nonce` is not one of ours for this tenant and key, or is too old or too new.
    pub fn check(
        &self,
        nonce: &str,
        tenant: &str,
        jkt: &str,
        now: DateTime<Utc>,
    ) -> Option<Freshness> {
        let bytes: [u8; NONCE_BYTES] = jws::decode(nonce)?.try_into().ok()?;
        let (step, given) = bytes.split_first_chunk::<4>()?;
        let step = u32::from_be_bytes(*step);
        let age = i64::from(step_of(now)) - i64::from(step);
        if !(-STEPS_AHEAD_MAX..=STEPS_BACK_MAX).contains(&age) {
            return None;
        }
        let keys = self.0.load();
        let is_of = |key| bool::from(mac(key, step, tenant, jkt).ct_eq(given));
        if is_of(&keys.current) {
            return Some(if age <= 0 { Freshness::Current } else { Freshness::Ageing });
        }
        keys.previous.iter().any(is_of).then_some(Freshness::Ageing)
    }
}

fn key(secret: &SecretString) -> Result<hmac::Key, ShortSecret> {
    let secret = secret.expose_secret().as_bytes();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(ShortSecret);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, secret))
}

fn step_of(now: DateTime<Utc>) -> u32 {
    u32::try_from(now.timestamp().div_euclid(STEP_SECONDS)).unwrap_or(0)
}

/// No tenant id contains a zero byte, so that the parts cannot be shifted.
fn mac(key: &hmac::Key, step: u32, tenant: &str, jkt: &str) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    for part in [LABEL, &step.to_be_bytes(), tenant.as_bytes(), &[0], jkt.as_bytes()] {
        context.update(part);
    }
    let mut mac = [0; MAC_BYTES];
    mac.copy_from_slice(&context.sign().as_ref()[..MAC_BYTES]);
    mac
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const TENANT: &str = "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY";
    const JKT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

    fn secret(letter: char) -> SecretString {
        SecretString::from(letter.to_string().repeat(32))
    }

    fn nonces(current: char, previous: Option<char>) -> Nonces {
        Nonces::new(&secret(current), previous.map(secret).as_ref()).unwrap()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_040, 0).unwrap()
    }

    #[test]
    fn dp_non_05_06_a_nonce_is_good_for_two_steps_back_and_one_ahead() {
        let nonces = nonces('a', None);
        let nonce = nonces.issue(TENANT, JKT, now());
        for (minutes, expected) in [
            (-2, None),
            (-1, Some(Freshness::Current)),
            (0, Some(Freshness::Current)),
            (1, Some(Freshness::Ageing)),
            (2, Some(Freshness::Ageing)),
            (3, None),
        ] {
            let later = now() + TimeDelta::minutes(minutes);
            assert_eq!(nonces.check(&nonce, TENANT, JKT, later), expected, "{minutes}");
        }
    }

    #[test]
    fn dp_non_07_08_a_nonce_is_for_one_key_of_one_tenant() {
        let nonces = nonces('a', None);
        let nonce = nonces.issue(TENANT, JKT, now());
        assert_eq!(nonces.check(&nonce, TENANT, "other", now()), None);
        assert_eq!(nonces.check(&nonce, "tnt_other", JKT, now()), None);
    }

    #[test]
    fn dp_non_15_after_a_rotation_nonces_of_the_previous_secret_are_good_still() {
        let old = nonces('a', None).issue(TENANT, JKT, now());
        let rotated = nonces('b', Some('a'));
        assert_eq!(rotated.check(&old, TENANT, JKT, now()), Some(Freshness::Ageing));
        assert_eq!(nonces('b', None).check(&old, TENANT, JKT, now()), None);
        assert_eq!(nonces('b', Some('c')).check(&old, TENANT, JKT, now()), None);
    }

    #[test]
    fn dp_non_19_the_mac_of_one_minute_key_or_tenant_is_no_mac_of_another() {
        let nonces = nonces('a', None);
        let issued = |tenant: &str, jkt: &str, minutes: i64| {
            let nonce = nonces.issue(tenant, jkt, now() + TimeDelta::minutes(minutes));
            jws::decode(&nonce).unwrap()
        };
        let step = |minutes: i64| step_of(now() + TimeDelta::minutes(minutes)).to_be_bytes();
        for (tenant, jkt, minutes) in
            [(TENANT, JKT, 1), (TENANT, JKT, -1), (TENANT, "other", 0), ("tnt_other", JKT, 0)]
        {
            let mac = &issued(tenant, jkt, minutes)[4..];
            for claimed in -2..=2 {
                let forged = jws::encode([&step(claimed)[..], mac].concat());
                let is_its_own = (tenant, jkt, minutes) == (TENANT, JKT, claimed);
                let checked = nonces.check(&forged, TENANT, JKT, now());
                assert_eq!(checked.is_some(), is_its_own, "{tenant} {jkt} {minutes} {claimed}");
            }
        }
        let without_key = super::tests::nonces('b', None);
        let guessed = without_key.issue(TENANT, JKT, now() + TimeDelta::minutes(1));
        assert_eq!(nonces.check(&guessed, TENANT, JKT, now()), None);
    }

    #[test]
    fn dp_non_04_19_what_we_did_not_issue_is_no_nonce() {
        let nonces = nonces('a', None);
        let good = nonces.issue(TENANT, JKT, now());
        assert_eq!(good.len(), 27);
        for position in 0..good.len() {
            let mut letters: Vec<char> = good.chars().collect();
            letters[position] = if letters[position] == 'A' { 'E' } else { 'A' };
            let forged: String = letters.into_iter().collect();
            assert_eq!(nonces.check(&forged, TENANT, JKT, now()), None, "{position}");
        }
        for wrong in ["", "garbage", &good[..20], &format!("{good}A"), &format!("{good}=")] {
            assert_eq!(nonces.check(wrong, TENANT, JKT, now()), None, "{wrong}");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(Nonces::new(&SecretString::from("short"), None).is_err());
    }
}
