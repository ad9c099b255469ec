//! The generated contracts under `schemas/` are those of the code. `UPDATE_SCHEMAS=1` writes them.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

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
