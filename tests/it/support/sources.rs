//! The repository's own files, for rules that are held against their text.

use std::{
    fs,
    path::{Path, PathBuf},
};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder of the repository whose names end on `.extension`, sorted. What was
/// built or installed is none of them.
pub fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(&root().join(folder), extension, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            found.extend(path.extension().is_some_and(|it| it == extension).then_some(path));
        } else if !path.ends_with("target") && !path.ends_with("node_modules") {
            collect(&path, extension, found);
        }
    }
}

/// A file's text without its tests: modules that other files hold, and the one that stands last.
pub fn product_code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut pieces = text.split("#[cfg(test)]\n");
    let mut product = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (item, rest) = piece.split_once("mod ").unwrap();
        let (name, rest) = rest.split_once('\n').unwrap();
        // Else what follows would be held to no rule.
        assert!(!item.contains([';', '{']), "{}: {item}", path.display());
        if name == "tests {" {
            assert_eq!(rest.matches("\n}\n").count(), 1, "{}: tests stand last", path.display());
            break;
        }
        assert!(name.ends_with(';'), "{}: mod {name}", path.display());
        product.push_str(rest);
    }
    product
}
