//! Preferences: tenant-service's word, and its mirror while that service is away.

use reqwest::StatusCode;
use serde_json::json;

use super::{put, recorded, second_device, sign_in, start, until_answered};
use crate::support::{
    desktop::key,
    platform::{fault, heal, kept},
};

const ROUTE: &str = "/preferences";
const TENANT: &str = "tenant-service";

#[tokio::test]
async fn preferences_are_read_and_written_at_tenant_service_and_their_names_are_recorded() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let mut colleague = sign_in(&world, json!({})).await;

    let none = desktop.get(&service, ROUTE).await;
    assert_eq!(none.status, StatusCode::OK, "{}", none.body);
    assert_eq!(none.body, json!({ "preferences": {} }));
    assert_eq!(none.headers["x-cache"], "miss");
    let tag = none.headers["etag"].to_str().unwrap().to_owned();

    let first = key();
    let wish = json!({ "preferences": { "density": "compact", "startPage": "arrivals" } });
    let written = put(&mut desktop, &service, (ROUTE, &first), (&wish, Some(&tag))).await;
    let again = put(&mut desktop, &service, (ROUTE, &first), (&wish, Some(&tag))).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    assert_eq!(written.body, wish);
    assert!(written.headers.contains_key("x-ledger-position"));
    assert_ne!(written.headers["etag"], tag.as_str());
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &written.bytes));
    assert_eq!(again.headers["etag"], written.headers["etag"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");

    // Another device that has not seen it yet.
    let late = key();
    let other_wish = json!({ "preferences": { "density": "wide" } });
    let refused = put(&mut other, &service, (ROUTE, &late), (&other_wish, Some(&tag))).await;
    let refused_again = put(&mut other, &service, (ROUTE, &late), (&other_wish, Some(&tag))).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{}", refused.body);
    assert_eq!(refused.body["code"], "MELMASTOON.GENERAL.PRECONDITION_FAILED");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused_again.bytes, refused.bytes);
    let tag = other.get(&service, ROUTE).await.headers["etag"].to_str().unwrap().to_owned();
    let taken = put(&mut other, &service, (ROUTE, &key()), (&other_wish, Some(&tag))).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.body);

    assert_eq!(desktop.get(&service, ROUTE).await.body, other_wish);
    assert_eq!(
        desktop.get(&service, "/bootstrap").await.body["preferences"],
        other_wish["preferences"]
    );
    assert_eq!(colleague.get(&service, ROUTE).await.body, json!({ "preferences": {} }));
    let events = recorded(&world, "preferences.changed").await;
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].0.starts_with("act_"));
    assert_eq!(events[0].1["members"], json!(["density", "startPage"]));
    assert_eq!(events[1].1["members"], json!(["density", "startPage"]));
    assert!(!json!(events).to_string().contains("compact"), "a value is in the ledger");
}

#[tokio::test]
async fn without_tenant_service_the_mirror_answers_and_a_change_comes_later_once() {
    let (world, service, mut desktop) = start().await;
    let mut colleague = sign_in(&world, json!({})).await;
    let wish = json!({ "preferences": { "density": "compact" } });
    let written = put(&mut desktop, &service, (ROUTE, &key()), (&wish, None)).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    // Memberships are remembered, so that the gate knows both without tenant-service.
    colleague.get(&service, "/session").await;

    fault(&world, TENANT, &json!({ "status": 503 })).await;
    let stale = desktop.get(&service, ROUTE).await;
    assert_eq!(stale.status, StatusCode::OK, "{}", stale.body);
    assert_eq!(stale.headers["x-cache"], "stale");
    assert_eq!((&stale.body, &stale.headers["etag"]), (&wish, &written.headers["etag"]));
    let unknown = colleague.get(&service, ROUTE).await;
    assert!(unknown.status.is_server_error(), "{}", unknown.body);
    assert_eq!(unknown.body["retriable"], true);

    let (late, next) = (key(), json!({ "preferences": { "density": "wide" } }));
    let failed = put(&mut desktop, &service, (ROUTE, &late), (&next, None)).await;
    assert!(failed.status.is_server_error(), "{}", failed.body);
    let reused = put(&mut desktop, &service, (ROUTE, &late), (&wish, None)).await;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reused.body);
    heal(&world, TENANT).await;
    let done =
        until_answered(async || put(&mut desktop, &service, (ROUTE, &late), (&next, None)).await)
            .await;

    assert_eq!((done.status, &done.body), (StatusCode::OK, &next));
    assert_eq!(kept(&world, (TENANT, "effects"), "/preferences").await.len(), 2);
    assert_eq!(recorded(&world, "preferences.changed").await.len(), 2);
}

