//! JSON Schemas of what is published, one document a kind; `schemas/events/` holds them and a test
//! compares.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Value, json};

use crate::ledger::{
    alert_acknowledgment::AlertAcknowledgmentEvent, device_sync::DeviceSyncEvent,
    lock_action::LockActionEvent, mfa_attestation::MfaAttestationEvent,
    operator_action::OperatorActionEvent, operator_activity::OperatorActivityEvent,
    operator_session::OperatorSessionEvent, screen_view::ScreenViewEvent,
    suggestion_decision::SuggestionDecisionEvent, system::SystemEvent,
};

/// Where consumers find a kind's schema:
/// `https://schemas.melmastoon.ghasi.io/bff-backoffice/<name>/v<n>.json`.
pub fn schema_uri(kind: &str) -> String {
    let name = kind.strip_prefix(crate::ledger::KIND_PREFIX).unwrap_or(kind);
    let (name, version) = name.rsplit_once(".v").unwrap_or((name, "1"));
    format!("https://schemas.melmastoon.ghasi.io/bff-backoffice/{name}/v{version}.json")
}

/// Every kind with the JSON Schema (2020-12) of its `data`, in the order of their declaration.
pub fn schemas() -> Vec<(String, Value)> {
    [
        kinds_of::<AlertAcknowledgmentEvent>(),
        kinds_of::<OperatorSessionEvent>(),
        kinds_of::<MfaAttestationEvent>(),
        kinds_of::<SuggestionDecisionEvent>(),
        kinds_of::<OperatorActionEvent>(),
        kinds_of::<LockActionEvent>(),
        kinds_of::<DeviceSyncEvent>(),
        kinds_of::<ScreenViewEvent>(),
        kinds_of::<OperatorActivityEvent>(),
        kinds_of::<SystemEvent>(),
    ]
    .concat()
}

/// Splits the schema of an adjacently tagged enum into one schema a variant.
fn kinds_of<E: JsonSchema>() -> Vec<(String, Value)> {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<E>().to_value();
    schema["oneOf"].as_array().into_iter().flatten().map(kind_of).collect()
}

fn kind_of(variant: &Value) -> (String, Value) {
    let kind = variant["properties"]["kind"]["const"].as_str().unwrap_or_default().to_owned();
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": schema_uri(&kind),
        "title": kind,
        "description": variant["description"],
    });
    if let (Some(document), Some(data)) =
        (document.as_object_mut(), variant["properties"]["data"].as_object())
    {
        document.extend(data.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    (kind, document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::upcast::CURRENT_KINDS;

    #[test]
    fn every_kind_has_a_schema_and_a_reader() {
        let described: BTreeSet<String> = schemas().into_iter().map(|(kind, _)| kind).collect();
        let readable = CURRENT_KINDS.iter().map(|kind| (*kind).to_owned()).collect();
        assert_eq!(described, readable);
    }

    #[test]
    fn the_fields_marked_personal_are_the_ones_that_are_set_apart() {
        let (_, schema) = schemas()
            .into_iter()
            .find(|(kind, _)| kind.ends_with("alert.acknowledged.v1"))
            .unwrap();
        let marked: Vec<&String> = schema["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, field)| field["x-personal"] == true)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(marked, ["comment"]);
    }
}
