//! Mints `<prefix>_<ULID>` ids: repeatable ones for the seeded world, fresh ones while it runs.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use ulid::Ulid;

use crate::clock;

/// 2026-01-01T00:00:00Z in milliseconds: the time part of every seeded id, so that ids do not
/// depend on the day the simulator starts.
const SEEDED_AT_MS: u64 = 1_767_225_600_000;

/// An id of the seeded world: the same for the same generator state.
pub fn seeded(random: &mut ChaCha8Rng, prefix: &str) -> String {
    format!("{prefix}_{}", Ulid::from_parts(SEEDED_AT_MS, random.random()))
}

/// An id of something that happens now; sorts by time of minting, to the millisecond.
pub fn fresh(prefix: &str) -> String {
    let now_ms = u64::try_from(clock::now().timestamp_millis()).unwrap_or_default();
    format!("{prefix}_{}", Ulid::from_parts(now_ms, rand::random()))
}

/// The 32 characters of a ULID (Crockford's alphabet, in upper case).
const ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Whether `text` is a tenant id: `tnt_` and a ULID in upper case.
pub fn is_tenant_id(text: &str) -> bool {
    text.strip_prefix("tnt_")
        .is_some_and(|ulid| ulid.len() == 26 && ulid.chars().all(|c| ALPHABET.contains(c)))
}
