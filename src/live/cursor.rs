//! A desktop's place in its tenant's live streams, sealed so that it can be neither read, forged
//! nor carried to another tenant.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use events::TenantId;
use hmac::{Hmac, KeyInit, Mac};
use projections::Log;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

const TAG_BYTES: usize = 16;
/// An epoch and a place in each log.
const BODY_BYTES: usize = 32;
const ENTRY_ID_BYTES: usize = 12;
const MASK_BYTES: usize = 32;
/// Base64url of tag and body, without and with a place among the refresh hints.
const TEXT_BYTES: [usize; 2] = [64, 80];

/// The place of one live event in its log: the fact's position and the event's number in the fact,
/// from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    pub position: i64,
    pub number: u32,
}

/// The last live event a desktop has of each log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Names one life of the tenant's streams in Redis, microseconds since 1970; events of another
    /// life may be missing.
    pub epoch: i64,
    pub ledger: EntryId,
    pub inbox: EntryId,
    /// Up to where a poll has looked for refresh hints, those of all tenants: the entry's time in
    /// milliseconds and its number. A stream does not repeat any, so its cursors have none.
    pub hints: Option<EntryId>,
}

impl Cursor {
    pub fn of(&self, log: Log) -> EntryId {
        match log {
            Log::Ledger => self.ledger,
            Log::Inbox => self.inbox,
        }
    }

    pub fn set(&mut self, log: Log, id: EntryId) {
        match log {
            Log::Ledger => self.ledger = id,
            Log::Inbox => self.inbox = id,
        }
    }

    /// Whether nothing that `other` has seen is missing here.
    pub fn covers(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.ledger >= other.ledger && self.inbox >= other.inbox
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BODY_BYTES + ENTRY_ID_BYTES);
        bytes.extend(self.epoch.to_be_bytes());
        for id in [Some(self.ledger), Some(self.inbox), self.hints].into_iter().flatten() {
            bytes.extend(id.position.to_be_bytes());
            bytes.extend(id.number.to_be_bytes());
        }
        bytes
    }

    /// Of a body that we have sealed.
    fn from_bytes(bytes: &[u8]) -> Self {
        let long = |at: usize| i64::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| bytes[at + i]));
        let id = |at: usize| EntryId { position: long(at), number: short(at + 8) };
        Self {
            epoch: long(0),
            ledger: id(8),
            inbox: id(20),
            hints: (BODY_BYTES < bytes.len()).then(|| id(BODY_BYTES)),
        }
    }
}

/// The text was not made here for this tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of ours for this tenant")]
pub struct Forged;

/// The secrets that seal cursors: the current one, and those of before that still open them. All
/// clones see a rotation at once.
#[derive(Clone)]
pub struct CursorKeys(Arc<ArcSwap<Generation>>);

/// The secrets between two rotations.
struct Generation {
    number: u64,
    current: SecretString,
    previous: Vec<SecretString>,
}

impl CursorKeys {
    pub fn new(current: SecretString, previous: Vec<SecretString>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Generation { number: 0, current, previous })))
    }

    /// From now on cursors are sealed with `current` and opened with any of both, also on streams
    /// that are open.
    pub fn rotate(&self, current: &SecretString, previous: &[SecretString]) {
        self.0.rcu(|before| Generation {
            number: before.number + 1,
            current: current.clone(),
            previous: previous.to_vec(),
        });
    }

    /// What seals the cursors of one tenant. Make it once a stream, not once an event.
    pub fn sealer(&self, tenant_id: &TenantId) -> CursorSealer {
        let derived = Arc::new(Derived::from(&self.0.load(), tenant_id));
        CursorSealer {
            keys: self.clone(),
            tenant_id: tenant_id.clone(),
            derived: ArcSwap::new(derived),
        }
    }

    /// The cursor as clients keep it: 64 characters of base64url, or 80 with a place among the
    /// refresh hints.
    pub fn encode(&self, tenant_id: &TenantId, cursor: &Cursor) -> String {
        self.sealer(tenant_id).seal(cursor)
    }

    /// The cursor in `text`, from `Last-Event-ID` or `after`.
    ///
    /// # Errors
    /// When it was not sealed for `tenant_id` with one of the secrets, or is no cursor at all.
    pub fn decode(&self, tenant_id: &TenantId, text: &str) -> Result<Cursor, Forged> {
        if !TEXT_BYTES.contains(&text.len()) {
            return Err(Forged);
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Forged)?;
        let (tag, body) = sealed.split_at_checked(TAG_BYTES).ok_or(Forged)?;
        let secrets = self.0.load();
        [&secrets.current]
            .into_iter()
            .chain(&secrets.previous)
            .find_map(|secret| open(&tenant_key(secret, tenant_id), tag, body))
            .ok_or(Forged)
    }
}

/// Seals cursors of one tenant, always with the current secret.
///
/// The tag is a MAC over the cursor and at the same time the nonce of the mask over it: a tenant
/// must not learn from a cursor how many events all tenants together have.
pub struct CursorSealer {
    keys: CursorKeys,
    tenant_id: TenantId,
    derived: ArcSwap<Derived>,
}

/// A tenant's key of one generation.
struct Derived {
    number: u64,
    key: Hmac<Sha256>,
}

impl Derived {
    fn from(secrets: &Generation, tenant_id: &TenantId) -> Self {
        Self { number: secrets.number, key: tenant_key(&secrets.current, tenant_id) }
    }
}

