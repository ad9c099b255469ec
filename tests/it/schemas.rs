//! The generated contracts under `schemas/` are those of the code. `UPDATE_SCHEMAS=1` writes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use backoffice::http::{BASE_PATH, routes};
use serde_json::{Value, json};

/// The `OpenAPI` Initiative's own schema of version 3.1 (2022-10-07, Apache-2.0).
const OPENAPI_SCHEMA: &str = include_str!("data/openapi-3.1.schema.json");

#[test]
fn the_event_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/events");
    let generated: BTreeMap<String, Value> = events::schema::schemas()
        .into_iter()
        .map(|(kind, schema)| (format!("{kind}.json"), schema))
        .collect();
    if updating() {
        fs::create_dir_all(&folder).unwrap();
        for (name, schema) in &generated {
            write(&folder.join(name), schema);
        }
    }

    let committed: BTreeMap<String, Value> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), read(&entry.path())))
        .collect();

    assert_eq!(committed, generated, "run `make schemas` and commit the difference");
}

#[test]
fn the_openapi_document_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.json");
    let generated = openapi();
    if updating() {
        write(&path, &generated);
    }

    assert_eq!(read(&path), generated, "run `make schemas` and commit the difference");
}

#[test]
fn the_openapi_document_is_valid_and_refers_to_nothing_that_is_not_there() {
    let document = openapi();
    let schema: Value = serde_json::from_str(OPENAPI_SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");

    // Of the schemas in it that one says nothing; each has to be a schema of its own.
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::meta::is_valid(schema), "{name}");
    }
    for reference in references(&document) {
        let pointer = reference.strip_prefix('#').expect("it refers to itself only");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_operation_has_a_name_and_says_each_way_to_fail_but_neither_any_nor_500() {
    let document = openapi();
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(!name.is_empty() && names.insert(name), "{method} {path} has no name");
            assert!(operation["tags"][0].is_string(), "{name} has no tag");
            assert!(operation["summary"].is_string(), "{name} has no summary");
            if path.starts_with(BASE_PATH) {
                has_credentials(path, operation);
            }
            has_problems(path, operation);
        }
    }
}

/// A refresh has a proof but no access token; everything else has both.
fn has_credentials(path: &str, operation: &Value) {
    let needed: BTreeSet<&str> =
        operation["security"][0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected: &[&str] = match path.strip_prefix(BASE_PATH) {
        Some("/auth/refresh") => &["device", "dpop"],
        _ => &["device", "dpop", "token"],
    };
    assert_eq!(needed, expected.iter().copied().collect(), "{path}");
    assert!(operation["responses"]["401"].is_object(), "{path} may be refused");
}

/// Each way to fail stands by itself, as a problem, and none is a bug of ours.
fn has_problems(path: &str, operation: &Value) {
    for (status, response) in operation["responses"].as_object().unwrap() {
        assert!(status.parse::<u16>().is_ok_and(|status| status != 500), "{path} {status}");
        // Readiness tells in its own document what is missing.
        if !status.starts_with('2') && (path, status.as_str()) != ("/health/ready", "503") {
            let problem = json!({ "$ref": "#/components/responses/Problem" });
            assert_eq!(*response, problem, "{path} {status}");
        }
    }
}

fn openapi() -> Value {
    serde_json::to_value(routes::document()).unwrap()
}

/// Every `$ref` below `value`.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_old_sample_is_still_read_and_still_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/tests/samples");
    let schemas: BTreeMap<String, Value> = events::schema::schemas().into_iter().collect();
    let mut kinds = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let sample = read(&entry.unwrap().path());
        let kind = sample["kind"].as_str().unwrap().to_owned();
        let (current, data) = events::upcast::upcast(&kind, sample["data"].clone()).unwrap();
        let validator = jsonschema::validator_for(&schemas[current]).unwrap();
        assert!(validator.is_valid(&data), "{kind}: {:?}", validator.validate(&data).err());
        kinds.push(kind);
    }
    for kind in schemas.keys() {
        assert!(kinds.contains(kind), "{kind} has no sample in events/tests/samples");
    }
}

pub fn updating() -> bool {
    std::env::var_os("UPDATE_SCHEMAS").is_some()
}

pub fn write(path: &Path, document: &Value) {
    let mut text = serde_json::to_string_pretty(document).unwrap();
    text.push('\n');
    fs::write(path, text).unwrap();
}

pub fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}
