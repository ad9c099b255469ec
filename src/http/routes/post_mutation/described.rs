//! The operations of the mutation table as the `OpenAPI` document shows them.

use serde_json::{Map, Value, json};
use utoipa::openapi::{
    RefOr,
    path::{PathItem, Paths, PathsBuilder},
    schema::Schema,
};

use crate::upstream::mutations::{
    Mutation, StepUp,
    body::{Kind, Member},
};

const ID_PATTERN: &str = "^[A-Za-z0-9_.:~-]{1,64}$";

/// Beside those that the layers add.
const PROBLEMS: [&str; 8] = ["400", "403", "404", "409", "422", "502", "503", "504"];

/// Schemas with their names, and the path, of one row.
pub(super) fn of(mutation: &Mutation) -> (Vec<(String, RefOr<Schema>)>, Paths) {
    let name = schema_name(mutation);
    let schema = read(body_schema(mutation));
    let item: PathItem = read(json!({ "post": operation(mutation, &name) }));
    let paths = PathsBuilder::new().path(mutation.route, item).build();
    (vec![(name, schema), ("Changed".to_owned(), read(changed()))], paths)
}

fn operation(mutation: &Mutation, name: &str) -> Value {
    let mut responses: Map<String, Value> = PROBLEMS
        .into_iter()
        .chain(mutation.versioned.then_some("412"))
        .map(|status| (status.to_owned(), json!({ "$ref": "#/components/responses/Problem" })))
        .collect();
    responses.insert(mutation.success.to_string(), success(mutation));
    json!({
        "tags": [mutation.route.split('/').nth(1)],
        "operationId": mutation.operation_id,
        "summary": mutation.summary,
        "parameters": parameters(mutation),
        "requestBody": {
            "required": true,
            "content": { "application/json": {
                "schema": { "$ref": format!("#/components/schemas/{name}") },
                "example": example(mutation),
            } },
        },
        "responses": responses,
    })
}

fn parameters(mutation: &Mutation) -> Vec<Value> {
    let mut parameters = Vec::new();
    if mutation.route.contains("{id}") {
        parameters.push(json!({
            "name": "id", "in": "path", "required": true,
            "description": "The upstream's id of the object",
            "schema": { "type": "string", "pattern": ID_PATTERN },
        }));
    }
    parameters.push(header(
        "X-Idempotency-Key",
        true,
        "ULID of this wish; the same key has one effect and one answer",
    ));
    if !mutation.names_property() {
        parameters.push(header(
            "X-Property-Id",
            false,
            "The property the object is in; may be left out by callers who have one only",
        ));
    }
    if mutation.step_up != StepUp::Never {
        let description = "`mfa_…` of a step-up for this action, good for one";
        parameters.push(header("X-Mfa-Attestation", false, description));
    }
    if mutation.versioned {
        parameters.push(header("If-Match", false, "Only if the object is still this version"));
    }
    parameters
}

fn header(name: &str, required: bool, description: &str) -> Value {
    json!({
        "name": name, "in": "header", "required": required, "description": description,
        "schema": { "type": "string" },
    })
}

fn success(mutation: &Mutation) -> Value {
    let header =
        |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    let headers = json!({
        "X-Ledger-Position": header("Send it back as X-Min-Position to read your own write"),
        "Idempotency-Replayed": header("true when this is the answer to an earlier request"),
        "ETag": header("The object's version from now on, where the service gives it one"),
    });
    json!({
        "description": format!("Done by {}; its answer", mutation.service),
        "headers": headers,
        "content": { "application/json": {
            "schema": { "$ref": "#/components/schemas/Changed" },
        } },
    })
}

fn changed() -> Value {
    json!({
        "type": "object",
        "title": "Changed",
        "description": "An object of an upstream service, as the service shows it",
        "required": ["data"],
        "properties": { "data": { "type": "object" } },
    })
}

fn body_schema(mutation: &Mutation) -> Value {
    let properties: Map<String, Value> = mutation
        .body
        .iter()
        .map(|member| (member.name.to_owned(), member_schema(member)))
        .collect();
    let required: Vec<&str> =
        mutation.body.iter().filter(|member| member.required).map(|member| member.name).collect();
    let mut schema = json!({
        "type": "object",
        "title": schema_name(mutation),
        "description": mutation.summary,
        "properties": properties,
        "additionalProperties": false,
        "example": example(mutation),
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

fn member_schema(member: &Member) -> Value {
    let mut schema = match member.kind {
        Kind::Id => json!({ "type": "string", "pattern": ID_PATTERN }),
        Kind::Text { chars_max } => {
            json!({ "type": "string", "minLength": 1, "maxLength": chars_max })
        }
        Kind::Date => json!({ "type": "string", "format": "date" }),
        Kind::OneOf(choices) => json!({ "type": "string", "enum": choices }),
        Kind::Money => json!({
            "type": "object",
            "required": ["amountMicro", "currency"],
            "properties": {
                "amountMicro": {
                    "type": "string",
                    "pattern": "^[1-9][0-9]{0,18}$",
                    "description": "Millionths of the unit, a whole number as text",
                },
                "currency": {
                    "type": "string", "pattern": "^[A-Z]{3}$", "description": "ISO 4217",
                },
            },
            "additionalProperties": false,
        }),
    };
    schema["description"] = member.description.into();
    schema
}

fn example(mutation: &Mutation) -> Value {
    mutation.body.iter().map(|member| (member.name.to_owned(), json_of(member.example))).collect()
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).expect("the examples of the table are JSON, which a test checks")
}

/// `checkIn` → `CheckIn`.
fn schema_name(mutation: &Mutation) -> String {
    let (first, rest) = mutation.operation_id.split_at(1);
    format!("{}{rest}", first.to_ascii_uppercase())
}

fn read<T: serde::de::DeserializeOwned>(document: Value) -> T {
    serde_json::from_value(document).expect("what is written here is OpenAPI, which a test checks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::mutations::ROWS;

    #[test]
    fn nothing_of_a_description_is_lost_on_the_way_into_the_document() {
        for mutation in ROWS {
            let (schemas, paths) = of(mutation);
            let operation = operation(mutation, &schema_name(mutation));
            let shown = json!(paths);
            assert_eq!(shown[mutation.route]["post"], operation, "{}", mutation.verb);
            assert_eq!(json!(schemas[0].1), body_schema(mutation), "{}", mutation.verb);
        }
    }
}
