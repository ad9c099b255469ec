//! How keys are written, the map that comes with the service, and what overrides make of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Action → keys; `None`: the action has none.
pub type Overrides = BTreeMap<String, Option<String>>;

static MAP: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    toml::from_str(include_str!("map.toml")).expect("the map is valid, which a test reads")
});
/// Grows when the map changes, so that a desktop's copy does not outlive it.
pub(super) const MAP_REVISION: u32 = 1;
const MODIFIERS: [&str; 3] = ["Ctrl", "Alt", "Shift"];
const NAMED_KEYS: [&str; 14] = [
    "Enter",
    "Backspace",
    "Delete",
    "Insert",
    "Home",
    "End",
    "PageUp",
    "PageDown",
    "Space",
    "Tab",
    "Up",
    "Down",
    "Left",
    "Right",
];

/// Whether there is such an action.
pub fn is_action(name: &str) -> bool {
    MAP.contains_key(name)
}

/// Whether this is how keys are written: modifiers in their order, then one key. A letter, a digit
/// or a named key needs a modifier; a function key does not.
pub fn is_keys(text: &str) -> bool {
    let mut parts: Vec<&str> = text.split('+').collect();
    let key = parts.pop().unwrap_or_default();
    let places: Option<Vec<usize>> =
        parts.iter().map(|part| MODIFIERS.iter().position(|modifier| modifier == part)).collect();
    let Some(places) = places else { return false };
    if !places.is_sorted_by(|one, other| one < other) {
        return false;
    }
    let is_function = key
        .strip_prefix('F')
        .and_then(|number| number.parse::<u8>().ok())
        .is_some_and(|number| (1..=12).contains(&number) && key == format!("F{number}"));
    let is_plain =
        matches!(key.as_bytes(), [byte] if byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_function || (!places.is_empty() && (is_plain || NAMED_KEYS.contains(&key)))
}

/// The map with `levels` of overrides over it, the widest first. Of two actions with the same keys
/// the one has them whose override is closer to the operator: a hotel that gives keys away takes
/// none from an operator who has given them to something else.
pub(super) fn merged(levels: &[&Overrides]) -> BTreeMap<String, String> {
    let mut result = MAP.clone();
    for overrides in levels {
        let chosen: BTreeSet<&String> = overrides
            .iter()
            .filter(|(action, _)| is_action(action))
            .filter_map(|(_, keys)| keys.as_ref())
            .collect();
        result.retain(|action, keys| !overrides.contains_key(action) && !chosen.contains(&&*keys));
        result.extend(
            overrides
                .iter()
                .filter(|(action, _)| is_action(action))
                .filter_map(|(action, keys)| Some((action.clone(), keys.clone()?))),
        );
    }
    result
}

/// An action of `overrides` whose keys another action has, be it in `overrides` or in what they
/// are laid over.
pub(super) fn doubled(wider: &[&Overrides], overrides: &Overrides) -> Option<String> {
    let mut taken: BTreeMap<String, String> =
        merged(wider).into_iter().map(|(action, keys)| (keys, action)).collect();
    taken.retain(|_, action| !overrides.contains_key(action));
    overrides.iter().find_map(|(action, keys)| {
        let keys = keys.as_ref()?;
        taken.insert(keys.clone(), action.clone()).map(|_| action.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(keys: &[(&str, Option<&str>)]) -> Overrides {
        keys.iter().map(|(name, keys)| ((*name).to_owned(), keys.map(str::to_owned))).collect()
    }

    #[test]
    fn the_map_that_comes_with_the_service_is_good() {
        assert!(20 < MAP.len());
        let mut taken = BTreeSet::new();
        for (action, keys) in MAP.iter() {
            assert!(is_keys(keys), "{action}: {keys}");
            assert!(taken.insert(keys), "{action}: {keys}");
        }
    }

    #[test]
    fn keys_are_written_in_one_way() {
        for good in ["F1", "F12", "Ctrl+A", "Ctrl+Alt+Shift+9", "Alt+F4", "Shift+Enter"] {
            assert!(is_keys(good), "{good}");
        }
        for bad in [
            "",
            "A",
            "F0",
            "F13",
            "F01",
            "Enter",
            "ctrl+a",
            "Ctrl+",
            "Ctrl+a",
            "Alt+Ctrl+A",
            "Ctrl+Ctrl+A",
            "Ctrl",
            "Ctrl+AB",
            "Ctrl+A+B",
        ] {
            assert!(!is_keys(bad), "{bad}");
        }
    }

    #[test]
    fn an_override_replaces_removes_and_may_not_double() {
        let own = overrides(&[("search.open", Some("Ctrl+J")), ("desktop.help", None)]);
        assert_eq!(merged(&[&own])["search.open"], "Ctrl+J");
        assert!(!merged(&[&own]).contains_key("desktop.help"));
        assert_eq!(doubled(&[], &own), None);
        let taken = overrides(&[("search.open", Some("F1"))]);
        assert_eq!(doubled(&[], &taken).as_deref(), Some("search.open"));
        let swapped = overrides(&[("search.open", Some("F1")), ("desktop.help", None)]);
        assert_eq!(doubled(&[], &swapped), None);
        let twice = overrides(&[("search.open", Some("Ctrl+J")), ("desktop.help", Some("Ctrl+J"))]);
        assert_eq!(doubled(&[], &twice).as_deref(), Some("search.open"));
    }

    #[test]
    fn what_is_closer_to_the_operator_has_the_keys() {
        let tenant = overrides(&[("search.open", Some("Ctrl+J")), ("desktop.help", None)]);
        let own = overrides(&[("desktop.help", Some("Ctrl+J"))]);

        let map = merged(&[&tenant, &own]);

        assert_eq!(map["desktop.help"], "Ctrl+J");
        assert_eq!(map.get("search.open"), None);
        assert_eq!(doubled(&[&tenant], &own).as_deref(), Some("desktop.help"));
        let moved = overrides(&[("search.open", Some("F1"))]);
        assert_eq!(doubled(&[&tenant], &moved), None, "the tenant has freed them");
        assert_eq!(merged(&[&tenant, &overrides(&[])])["search.open"], "Ctrl+J");
    }
}
