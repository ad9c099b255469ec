//! Personal fields: ciphertext under a key a person, so that deleting the key erases them and
//! leaves every proof valid.

pub(super) mod answer;
mod master_key;

use std::{sync::Arc, time::Duration};

use aws_lc_rs::aead::{Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use events::{EventId, OperatorId, StreamId, TenantId};
use moka::future::Cache;
use sqlx::{PgConnection, PgPool};
use ulid::Ulid;

pub use self::master_key::{InvalidMasterKey, MasterKey};
use self::master_key::{key_binding, new_wrapped_key, unwrap};
use super::pools::Pools;

/// Layout of a ciphertext: this byte, the key's id (16), the nonce (12), the encrypted fields and
/// their tag (16).
const CIPHERTEXT_VERSION: u8 = 1;
const KEY_ID_BYTES: usize = 16;
/// Keys kept unwrapped, per instance.
const CACHED_KEYS_MAX: u64 = 10_000;
/// How long after an erasure an instance may still read, or write under, the erased key.
pub const ERASURE_DELAY_MAX: Duration = Duration::from_mins(1);

/// Why personal fields could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum PersonalError {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// Tampered with, or moved here from another event or claim.
    #[error("the ciphertext does not belong here")]
    Forged,
    #[error("the master key {0} is not known here")]
    UnknownMasterKey(String),
    #[error("the cipher failed")]
    Cipher,
}

/// Where a ciphertext belongs. It opens nowhere else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub tenant_id: &'a TenantId,
    pub stream: &'a StreamId,
    pub event_id: &'a EventId,
    pub subject_id: &'a OperatorId,
}

/// The unwrapped key of one person.
pub(super) struct SubjectKey {
    id: Ulid,
    key: RandomizedNonceKey,
}

impl SubjectKey {
    pub fn seal(&self, place: Place<'_>, plaintext: &[u8]) -> Result<Vec<u8>, PersonalError> {
        let mut sealed = plaintext.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(binding(place, self.id)), &mut sealed)
            .map_err(|_| PersonalError::Cipher)?;
        let header = [CIPHERTEXT_VERSION];
        Ok([&header[..], &self.id.to_bytes(), nonce.as_ref(), &sealed].concat())
    }

    /// The fields; `None` when an erased key had encrypted them.
    pub fn open(
        &self,
        place: Place<'_>,
        ciphertext: &[u8],
    ) -> Result<Option<Vec<u8>>, PersonalError> {
        let rest = ciphertext.strip_prefix(&[CIPHERTEXT_VERSION]).ok_or(PersonalError::Forged)?;
        let (key_id, rest) =
            rest.split_first_chunk::<KEY_ID_BYTES>().ok_or(PersonalError::Forged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(PersonalError::Forged)?;
        if Ulid::from_bytes(*key_id) != self.id {
            return Ok(None);
        }
        let mut opened = sealed.to_vec();
        let plaintext = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(binding(place, self.id)),
                &mut opened,
            )
            .map_err(|_| PersonalError::Forged)?;
        Ok(Some(plaintext.to_vec()))
    }
}

/// The keys of persons, unwrapped; shared by all requests of an instance.
#[derive(Clone)]
pub(super) struct Keyring {
    master_key: MasterKey,
    unwrapped: Cache<(TenantId, OperatorId), Arc<SubjectKey>>,
}

impl Keyring {
    pub fn new(master_key: MasterKey) -> Self {
        let unwrapped =
            Cache::builder().max_capacity(CACHED_KEYS_MAX).time_to_live(ERASURE_DELAY_MAX).build();
        Self { master_key, unwrapped }
    }

    pub fn master_key(&self) -> &MasterKey {
        &self.master_key
    }

