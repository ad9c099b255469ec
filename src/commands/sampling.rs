//! Which of many like events are recorded: a share of them, decided by their ids.

use events::EventId;
use sha2::{Digest, Sha256};

/// A share, 0 to 1, as envelopes carry it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a thousand is between 0 and 1000"
)]
pub(super) fn per_mille(share: f64) -> u16 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u16
}

/// The same answer wherever and whenever it is asked of an event.
pub(super) fn is_sampled(event_id: &EventId, per_mille: u16) -> bool {
    let hash = Sha256::digest(event_id.as_str());
    let [first, second, third, fourth, ..] = hash[..] else { return false };
    u32::from_be_bytes([first, second, third, fourth]) % 1000 < u32::from(per_mille)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    #[test]
    fn a_share_of_the_events_is_taken_and_always_the_same_ones() {
        let ids: Vec<EventId> =
            (0..20_000_u128).map(|number| EventId::new(Ulid(number << 40))).collect();
        let taken = |per_mille| ids.iter().filter(|id| is_sampled(id, per_mille)).count();
        assert_eq!((taken(0), taken(1000)), (0, ids.len()));
        assert!((800..1200).contains(&taken(50)), "{}", taken(50));
        assert!(ids.iter().all(|id| !is_sampled(id, 50) || is_sampled(id, 51)));
        assert_eq!([0.0, 0.05, 0.0004, 1.0, 2.0].map(per_mille), [0, 50, 0, 1000, 1000]);
    }
}
