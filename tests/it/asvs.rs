//! The map of the security standard's requirements to tests names tests that exist.

use std::{collections::BTreeSet, fs};

use crate::support::sources::files;

const MAP: &str = include_str!("../../ops/security/asvs.md");

#[test]
fn every_test_that_the_map_names_exists() {
    let tests = test_names();
    assert!(200 < tests.len(), "the sources were read");
    let missing: Vec<&str> = named()
        .filter(|name| {
            !tests.iter().any(|test| test == name || test.ends_with(&format!("_{name}")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(40 < named().count());
}

#[test]
fn every_row_of_the_map_says_what_holds_it() {
    let mut rows = 0;
    for line in MAP.lines().filter(|line| line.starts_with("| ") && line.contains('.')) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, item, _, held_by, _] = cells[..] else { panic!("not three cells: {line}") };
        assert!(item.starts_with(|digit: char| digit.is_ascii_digit()), "{line}");
        assert!(!held_by.is_empty(), "{line}");
        rows += 1;
    }
    assert!(60 <= rows, "{rows}");
}

/// What stands between backquotes and has the form of a test's name.
fn named() -> impl Iterator<Item = &'static str> {
    MAP.split('`').skip(1).step_by(2).filter(|name| {
        // Not the names of series.
        !name.starts_with("bff_")
            && name.matches('_').count() >= 3
            && name.chars().all(|letter| {
                letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'
            })
    })
}

fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["src", "tests", "events/src", "projections/src"] {
        for file in files(folder, "rs") {
            let text = fs::read_to_string(file).unwrap();
            for (at, _) in text.match_indices("fn ") {
                let rest = &text[at + 3..];
                names.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        }
    }
    names
}
