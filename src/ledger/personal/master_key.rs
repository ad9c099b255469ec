//! The master key, and the keys of persons as it wraps them.

use std::sync::Arc;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use events::{OperatorId, TenantId};
use ulid::Ulid;

use super::{PersonalError, SubjectKey};

/// Layout of a wrapped key: this byte, the nonce (12), the encrypted key and its tag (16).
const WRAPPED_VERSION: u8 = 1;
/// Of a master key and of a person's.
pub(super) const KEY_BYTES: usize = 32;

/// The text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a master key has 32 bytes and an id of 1 to 64 characters")]
pub struct InvalidMasterKey;

/// The key that wraps the keys of persons and seals stored answers, and those that did so before
/// it.
#[derive(Clone)]
pub struct MasterKey {
    current: Arc<NamedKey>,
    previous: Vec<Arc<NamedKey>>,
}

/// A master key under the name that the rows it wrapped bear.
pub(super) struct NamedKey {
    pub id: String,
    key: RandomizedNonceKey,
    /// Derived: seals the answers that claims keep.
    pub answers: RandomizedNonceKey,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey").field("id", &self.current.id).finish_non_exhaustive()
    }
}

impl MasterKey {
    /// `key` is 32 random bytes; `id` names it in the rows it wrapped.
    ///
    /// # Errors
    /// [`InvalidMasterKey`] for any other length.
    pub fn new(id: &str, key: &[u8]) -> Result<Self, InvalidMasterKey> {
        Ok(Self { current: named(id, key)?, previous: Vec::new() })
    }

    /// Also reads what an older master key wrapped.
    ///
    /// # Errors
    /// [`InvalidMasterKey`] as for [`new`](Self::new).
    pub fn with_previous(mut self, id: &str, key: &[u8]) -> Result<Self, InvalidMasterKey> {
        self.previous.push(named(id, key)?);
        Ok(self)
    }

    /// What wraps new keys.
    pub(super) fn current(&self) -> &NamedKey {
        &self.current
    }

    /// The key of this name, the current one or an older.
    pub(super) fn find(&self, id: &str) -> Result<&NamedKey, PersonalError> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|named| named.id == id)
            .map(|named| &**named)
            .ok_or_else(|| PersonalError::UnknownMasterKey(id.to_owned()))
    }
}

fn named(id: &str, key: &[u8]) -> Result<Arc<NamedKey>, InvalidMasterKey> {
    if !(1..=64).contains(&id.len()) || key.len() != KEY_BYTES {
        return Err(InvalidMasterKey);
    }
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"answers of claims/1");
    let cipher = |key: &[u8]| RandomizedNonceKey::new(&AES_256_GCM, key);
    let key = cipher(key).map_err(|_| InvalidMasterKey)?;
    let answers = cipher(derived.as_ref()).map_err(|_| InvalidMasterKey)?;
    Ok(Arc::new(NamedKey { id: id.to_owned(), key, answers }))
}

/// A new key for a person, wrapped: opens only with what `binding` names.
pub(super) fn new_wrapped_key(
    master_key: &NamedKey,
    binding: &str,
) -> Result<Vec<u8>, PersonalError> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| PersonalError::Cipher)?;
    let nonce = master_key
        .key
        .seal_in_place_append_tag(Aad::from(binding), &mut key)
        .map_err(|_| PersonalError::Cipher)?;
    Ok([&[WRAPPED_VERSION], nonce.as_ref().as_slice(), &key].concat())
}

/// The key that [`new_wrapped_key`] made.
pub(super) fn unwrap(
    master_key: &NamedKey,
    binding: &str,
    id: Ulid,
    wrapped: &[u8],
) -> Result<SubjectKey, PersonalError> {
    let rest = wrapped.strip_prefix(&[WRAPPED_VERSION]).ok_or(PersonalError::Forged)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(PersonalError::Forged)?;
    let mut key = sealed.to_vec();
    let key = master_key
        .key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(binding), &mut key)
        .map_err(|_| PersonalError::Forged)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| PersonalError::Cipher)?;
    Ok(SubjectKey { id, key })
}

/// What the cipher authenticates beside a person's key.
pub(super) fn key_binding(
    tenant_id: &TenantId,
    subject_id: &OperatorId,
    key_id: Ulid,
    master_key_id: &str,
) -> String {
    format!("subject-key/1\n{tenant_id}\n{subject_id}\n{key_id}\n{master_key_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_key_is_never_shown() {
        let key = MasterKey::new("k1", &[0x41; 32]).unwrap();
        assert_eq!(format!("{key:?}"), r#"MasterKey { id: "k1", .. }"#);
        assert_eq!(MasterKey::new("k1", &[0; 31]).err(), Some(InvalidMasterKey));
    }
}
