//! `X-Ledger-Position`: where a write stands, sealed, so that no tenant sees how much the others write.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantId;

/// Seals positions for clients and opens what they send back as `X-Min-Position`.
pub struct PositionSeal {
    key: RandomizedNonceKey,
}

/// The token was not made here, or not for this tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a ledger position of this tenant")]
pub struct ForgedPosition;

impl PositionSeal {
    pub fn new(key: &[u8; 32]) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        Self { key }
    }

    /// An opaque token of 48 characters for `position` (from 1).
    pub fn seal(&self, tenant_id: &TenantId, position: i64) -> String {
        let mut bytes = position.to_be_bytes().to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(tenant_id.as_str()), &mut bytes)
            .expect("eight bytes are short enough to seal");
        URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// The position in a token made by [`Self::seal`] for the same tenant.
    ///
    /// # Errors
    /// [`ForgedPosition`] for anything else.
    pub fn open(&self, tenant_id: &TenantId, token: &str) -> Result<i64, ForgedPosition> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| ForgedPosition)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(ForgedPosition)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| ForgedPosition)?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(tenant_id.as_str()), &mut sealed)
            .map_err(|_| ForgedPosition)?;
        opened.try_into().map(i64::from_be_bytes).map_err(|_| ForgedPosition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_for_its_own_tenant_only() {
        let seal = PositionSeal::new(&[7; 32]);
        let token = seal.seal(&tenant('A'), 42);

        assert_eq!(seal.open(&tenant('A'), &token), Ok(42));
        assert_eq!(seal.open(&tenant('B'), &token), Err(ForgedPosition));
        for wrong in ["", "42", "%", &token[1..], &format!("{token}A")] {
            assert_eq!(seal.open(&tenant('A'), wrong), Err(ForgedPosition), "{wrong}");
        }
    }

    #[test]
    fn equal_positions_do_not_look_alike() {
        let seal = PositionSeal::new(&[7; 32]);
        assert_ne!(seal.seal(&tenant('A'), 42), seal.seal(&tenant('A'), 42));
    }

    fn tenant(last: char) -> TenantId {
        format!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0X{last}").parse().unwrap()
    }
}
