//! The fuzz targets without a fuzzer: every seed, and thousands of inputs made from them.

#[path = "../fuzz/harness.rs"]
mod harness;

use std::{fs, path::Path};

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};

const MUTATED_A_TARGET: u32 = 1500;

/// The seeds of a target; there are some.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{target}: {error}"));
    let seeds: Vec<_> = entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target}");
    seeds
}

#[test]
fn fz_01_every_seed_of_every_fuzz_target_holds() {
    for (name, target) in harness::TARGETS {
        for seed in seeds(name) {
            target(&seed);
        }
    }
}

#[test]
fn fz_01_thousands_of_inputs_made_from_the_seeds_hold() {
    for (name, target) in harness::TARGETS {
        let seeds = seeds(name);
        let mut runner = TestRunner::new(Config {
            cases: MUTATED_A_TARGET,
            failure_persistence: None,
            ..Config::default()
        });
        let inputs = (any::<Index>(), prop::collection::vec(change(), 1..6));
        let held = runner.run(&inputs, |(seed, changes)| {
            let mut input = seed.get(&seeds).clone();
            for change in changes {
                change.make(&mut input);
            }
            target(&input);
            Ok(())
        });
        if let Err(error) = held {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn fz_01_the_good_seed_of_a_proof_is_a_good_proof() {
    let good = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/proof/good"));
    assert!(harness::is_good_proof(&good.unwrap()), "else nothing behind the checks is reached");
}

/// Words that mean something to one of the readers.
const WORDS: [&str; 20] = [
    "{", "}", "[", "\"", ",", ":", "\\u0000", "null", "-1", "1e999", "@JWK@", "@NOW@", "%2e",
    "%2F", "..", "://", "@", "\n", "\u{feff}", "\u{fc}",
];

#[derive(Clone, Debug)]
enum Change {
    Put(Index, u8),
    Insert(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Word(Index, Index),
    Bit(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), 1_usize..60).prop_map(|(at, count)| Change::Repeat(at, count)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, word)| Change::Word(at, word)),
        (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Bit(at, bit)),
    ]
}

impl Change {
    fn make(&self, input: &mut Vec<u8>) {
        let places = input.len() + 1;
        let place = |at: &Index| at.index(places);
        match self {
            Self::Insert(at, byte) => input.insert(place(at), *byte),
            Self::Word(at, word) => {
                let at = place(at);
                input.splice(at..at, word.get(&WORDS).bytes());
            }
            Self::Put(at, byte) => {
                if let Some(old) = input.get_mut(place(at)) {
                    *old = *byte;
                }
            }
            Self::Bit(at, bit) => {
                if let Some(byte) = input.get_mut(place(at)) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Remove(at, count) => {
                let at = place(at);
                let end = input.len().min(at + count);
                input.drain(at..end);
            }
            Self::Repeat(at, count) => {
                let at = place(at);
                let end = input.len().min(at + count);
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
        }
    }
}
