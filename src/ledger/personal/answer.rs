//! Stored answers: sealed at rest under a key that the master key yields, each for its own claim
//! alone.

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce};

use super::{MasterKey, PersonalError};
use crate::ledger::idempotency::{ClaimKey, StoredResponse};

/// Layout of a sealed body: this byte, the length of the master key's name and the name, the nonce
/// (12), the encrypted body and its tag (16).
const SEALED_VERSION: u8 = 1;

/// The body of `response`, sealed for `claim`. Status and headers stay in the clear and are vouched
/// for.
pub(in crate::ledger) fn seal(
    master_key: &MasterKey,
    claim: &ClaimKey,
    response: &StoredResponse,
) -> Result<Vec<u8>, PersonalError> {
    let named = master_key.current();
    let name_size = u8::try_from(named.id.len()).map_err(|_| PersonalError::Cipher)?;
    let mut sealed = response.body.clone();
    let nonce = named
        .answers
        .seal_in_place_append_tag(Aad::from(binding(claim, response)), &mut sealed)
        .map_err(|_| PersonalError::Cipher)?;
    let header = [SEALED_VERSION, name_size];
    Ok([&header[..], named.id.as_bytes(), nonce.as_ref(), &sealed].concat())
}

/// The answer whose body [`seal`] has sealed.
pub(in crate::ledger) fn open(
    master_key: &MasterKey,
    claim: &ClaimKey,
    mut response: StoredResponse,
) -> Result<StoredResponse, PersonalError> {
    let binding = binding(claim, &response);
    let rest = response.body.strip_prefix(&[SEALED_VERSION]).ok_or(PersonalError::Forged)?;
    let (name_size, rest) = rest.split_first().ok_or(PersonalError::Forged)?;
    let (name, rest) =
        rest.split_at_checked(usize::from(*name_size)).ok_or(PersonalError::Forged)?;
    let name = std::str::from_utf8(name).map_err(|_| PersonalError::Forged)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(PersonalError::Forged)?;
    let mut opened = sealed.to_vec();
    let body = master_key
        .find(name)?
        .answers
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(binding), &mut opened)
        .map_err(|_| PersonalError::Forged)?;
    response.body = body.to_vec();
    Ok(response)
}

/// What the cipher authenticates beside the body. No id can contain the separator.
fn binding(claim: &ClaimKey, response: &StoredResponse) -> String {
    let ClaimKey { tenant_id, device_id, key } = claim;
    let headers = serde_json::to_string(&response.headers).expect("pairs of strings are JSON");
    let status = response.status;
    format!("answer/1\n{tenant_id}\n{device_id}\n{key}\n{status}\n{headers}")
}

#[cfg(test)]
mod tests {
    use events::TenantId;
    use ulid::Ulid;

    use super::*;

    fn claim(key: u128) -> ClaimKey {
        ClaimKey {
            tenant_id: TenantId::system(),
            device_id: "dev_1".parse().unwrap(),
            key: Ulid(key),
        }
    }

    fn response() -> StoredResponse {
        let headers = [("Content-Type".to_owned(), "application/json".to_owned())];
        StoredResponse::new(200, headers, br#"{"guest":"Amina"}"#.to_vec())
    }

    fn sealed(master_key: &MasterKey) -> StoredResponse {
        let body = seal(master_key, &claim(1), &response()).unwrap();
        StoredResponse { body, ..response() }
    }

    #[test]
    fn id_42_an_answer_is_sealed_and_opens_for_its_own_claim_alone() {
        let key = MasterKey::new("k1", &[7; 32]).unwrap();
        let sealed = sealed(&key);

        assert!(!sealed.body.windows(5).any(|bytes| bytes == b"Amina"));
        assert_eq!(open(&key, &claim(1), sealed.clone()).unwrap(), response());
        assert!(matches!(open(&key, &claim(2), sealed.clone()), Err(PersonalError::Forged)));
        let other_status = StoredResponse { status: 201, ..sealed.clone() };
        assert!(matches!(open(&key, &claim(1), other_status), Err(PersonalError::Forged)));
        let other_headers = StoredResponse { headers: Vec::new(), ..sealed.clone() };
        assert!(matches!(open(&key, &claim(1), other_headers), Err(PersonalError::Forged)));
        let size = sealed.body.len();
        for cut in 0..size {
            let body = sealed.body[..cut].to_vec();
            let cut = StoredResponse { body, ..response() };
            assert!(open(&key, &claim(1), cut).is_err());
        }
    }

    #[test]
    fn id_42_an_answer_outlives_the_rotation_of_its_key_and_no_longer() {
        let old = MasterKey::new("k1", &[7; 32]).unwrap();
        let sealed = sealed(&old);

        let rotated = MasterKey::new("k2", &[8; 32]).unwrap();
        let both = rotated.clone().with_previous("k1", &[7; 32]).unwrap();

        assert_eq!(open(&both, &claim(1), sealed.clone()).unwrap(), response());
        let unknown = open(&rotated, &claim(1), sealed);
        assert!(matches!(unknown, Err(PersonalError::UnknownMasterKey(name)) if name == "k1"));
    }
}