impl CursorSealer {
    pub fn seal(&self, cursor: &Cursor) -> String {
        let secrets = self.keys.0.load();
        if self.derived.load().number != secrets.number {
            self.derived.store(Arc::new(Derived::from(&secrets, &self.tenant_id)));
        }
        let key = &self.derived.load().key;
        let body = cursor.to_bytes();
        let tag = tag_of(key, &body);
        let sealed = [tag.as_slice(), &masked(key, &tag, &body)].concat();
        BASE64_URL_SAFE_NO_PAD.encode(sealed)
    }
}

fn open(key: &Hmac<Sha256>, tag: &[u8], body: &[u8]) -> Option<Cursor> {
    let body = masked(key, tag, body);
    let is_ours: bool = tag_of(key, &body).ct_eq(tag).into();
    is_ours.then(|| Cursor::from_bytes(&body))
}

fn tenant_key(secret: &SecretString, tenant_id: &TenantId) -> Hmac<Sha256> {
    let key = mac(secret.expose_secret().as_bytes())
        .chain_update(b"live-cursor")
        .chain_update(tenant_id.as_str())
        .finalize()
        .into_bytes();
    mac(&key)
}

fn mac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn tag_of(key: &Hmac<Sha256>, body: &[u8]) -> [u8; TAG_BYTES] {
    let whole = key.clone().chain_update(b"tag").chain_update(body).finalize().into_bytes();
    std::array::from_fn(|i| whole[i])
}

fn masked(key: &Hmac<Sha256>, tag: &[u8], body: &[u8]) -> Vec<u8> {
    // The first mask is of the tag alone, as it was when cursors needed no more.
    let numbers: [&[u8]; 2] = [&[], &[1]];
    let masks = numbers.into_iter().map(|number| {
        let mask = key.clone().chain_update(b"mask").chain_update(tag).chain_update(number);
        mask.finalize().into_bytes()
    });
    let blocks = body.chunks(MASK_BYTES).zip(masks);
    blocks
        .flat_map(|(block, mask)| {
            block.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(
            epoch in 0_i64.., ledger in (0_i64.., 0_u32..), inbox in (0_i64.., 0_u32..),
            hints in proptest::option::of((0_i64.., 0_u32..)),
        ) {
            let id = |(position, number)| EntryId { position, number };
            let (ledger, inbox, hints) = (id(ledger), id(inbox), hints.map(id));
            let cursor = Cursor { epoch, ledger, inbox, hints };
            let text = keys("a").encode(&tenant("A"), &cursor);
            prop_assert_eq!(text.len(), TEXT_BYTES[usize::from(hints.is_some())]);
            prop_assert_eq!(keys("a").decode(&tenant("A"), &text), Ok(cursor));
        }

        #[test]
        fn ss_06_a_cursor_with_one_changed_character_is_forged(
            at in 0..TEXT_BYTES[1],
            to in "[A-Za-z0-9_-]",
        ) {
            let hints = Some(EntryId { position: 5, number: 0 });
            let mut text = keys("a").encode(&tenant("A"), &Cursor { hints, ..some_cursor() });
            prop_assume!(text[at..=at] != to);
            text.replace_range(at..=at, &to);
            prop_assert_eq!(keys("a").decode(&tenant("A"), &text), Err(Forged));
        }

        #[test]
        fn whatever_is_sent_as_a_cursor_is_refused_without_a_panic(text in ".{0,200}") {
            prop_assert_eq!(keys("a").decode(&tenant("A"), &text), Err(Forged));
        }
    }

    #[test]
    fn ss_06_a_cursor_of_another_tenant_is_forged() {
        let text = keys("a").encode(&tenant("A"), &some_cursor());
        assert_eq!(keys("a").decode(&tenant("B"), &text), Err(Forged));
    }

    #[test]
    fn a_cursor_sealed_with_the_previous_secret_is_still_read() {
        let text = keys("old").encode(&tenant("A"), &some_cursor());
        let rotated = CursorKeys::new("new".into(), vec!["old".into()]);
        assert_eq!(rotated.decode(&tenant("A"), &text), Ok(some_cursor()));
        assert_eq!(keys("new").decode(&tenant("A"), &text), Err(Forged));
    }

    #[test]
    fn se_01_a_rotation_reaches_sealers_that_exist_and_keeps_their_cursors_good() {
        let keys = keys("old");
        let sealer = keys.sealer(&tenant("A"));
        let before = sealer.seal(&some_cursor());

        keys.clone().rotate(&"new".into(), &["old".into()]);

        let after = sealer.seal(&some_cursor());
        assert_ne!(after, before);
        assert_eq!(self::keys("new").decode(&tenant("A"), &after), Ok(some_cursor()));
        assert_eq!(keys.decode(&tenant("A"), &before), Ok(some_cursor()));
    }

    #[test]
    fn a_cursor_does_not_show_its_positions() {
        let hints = Some(EntryId { position: 99, number: 0 });
        let text = keys("a").encode(&tenant("A"), &Cursor { hints, ..some_cursor() });
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        for position in [77_i64, 99] {
            assert!(!bytes.windows(8).any(|window| window == position.to_be_bytes()));
        }
    }

    fn keys(secret: &str) -> CursorKeys {
        CursorKeys::new(secret.into(), Vec::new())
    }

    fn tenant(last: &str) -> TenantId {
        format!("tnt_01HZX3V7Q8M4N5P6R7S8T9W0X{last}").parse().unwrap()
    }

    fn some_cursor() -> Cursor {
        let ledger = EntryId { position: 77, number: 1 };
        let inbox = EntryId { position: 3, number: 0 };
        Cursor { epoch: 1, ledger, inbox, hints: None }
    }
}
