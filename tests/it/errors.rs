//! The register of errors as clients rely on it. `UPDATE_SCHEMAS=1` writes it.

use std::{collections::BTreeSet, fs, path::Path};

use axum::body::Body;
use backoffice::http::{
    codes::Code,
    messages::{self, Language},
    problem::Problem,
    request_context::RequestContext,
};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};

/// Every code that the description of the interface promises, by domain.
const PROMISED: &[(&str, &str)] = &[
    (
        "AUTH",
        "TOKEN_MISSING TOKEN_INVALID TOKEN_EXPIRED PROOF_INVALID PROOF_REPLAYED NONCE_REQUIRED \
         KEY_MISMATCH SESSION_REVOKED MFA_REQUIRED MFA_INVALID MFA_EXPIRED MFA_USED \
         MFA_SCOPE_MISMATCH SCOPE_DENIED",
    ),
    ("SYNC", "VERSION_BLOCKED CURSOR_CONFLICT"),
    (
        "GENERAL",
        "VALIDATION_FAILED MALFORMED_REQUEST IDEMPOTENCY_KEY_MISSING IDEMPOTENCY_KEY_INVALID \
         IDEMPOTENCY_KEY_EXPIRED RESOURCE_NOT_FOUND METHOD_NOT_ALLOWED NOT_ACCEPTABLE \
         PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE IDEMPOTENCY_IN_PROGRESS IDEMPOTENCY_KEY_REUSED \
         PRECONDITION_FAILED RATE_LIMITED",
    ),
    ("AI", "ALREADY_DECIDED SUGGESTION_EXPIRED"),
    (
        "BFF",
        "UPSTREAM_UNAVAILABLE UPSTREAM_TIMEOUT OUTCOME_UNKNOWN UPSTREAM_FAILED \
         DEPENDENCY_UNAVAILABLE OVERLOADED INTERNAL",
    ),
];

#[test]
fn the_register_of_errors_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/errors.json");
    let register: Vec<Value> = Code::ALL
        .iter()
        .map(|code| {
            let row = code.row();
            json!({
                "code": code.full(),
                "status": row.status.as_u16(),
                "retriable": row.retriable,
                "title": row.title,
                "userMessageKey": messages::key(*code),
            })
        })
        .collect();
    let generated = json!({ "errors": register });
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap() + "\n";
        fs::write(&path, text).unwrap();
    }
    let committed: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(committed, generated, "run `make schemas`; a published status never changes");
}

#[test]
fn every_promised_code_exists() {
    let known: BTreeSet<String> = Code::ALL.iter().map(|code| code.full()).collect();
    for (domain, names) in PROMISED {
        for name in names.split_whitespace() {
            let code = format!("MELMASTOON.{domain}.{name}");
            assert!(known.contains(&code), "{code}");
        }
    }
}

#[tokio::test]
async fn every_code_is_told_in_every_language_and_says_which() {
    let mut english_words = BTreeSet::new();
    for code in Code::ALL {
        english_words.insert(messages::text(Language::English, &messages::key(*code)));
    }
    for (tag, content_language, is_written_right_to_left) in [
        ("en", "en", false),
        ("fr-CA", "fr", false),
        ("ps-AF", "ps", true),
        ("fa-AF", "fa-AF", true),
        ("prs", "fa-AF", true),
        ("ar-AE", "ar", true),
        ("de", "en", false),
    ] {
        for code in Code::ALL {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, HeaderValue::from_static(tag))]);
            let context = RequestContext::new(&headers, "/x");
            let response = Problem::new(*code).render(&context);
            assert_eq!(response.headers()["content-language"], content_language, "{code:?}");
            let document = document(response.into_body()).await;
            let message = document["userMessage"].as_str().unwrap();
            let is_english = english_words.contains(message);
            assert_eq!(is_english, content_language == "en", "{code:?} in {tag}: {message}");
            let is_arabic = message.chars().any(|letter| ('\u{600}'..'\u{700}').contains(&letter));
            assert_eq!(is_arabic, is_written_right_to_left, "{code:?} in {tag}: {message}");
            assert!(!message.contains(['{', '}']) && !message.contains("errors."), "{message}");
            assert_eq!(document["code"], code.full());
            assert_eq!(document["status"], code.status().as_u16());
        }
    }
}

async fn document(body: Body) -> Value {
    serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
}
