//! Turns: of the repetitions of one request that come to this process at once, one works; the others
//! are answered without a look at the ledger.
//!
//! It is the ledger that makes a key have one effect, over all instances. Turns keep a burst of
//! repetitions from taking the connections that other requests wait for.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{commands::CommandError, ledger::ClaimKey};

/// A key, and the fingerprint of what is asked for under it. Of two different requests under one key
/// the ledger chooses, so each has a turn of its own here.
type Asked = (ClaimKey, [u8; 32]);

/// What is worked on in this process. As many as there are requests under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashSet<Asked>>>);

/// The right to work on a request, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    asked: Asked,
}

impl Turns {
    /// # Errors
    /// [`CommandError::InProgress`]: the same request has the turn.
    pub(super) fn take(&self, key: &ClaimKey, fingerprint: [u8; 32]) -> Result<Turn, CommandError> {
        let asked = (key.clone(), fingerprint);
        if !self.lock().insert(asked.clone()) {
            return Err(CommandError::InProgress);
        }
        Ok(Turn { turns: self.clone(), asked })
    }

    /// A panic cannot leave the set half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HashSet<Asked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.asked);
    }
}

#[cfg(test)]
mod tests {
    use events::TenantId;
    use ulid::Ulid;

    use super::*;

    fn key(number: u128) -> ClaimKey {
        ClaimKey {
            tenant_id: TenantId::system(),
            device_id: "dev_1".parse().unwrap(),
            key: Ulid(number),
        }
    }

    #[test]
    fn id_20_while_a_request_has_the_turn_its_repetitions_are_in_progress() {
        let turns = Turns::default();
        let turn = turns.take(&key(1), [1; 32]).unwrap();
        assert!(matches!(turns.take(&key(1), [1; 32]), Err(CommandError::InProgress)));
        drop(turn);
        assert!(turns.take(&key(1), [1; 32]).is_ok());
    }

    #[test]
    fn another_request_under_the_key_has_a_turn_of_its_own_for_the_ledger_chooses() {
        let turns = Turns::default();
        let one = turns.take(&key(1), [1; 32]).unwrap();
        let other = turns.take(&key(1), [2; 32]).unwrap();
        drop(one);
        assert!(matches!(turns.take(&key(1), [2; 32]), Err(CommandError::InProgress)));
        drop(other);
        assert!(turns.take(&key(1), [2; 32]).is_ok());
    }

    #[test]
    fn a_turn_ends_with_a_panic() {
        let turns = Turns::default();
        let panicking = turns.clone();
        let panicked = std::thread::spawn(move || {
            let _turn = panicking.take(&key(1), [1; 32]).unwrap();
            panic!("in the middle of a command");
        });
        assert!(panicked.join().is_err());
        assert!(turns.take(&key(1), [1; 32]).is_ok());
    }
}
