//! Opaque tokens: what a client hands back to us but may neither read nor make, nor take from
//! another tenant.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use events::TenantId;

/// Longer tokens were not made here.
const TOKEN_LENGTH_MAX: usize = 512;

/// What a token is for: one of another purpose does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `X-Ledger-Position` and `X-Min-Position`: no tenant sees how much the others write.
    LedgerPosition,
    /// `nextCursor` of a list.
    PageCursor,
}

/// Seals tokens and opens them again.
pub struct Seal {
    key: RandomizedNonceKey,
}

/// The token was not made here, or not for this purpose and tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token of ours")]
pub struct Forged;

impl Seal {
    pub fn new(key: &[u8; 32]) -> Self {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).expect("the key has 32 bytes");
        Self { key }
    }

    /// A base64url token, 38 characters longer than `content` needs.
    pub fn seal(&self, purpose: Purpose, tenant_id: &TenantId, content: &[u8]) -> String {
        let mut bytes = content.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(context(purpose, tenant_id)), &mut bytes)
            .expect("a token is far below the cipher's limit");
        URL_SAFE_NO_PAD.encode([nonce.as_ref().as_slice(), &bytes].concat())
    }

    /// What was sealed for the same purpose and tenant.
    ///
    /// # Errors
    /// [`Forged`] for anything else.
    pub fn open(
        &self,
        purpose: Purpose,
        tenant_id: &TenantId,
        token: &str,
    ) -> Result<Vec<u8>, Forged> {
        if TOKEN_LENGTH_MAX < token.len() {
            return Err(Forged);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| Forged)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(Forged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Forged)?;
        let mut sealed = sealed.to_vec();
        self.key
            .open_in_place(nonce, Aad::from(context(purpose, tenant_id)), &mut sealed)
            .map(|opened| opened.to_vec())
            .map_err(|_| Forged)
    }

    /// The token of a ledger position, from 1.
    pub fn position(&self, tenant_id: &TenantId, position: i64) -> String {
        self.seal(Purpose::LedgerPosition, tenant_id, &position.to_be_bytes())
    }

    /// The ledger position in a token.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_position(&self, tenant_id: &TenantId, token: &str) -> Result<i64, Forged> {
        let bytes = self.open(Purpose::LedgerPosition, tenant_id, token)?;
        bytes.try_into().map(i64::from_be_bytes).map_err(|_| Forged)
    }
}

fn context(purpose: Purpose, tenant_id: &TenantId) -> String {
    format!("{purpose:?} {tenant_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_for_its_own_tenant_only() {
        let seal = Seal::new(&[7; 32]);
        let token = seal.position(&tenant('A'), 42);

        assert_eq!(seal.open_position(&tenant('A'), &token), Ok(42));
        assert_eq!(seal.open_position(&tenant('B'), &token), Err(Forged));
        for wrong in ["", "42", "%", &token[1..], &format!("{token}A"), &"A".repeat(600)] {
            assert_eq!(seal.open_position(&tenant('A'), wrong), Err(Forged), "{wrong}");
        }
    }

    #[test]
    fn a_token_of_one_purpose_is_no_token_of_another() {
        let seal = Seal::new(&[7; 32]);
        let cursor = seal.seal(Purpose::PageCursor, &tenant('A'), &42_i64.to_be_bytes());
        assert_eq!(seal.open_position(&tenant('A'), &cursor), Err(Forged));
    }

    #[test]
    fn equal_positions_do_not_look_alike() {
        let seal = Seal::new(&[7; 32]);
        assert_ne!(seal.position(&tenant('A'), 42), seal.position(&tenant('A'), 42));
    }

    fn tenant(last: char) -> TenantId {
        format!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0X{last}").parse().unwrap()
    }
}
