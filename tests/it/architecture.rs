//! Holds the table of who may use whom, and which crate may appear where.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::support::sources::{self, files, root};

/// What each module of `src` may name with `crate::`, and does.
const MAY_USE: &[(&str, &[&str])] = &[
    ("access", &["clock"]),
    ("aggregates", &[]),
    ("clock", &[]),
    (
        "commands",
        &[
            "access",
            "aggregates",
            "clock",
            "inbox",
            "ledger",
            "live",
            "projector",
            "secrets",
            "upstream",
            "views",
        ],
    ),
    ("composition", &["clock", "upstream", "views"]),
    ("config", &["access"]),
    ("database", &["ledger"]),
    ("desktop", &["clock", "output"]),
    ("dev", &["clock", "desktop", "output"]),
    (
        "http",
        &[
            "access",
            "app",
            "clock",
            "commands",
            "composition",
            "live",
            "projector",
            "upstream",
            "views",
        ],
    ),
    ("inbox", &["clock", "pubsub"]),
    ("ledger", &["clock", "database", "pubsub"]),
    ("live", &["clock", "views"]),
    ("output", &[]),
    ("projector", &["inbox", "ledger", "live", "views"]),
    ("pubsub", &[]),
    ("secrets", &[]),
    ("telemetry", &[]),
    ("upstream", &[]),
    ("views", &[]),
];

/// Modules that may name everything: they put the parts together.
const COMPOSITION_ROOT: &[&str] = &["app", "lib", "main"];

/// A crate, and the only places where it is named, but for the composition root.
const CONFINED: &[(&str, &[&str])] = &[
    ("axum", &["http"]),
    ("utoipa_axum", &["http"]),
    ("sqlx", &["commands", "database", "inbox", "ledger", "projector"]),
    ("redis", &["access", "live", "projector", "views"]),
    ("reqwest", &["desktop", "dev", "upstream"]),
    ("google_cloud_pubsub", &["pubsub"]),
    ("google_cloud_auth", &["pubsub", "upstream"]),
];

#[test]
fn modules_use_only_what_the_table_allows() {
    let mut forbidden = BTreeSet::new();
    for (path, module, code) in sources() {
        if COMPOSITION_ROOT.contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            forbidden.insert(format!("{}: module `{module}` has no row", path.display()));
            continue;
        };
        for used in named_modules(&code) {
            if used != module && !allowed.contains(&used.as_str()) {
                forbidden.insert(format!("{}: `{module}` uses `{used}`", path.display()));
            }
        }
    }
    assert!(forbidden.is_empty(), "{forbidden:#?}");
}

#[test]
fn crates_stay_where_they_belong() {
    let mut strayed = BTreeSet::new();
    for (path, module, code) in sources() {
        if COMPOSITION_ROOT.contains(&module.as_str()) {
            continue;
        }
        for (name, homes) in CONFINED {
            if names_crate(&code, name) && !homes.contains(&module.as_str()) {
                strayed.insert(format!("{}: `{name}` in `{module}`", path.display()));
            }
        }
    }
    assert!(strayed.is_empty(), "{strayed:#?}");
}

#[test]
fn what_the_tables_allow_is_used() {
    let mut unused: BTreeSet<(&str, &str)> = [MAY_USE, CONFINED]
        .iter()
        .flat_map(|table| table.iter())
        .flat_map(|(name, others)| others.iter().map(|other| (*name, *other)))
        .collect();
    for (_, module, code) in sources() {
        let used = named_modules(&code);
        unused.retain(|(name, other)| {
            let is_permission = *name == module && used.contains(*other);
            let is_home = *other == module && names_crate(&code, name);
            !is_permission && !is_home
        });
    }
    assert!(unused.is_empty(), "{unused:#?}");
}

#[test]
fn the_vocabulary_and_the_folds_neither_wait_nor_ask_the_time_nor_roll_dice() {
    let mut impure = BTreeSet::new();
    for folder in ["events/src", "projections/src", "src/aggregates"] {
        for path in files(folder, "rs") {
            let code = product_code(&path);
            let banned: &[&str] = if folder.starts_with("src") {
                &["Utc::now", "rand::", "sqlx", "redis", "tokio::"]
            } else {
                &["async ", ".await", "Utc::now", "rand::", "sqlx", "redis", "tokio::"]
            };
            for word in banned.iter().filter(|word| code.contains(**word)) {
                impure.insert(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(impure.is_empty(), "{impure:#?}");
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let too_long: Vec<String> = ["src", "events/src", "projections/src"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .map(|path| (product_code(&path).lines().count(), path))
        .filter(|(lines, _)| 300 < *lines)
        .map(|(lines, path)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn a_forbidden_use_is_found() {
    let code = "use crate::{\n    clock::Clock,\n    ledger::{self, Ledger},\n};\nfn f() { crate::views::x(); }";
    let used: Vec<String> = named_modules(code).into_iter().collect();
    assert_eq!(used, ["clock", "ledger", "views"]);
}

fn names_crate(code: &str, name: &str) -> bool {
    code.contains(&format!("{name}::")) || code.contains(&format!("use {name};"))
}

/// Path, top-level module and product code of every file of `src`.
fn sources() -> Vec<(PathBuf, String, String)> {
    let src = root().join("src");
    files("src", "rs")
        .into_iter()
        .map(|path| {
            let module = path
                .strip_prefix(&src)
                .ok()
                .and_then(|relative| relative.components().next())
                .map(|first| first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned())
                .unwrap();
            let code = product_code(&path);
            (path, module, code)
        })
        .collect()
}

/// The modules named after `crate::`, alone or in a braced list.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (start, _) in code.match_indices("crate::") {
        let rest = &code[start + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            modules.extend(first_names(list));
        } else {
            modules.extend(first_name(rest));
        }
    }
    modules
}

/// The first name of every element of a braced list, up to its closing brace.
fn first_names(list: &str) -> Vec<String> {
    let mut names: Vec<String> = first_name(list.trim_start()).into_iter().collect();
    let mut depth = 0;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.extend(first_name(list[at + 1..].trim_start())),
            _ => (),
        }
    }
    names
}

/// The identifier at the start of `text`, when it is a module's.
fn first_name(text: &str) -> Option<String> {
    let name: String = text
        .chars()
        .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
        .collect();
    (!name.is_empty()).then_some(name)
}

/// A file's code before its tests, without comments.
fn product_code(path: &Path) -> String {
    sources::product_code(path)
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}
