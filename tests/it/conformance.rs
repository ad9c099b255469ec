//! The list of cases and the tests that carry their ids in their names: neither may drift from the
//! other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::support::sources::{files, root};

const NOT_APPLICABLE_MAX: usize = 15;
const GROUPS: [&str; 8] = ["id", "ti", "ab", "jw", "ss", "au", "se", "fz"];

/// A case and, where it cannot exist here, why.
fn cases() -> BTreeMap<String, Option<String>> {
    let list = fs::read_to_string(root().join("tests/conformance/cases.tsv")).unwrap();
    list.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let [id, _title, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("not three columns: {line}")
            };
            (id.to_owned(), (!reason.is_empty()).then(|| reason.to_owned()))
        })
        .collect()
}

/// The ids in the names of all tests, with one test each.
fn tested() -> BTreeMap<String, String> {
    let mut tested = BTreeMap::new();
    for folder in ["src", "tests", "events", "projections"] {
        for file in files(folder, "rs") {
            for line in fs::read_to_string(&file).unwrap().lines() {
                let line = line.trim_start();
                let line = line.strip_prefix("async ").unwrap_or(line);
                if let Some((name, _)) = line.strip_prefix("fn ").and_then(|it| it.split_once('('))
                {
                    tested.extend(ids(name).into_iter().map(|id| (id, name.to_owned())));
                }
            }
        }
    }
    tested
}

/// `dp_jose_07_08_…` names DP-JOSE-07 and DP-JOSE-08.
fn ids(name: &str) -> Vec<String> {
    let mut parts = name.split('_');
    let group = match (parts.next(), name.split('_').nth(1)) {
        (Some("dp"), Some(section)) => {
            parts.next();
            format!("DP-{}", section.to_uppercase())
        }
        (Some(group), _) if GROUPS.contains(&group) => group.to_uppercase(),
        _ => return Vec::new(),
    };
    parts
        .take_while(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
        .map(|number| format!("{group}-{number}"))
        .collect()
}

#[test]
fn every_case_of_the_list_has_a_test_that_names_it_or_a_reason_why_not() {
    let tested = tested();
    let missing: Vec<_> = cases()
        .into_iter()
        .filter(|(id, reason)| reason.is_none() && !tested.contains_key(id))
        .map(|(id, _)| id)
        .collect();
    assert!(missing.is_empty(), "{} without a test: {missing:?}", missing.len());
}

#[test]
fn every_id_in_the_name_of_a_test_is_a_case_of_the_list() {
    let cases = cases();
    let unknown: BTreeSet<_> =
        tested().into_iter().filter(|(id, _)| !cases.contains_key(id)).collect();
    assert!(unknown.is_empty(), "no such cases: {unknown:?}");
}

#[test]
fn few_cases_are_not_applicable_and_none_of_those_has_a_test() {
    let tested = tested();
    let absent: Vec<_> = cases().into_iter().filter(|(_, reason)| reason.is_some()).collect();
    assert!(absent.len() <= NOT_APPLICABLE_MAX, "{absent:?}");
    let contradicted: Vec<_> = absent.iter().filter(|(id, _)| tested.contains_key(id)).collect();
    assert!(contradicted.is_empty(), "they have tests: {contradicted:?}");
}

#[test]
fn ids_are_read_from_the_beginning_of_a_name() {
    assert_eq!(ids("dp_jose_07_08_a_member_twice"), ["DP-JOSE-07", "DP-JOSE-08"]);
    assert_eq!(ids("id_04_a_key_of_24_hours"), ["ID-04"]);
    assert!(ids("a_key_of_id_04").is_empty());
    assert!(ids("identity_tokens_are_renewed").is_empty());
}