    /// The key, if this instance has it unwrapped.
    async fn cached(
        &self,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Option<Arc<SubjectKey>> {
        self.unwrapped.get(&(tenant_id.clone(), subject_id.clone())).await
    }

    /// The person's key; `None` when there is none, or no longer. `connection` is in a transaction
    /// of the tenant, which has made none.
    pub async fn find(
        &self,
        connection: &mut PgConnection,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Result<Option<Arc<SubjectKey>>, PersonalError> {
        if let Some(key) = self.cached(tenant_id, subject_id).await {
            return Ok(Some(key));
        }
        let key = self.read(connection, tenant_id, subject_id).await?;
        if let Some(key) = &key {
            self.keep(tenant_id, subject_id, key).await;
        }
        Ok(key)
    }

    /// The person's key, made and stored now if there is none.
    pub async fn find_or_create(
        &self,
        pools: &Pools,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Result<Arc<SubjectKey>, PersonalError> {
        if let Some(key) = self.cached(tenant_id, subject_id).await {
            return Ok(key);
        }
        let mut transaction = pools.begin(tenant_id).await?;
        let key = match self.read(&mut transaction, tenant_id, subject_id).await? {
            Some(key) => key,
            None => self.create(&mut transaction, tenant_id, subject_id).await?,
        };
        transaction.commit().await?;
        // Not before: what a key seals that was never stored is lost to everybody.
        self.keep(tenant_id, subject_id, &key).await;
        Ok(key)
    }

    /// The key as `connection` sees it.
    async fn read(
        &self,
        connection: &mut PgConnection,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Result<Option<Arc<SubjectKey>>, PersonalError> {
        let row = sqlx::query!(
            r#"
            select key_id, wrapped_key, master_key_id
            from subject_key
            where tenant_id = $1 and subject_id = $2
            "#,
            tenant_id.as_str(),
            subject_id.as_str(),
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(None) };

        let key_id: Ulid = row.key_id.parse().map_err(|_| PersonalError::Forged)?;
        let master_key = self.master_key.find(&row.master_key_id)?;
        let binding = key_binding(tenant_id, subject_id, key_id, &master_key.id);
        Ok(Some(Arc::new(unwrap(master_key, &binding, key_id, &row.wrapped_key)?)))
    }

    async fn create(
        &self,
        connection: &mut PgConnection,
        tenant_id: &TenantId,
        subject_id: &OperatorId,
    ) -> Result<Arc<SubjectKey>, PersonalError> {
        let key_id = Ulid::generate();
        let binding = key_binding(tenant_id, subject_id, key_id, &self.master_key.current().id);
        sqlx::query!(
            r#"
            insert into subject_key (tenant_id, subject_id, key_id, wrapped_key, master_key_id)
            values ($1, $2, $3, $4, $5)
            on conflict do nothing
            "#,
            tenant_id.as_str(),
            subject_id.as_str(),
            key_id.to_string(),
            new_wrapped_key(self.master_key.current(), &binding)?,
            self.master_key.current().id,
        )
        .execute(&mut *connection)
        .await?;
        // Not what was just made: another instance may have been first, and its key is the one that
        // counts.
        self.read(connection, tenant_id, subject_id).await?.ok_or(PersonalError::Cipher)
    }

    async fn keep(&self, tenant_id: &TenantId, subject_id: &OperatorId, key: &Arc<SubjectKey>) {
        self.unwrapped.insert((tenant_id.clone(), subject_id.clone()), Arc::clone(key)).await;
    }

    pub async fn forget(&self, tenant_id: &TenantId, subject_id: &OperatorId) {
        self.unwrapped.invalidate(&(tenant_id.clone(), subject_id.clone())).await;
    }
}

/// Deletes a person's key; true when there was one. `jobs` is the pool of `backoffice_jobs`.
///
/// Other instances may hold it for [`ERASURE_DELAY_MAX`] more.
///
/// # Errors
/// When the database fails; nothing is erased then.
pub(super) async fn erase(
    jobs: &PgPool,
    tenant_id: &TenantId,
    subject_id: &OperatorId,
) -> Result<bool, sqlx::Error> {
    let deleted = sqlx::query!(
        "delete from subject_key where tenant_id = $1 and subject_id = $2",
        tenant_id.as_str(),
        subject_id.as_str(),
    )
    .execute(jobs)
    .await?;
    Ok(0 < deleted.rows_affected())
}

/// What the cipher authenticates beside a person's fields. No id can contain the separator.
fn binding(place: Place<'_>, key_id: Ulid) -> String {
    let Place { tenant_id, stream, event_id, subject_id } = place;
    format!("personal/1\n{tenant_id}\n{stream}\n{event_id}\n{subject_id}\n{key_id}")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::aead::AES_256_GCM;

    use super::{master_key::KEY_BYTES, *};

    fn key(id: u128) -> SubjectKey {
        SubjectKey {
            id: Ulid(id),
            key: RandomizedNonceKey::new(&AES_256_GCM, &[7; KEY_BYTES]).unwrap(),
        }
    }

    struct Ids(TenantId, StreamId, EventId, OperatorId);

    fn ids(stream: &str) -> Ids {
        Ids(
            TenantId::system(),
            stream.parse().unwrap(),
            EventId::new(Ulid(5)),
            "usr_1".parse().unwrap(),
        )
    }

    fn place(ids: &Ids) -> Place<'_> {
        Place { tenant_id: &ids.0, stream: &ids.1, event_id: &ids.2, subject_id: &ids.3 }
    }

    #[test]
    fn a_ciphertext_opens_at_its_own_place_alone() {
        let (here, there) = (ids("ali:a1"), ids("ali:a2"));
        let sealed = key(1).seal(place(&here), b"said so").unwrap();

        assert_eq!(key(1).open(place(&here), &sealed).unwrap().as_deref(), Some(&b"said so"[..]));
        assert!(matches!(key(1).open(place(&there), &sealed), Err(PersonalError::Forged)));
    }

    #[test]
    fn what_an_erased_key_sealed_is_absent_under_the_next() {
        let here = ids("ali:a1");
        let sealed = key(1).seal(place(&here), b"said so").unwrap();
        assert_eq!(key(2).open(place(&here), &sealed).unwrap(), None);
    }

    #[test]
    fn a_changed_or_cut_ciphertext_is_refused() {
        let here = ids("ali:a1");
        let sealed = key(1).seal(place(&here), b"said so").unwrap();
        let mut changed = sealed.clone();
        *changed.last_mut().unwrap() ^= 1;
        for wrong in [&changed[..], &sealed[..20], &[]] {
            assert!(matches!(key(1).open(place(&here), wrong), Err(PersonalError::Forged)));
        }
    }
}
