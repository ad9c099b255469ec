//! The committed descriptions under `.sqlx/`, by which queries are checked without a database, are those of the
//! queries and of the migrated database.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::support::database::TestDatabase;

#[tokio::test]
async fn every_committed_query_is_described_as_the_migrations_describe_it() {
    let database = TestDatabase::create().await;
    let mut connection = database.superuser().await;
    let mut stale = Vec::new();

    for (text, file) in committed() {
        let described = connection.describe(AssertSqlSafe(text.clone()).into_sql_str()).await;
        match described {
            Ok(described) if json!(described) == file["describe"] => (),
            Ok(described) => stale.push(format!("{text}\nis now {:#}", json!(described))),
            Err(error) => stale.push(format!("{text}\n{error}")),
        }
    }

    assert!(stale.is_empty(), "run `make sqlx` and commit the difference:\n{}", stale.join("\n"));
}

#[test]
fn every_query_of_the_sources_is_committed_and_no_other() {
    let committed: BTreeSet<String> = committed().into_keys().collect();
    let mut used = BTreeSet::new();
    for file in ["src", "tests"].into_iter().flat_map(|folder| rust_files(&root().join(folder))) {
        used.extend(queries(&fs::read_to_string(file).unwrap()));
    }

    let missing: Vec<_> = used.difference(&committed).collect();
    let left_over: Vec<_> = committed.difference(&used).collect();

    assert!(!used.is_empty());
    assert!(missing.is_empty(), "run `make sqlx`; without a description: {missing:#?}");
    assert!(left_over.is_empty(), "run `make sqlx`; no source asks: {left_over:#?}");
}

#[test]
fn a_query_is_found_however_its_text_is_quoted() {
    let source = concat!(
        "sqlx::query",
        "!(\"select \\\"a\\\" \\\n   from b\", 1);\n",
        "sqlx::query",
        "_as!(Row, r#\"select \"c!\" from d\"#);\n",
        "sqlx::query(\"select e\");"
    );
    assert_eq!(queries(source), ["select \"a\" from b", "select \"c!\" from d"]);
}

/// By the text of the query.
fn committed() -> BTreeMap<String, Value> {
    let entries = fs::read_dir(root().join(".sqlx")).unwrap();
    let files = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let files = files.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    files.map(|file| (file["query"].as_str().unwrap().to_owned(), file)).collect()
}

/// The texts that the checked query macros of a source file are given.
fn queries(source: &str) -> Vec<String> {
    source.split("sqlx::query").skip(1).filter_map(text_of_call).collect()
}

/// What follows the name: `!("…")`, `_as!(Type, r#"…"#)`, or a call of a function, which is not checked.
fn text_of_call(rest: &str) -> Option<String> {
    let (suffix, arguments) = rest.split_once('(')?;
    if !matches!(suffix, "!" | "_as!" | "_scalar!") {
        return None;
    }
    let quote = arguments.find('"')?;
    let hashes = arguments[..quote].chars().rev().take_while(|character| *character == '#').count();
    let text = &arguments[quote + 1..];
    if arguments[..quote - hashes].ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return text.split_once(&end).map(|(text, _)| text.to_owned());
    }
    unescape(text)
}

/// A plain literal up to its closing quote.
fn unescape(text: &str) -> Option<String> {
    let mut unescaped = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Some(unescaped),
            '\\' => match characters.next()? {
                'n' => unescaped.push('\n'),
                '\n' => while characters.next_if(|next| next.is_whitespace()).is_some() {},
                other => unescaped.push(other),
            },
            other => unescaped.push(other),
        }
    }
    None
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => vec![path],
            false => Vec::new(),
        })
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
