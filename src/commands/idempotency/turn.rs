//! Turns: of the requests that come to this process under one key at once, one works; the others
//! are answered without a look at the ledger.
//!
//! It is the ledger that makes a key have one effect, over all instances. Turns keep a burst of
//! repetitions from taking the connections that other requests wait for.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{commands::CommandError, ledger::ClaimKey};

/// The keys under work in this process, and the fingerprints of their requests. As many as there
/// are requests under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashMap<ClaimKey, [u8; 32]>>>);

/// The right to work on a key, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    key: ClaimKey,
}

impl Turns {
    /// # Errors
    /// Another request has the turn: [`CommandError::InProgress`] when it is the same one,
    /// [`CommandError::KeyReused`] when it is not.
    pub(super) fn take(&self, key: &ClaimKey, fingerprint: [u8; 32]) -> Result<Turn, CommandError> {
        match self.lock().entry(key.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(fingerprint);
            }
            Entry::Occupied(taken) if *taken.get() == fingerprint => {
                return Err(CommandError::InProgress);
            }
            Entry::Occupied(_) => return Err(CommandError::KeyReused),
        }
        Ok(Turn { turns: self.clone(), key: key.clone() })
    }

    /// A panic cannot leave the map half changed, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimKey, [u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().remove(&self.key);
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
    fn id_10_while_a_request_has_the_turn_another_one_under_its_key_is_refused() {
        let turns = Turns::default();
        let _turn = turns.take(&key(1), [1; 32]).unwrap();
        assert!(matches!(turns.take(&key(1), [2; 32]), Err(CommandError::KeyReused)));
        assert!(turns.take(&key(2), [2; 32]).is_ok(), "other keys are nobody's business");
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