#[tokio::test]
async fn a_change_whose_answer_was_lost_is_made_once_by_its_key() {
    let (world, service, mut desktop) = start().await;
    let (key, wish) = (key(), json!({ "preferences": { "density": "compact" } }));

    fault(&world, TENANT, &json!({ "dropAfterEffect": true })).await;
    let unknown = put(&mut desktop, &service, (ROUTE, &key), (&wish, None)).await;
    assert_eq!(unknown.status, StatusCode::GATEWAY_TIMEOUT, "{}", unknown.body);
    assert_eq!(unknown.body["code"], "MELMASTOON.BFF.OUTCOME_UNKNOWN");
    heal(&world, TENANT).await;
    let done =
        until_answered(async || put(&mut desktop, &service, (ROUTE, &key), (&wish, None)).await)
            .await;

    assert_eq!((done.status, &done.body), (StatusCode::OK, &wish));
    assert_eq!(kept(&world, (TENANT, "effects"), "/preferences").await.len(), 1);
    assert_eq!(recorded(&world, "preferences.changed").await.len(), 1);
}

#[tokio::test]
async fn id_27_a_change_that_was_turned_away_unread_is_made_later_by_the_same_key() {
    let (world, service, mut desktop) = start().await;
    let (key, wish) = (key(), json!({ "preferences": { "density": "compact" } }));

    for status in [408, 429] {
        fault(&world, TENANT, &json!({ "status": status, "mutationsOnly": true })).await;
        let turned_away = put(&mut desktop, &service, (ROUTE, &key), (&wish, None)).await;
        assert!(!turned_away.status.is_success(), "{status}: {}", turned_away.body);
    }
    heal(&world, TENANT).await;
    let done = put(&mut desktop, &service, (ROUTE, &key), (&wish, None)).await;

    assert_eq!((done.status, &done.body), (StatusCode::OK, &wish));
    assert!(!done.headers.contains_key("idempotency-replayed"));
    assert_eq!(kept(&world, (TENANT, "effects"), "/preferences").await.len(), 1);
}

#[tokio::test]
async fn what_are_no_preferences_is_refused_before_anything_is_done() {
    let (world, service, mut desktop) = start().await;
    let many: serde_json::Map<_, _> =
        (0..129).map(|number| (format!("m{number}"), json!(1))).collect();
    for (body, if_match) in [
        (json!({}), None),
        (json!({ "preferences": [] }), None),
        (json!({ "preferences": {}, "more": 1 }), None),
        (json!({ "preferences": { "": 1 } }), None),
        (json!({ "preferences": { "a": "\u{0}" } }), None),
        (json!({ "preferences": { "a": "x".repeat(40_000) } }), None),
        (json!({ "preferences": many }), None),
        (json!({ "preferences": {} }), Some("1")),
        (json!({ "preferences": {} }), Some("W/\"1\"")),
    ] {
        let answer = put(&mut desktop, &service, (ROUTE, &key()), (&body, if_match)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    assert_eq!(kept(&world, (TENANT, "effects"), "/preferences").await.len(), 0);
    assert!(recorded(&world, "preferences.changed").await.is_empty());
}
