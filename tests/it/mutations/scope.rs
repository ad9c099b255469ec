//! Whose mutation it is, and whether a request is one at all.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Bench, code, stock::Stock};
use crate::support::desktop::{Answer, Desktop, key};

#[tokio::test(flavor = "multi_thread")]
async fn another_property_is_as_if_it_were_not_there() {
    let mut bench = Bench::start().await;
    let foreign = bench.stock.foreign_property();
    for wish in bench.stock.wishes().await {
        let verb = wish.mutation.verb;
        let key = key();
        let mut body = wish.body.clone();
        if body.get("propertyId").is_some() {
            body["propertyId"] = foreign.clone().into();
            let missing = bench.send(&wish.path, &key, &body, &[]).await;
            assert_missing(verb, &missing);
        }
        let missing =
            bench.send(&wish.path, &key, &wish.body, &[("x-property-id", &foreign)]).await;
        assert_missing(verb, &missing);
        assert_eq!(bench.claims(&key).await, 0, "{verb}");
        assert_eq!(bench.kinds(&key).await.len(), 0, "{verb}");
        assert_eq!(bench.upstream(&wish, "effects").await.len(), 0, "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_another_property_looks_like_one_that_does_not_exist() {
    let mut bench = Bench::start().await;
    let properties: Vec<String> =
        serde_json::from_value(bench.desktop.grant["propertyIds"].clone()).unwrap();
    for verb in ["reservation.check-in", "folio.close", "housekeeping.start", "maintenance.assign"]
    {
        let wish = bench.stock.wish_for(verb).await;
        let elsewhere = properties.iter().find(|it| **it != wish.property_id).unwrap();
        let nowhere = wish.path.replace(wish.id.as_deref().unwrap(), "none_1");
        let property = [("x-property-id", elsewhere.as_str())];

        let foreign = bench.send(&wish.path, &key(), &wish.body, &property).await;
        let unknown = bench.send(&nowhere, &key(), &wish.body, &property).await;

        assert_missing(verb, &foreign);
        assert_missing(verb, &unknown);
        let members = |answer: &Answer| {
            let mut body = answer.body.clone();
            for own in ["instance", "requestId", "traceId"] {
                body[own] = Value::Null;
            }
            body
        };
        assert_eq!(members(&foreign), members(&unknown), "{verb}");
        let unnamed = bench.send(&wish.path, &key(), &wish.body, &[]).await;
        assert_eq!(unnamed.status, StatusCode::BAD_REQUEST, "{verb}: {}", unnamed.body);
        assert_eq!(unnamed.body["errors"][0]["field"], "X-Property-Id", "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn id_22_without_the_role_nothing_is_stored_and_with_it_the_same_key_works() {
    let mut bench = Bench::start().await;
    let tenant_id = bench.desktop.text("tenantId").to_owned();
    let manager = std::mem::replace(
        &mut bench.desktop,
        Desktop::sign_in(&bench.world, &tenant_id, json!({ "roles": ["auditor"] })).await,
    );
    let keys: Vec<String> = (0..64).map(|_| key()).collect();
    let wishes = bench.stock.wishes().await;
    for (wish, key) in wishes.iter().zip(&keys) {
        let verb = wish.mutation.verb;
        let denied = bench.ask(wish, key, &[]).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN, "{verb}: {}", denied.body);
        assert_eq!(code(&denied), "MELMASTOON.AUTH.SCOPE_DENIED", "{verb}");
        assert_eq!(bench.claims(key).await, 0, "{verb}");
        assert!(bench.kinds(key).await.is_empty(), "{verb}");
        assert!(bench.upstream(wish, "effects").await.is_empty(), "{verb}");
    }
    bench.desktop = manager;
    let allowed = bench.ask(&wishes[0], &keys[0], &[]).await;
    assert_eq!(allowed.status, StatusCode::OK, "{}", allowed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn id_10_11_a_key_is_for_one_route_object_query_property_and_version() {
    let mut bench = Bench::start().await;
    let wish = bench.stock.wish_for("reservation.check-in").await;
    let sibling = bench.stock.wish_for("reservation.no-show").await;
    let key = key();
    let own = [("x-property-id", wish.property_id.as_str())];
    let first = bench.send(&wish.path, &key, &wish.body, &own).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);

    let other_route = wish.path.replace("check-in", "no-show");
    let with_query = format!("{}?x=1", wish.path);
    let tag = [own[0], ("if-match", "\"v1\"")];
    let other_body = json!({ "note": "another one" });
    for (what, path, body, headers) in [
        ("route", other_route.as_str(), &wish.body, own.as_slice()),
        ("object", sibling.path.as_str(), &wish.body, own.as_slice()),
        ("query", with_query.as_str(), &wish.body, own.as_slice()),
        ("version", wish.path.as_str(), &wish.body, tag.as_slice()),
        ("body", wish.path.as_str(), &other_body, own.as_slice()),
    ] {
        let reused = bench.send(path, &key, body, headers).await;
        assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY, "{what}: {}", reused.body);
        assert_eq!(code(&reused), "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED", "{what}");
    }
    assert_eq!(bench.kinds(&key).await, ["requested", "completed"]);
    assert!(bench.upstream(&sibling, "calls").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn id_21_a_body_that_is_none_of_the_rows_is_refused_by_member_and_the_key_stays_free() {
    let mut bench = Bench::start().await;
    for wish in bench.stock.wishes().await {
        let verb = wish.mutation.verb;
        let key = key();
        let property = [("x-property-id", wish.property_id.as_str())];
        let mut unknown = wish.body.clone();
        unknown["surplus"] = json!(true);
        let refused = bench.send(&wish.path, &key, &unknown, &property).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{verb}: {}", refused.body);
        assert_eq!(code(&refused), "MELMASTOON.GENERAL.VALIDATION_FAILED", "{verb}");
        assert_eq!(refused.body["errors"][0]["code"], "UNKNOWN_MEMBER", "{verb}");
        for member in wish.mutation.body {
            let mut wrong = wish.body.clone();
            wrong[member.name] = json!([]);
            let refused = bench.send(&wish.path, &key, &wrong, &property).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{verb} {}", member.name);
            assert_eq!(refused.body["errors"][0]["field"], member.name, "{verb}");
        }
        assert_eq!(bench.claims(&key).await, 0, "{verb}");
        if wish.mutation.verb != "folio.refund" {
            let done = bench.ask(&wish, &key, &[]).await;
            assert_eq!(done.status.as_u16(), wish.mutation.success, "{verb}: {}", done.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_has_passed_is_refused_by_the_upstream_and_the_refusal_stands() {
    let mut bench = Bench::start().await;
    for verb in ["reservation.check-in", "housekeeping.start", "maintenance.block"] {
        let wish = bench.stock.wish_for(verb).await;
        let key_of_stale = key();
        let stale = bench.ask(&wish, &key_of_stale, &[("if-match", "\"v9\"")]).await;
        let again = bench.ask(&wish, &key_of_stale, &[("if-match", "\"v9\"")]).await;
        let current = bench.ask(&wish, &key(), &[("if-match", "\"v1\"")]).await;

        assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED, "{verb}: {}", stale.body);
        assert_eq!(code(&stale), "MELMASTOON.GENERAL.PRECONDITION_FAILED", "{verb}");
        assert_eq!(stale.body["source"], wish.mutation.service.name(), "{verb}");
        assert_eq!(again.bytes, stale.bytes, "{verb}");
        assert_eq!(current.status, StatusCode::OK, "{verb}: {}", current.body);
        assert_eq!(current.headers["etag"], "\"v2\"", "{verb}");
    }
    let wish = bench.stock.wish_for("folio.close").await;
    let unkept = bench.ask(&wish, &key(), &[("if-match", "\"v1\"")]).await;
    assert_eq!(unkept.status, StatusCode::BAD_REQUEST, "{}", unkept.body);
    assert_eq!(unkept.body["errors"][0]["field"], "If-Match");
}

#[tokio::test(flavor = "multi_thread")]
async fn id_16_one_key_of_two_devices_is_two_wishes() {
    let mut bench = Bench::start().await;
    let tenant_id = bench.desktop.text("tenantId").to_owned();
    let wish = bench.stock.wish_for("folio.payment").await;
    let key = key();
    let first = bench.ask(&wish, &key, &[]).await;
    let same = json!({ "operatorId": bench.desktop.text("operatorId") });
    bench.desktop = Desktop::sign_in(&bench.world, &tenant_id, same).await;
    bench.stock = Stock::of(&bench.world, &bench.desktop).await;
    let second = bench.ask(&wish, &key, &[]).await;

    assert_eq!(first.status, StatusCode::CREATED, "{}", first.body);
    assert_eq!(second.status, StatusCode::CREATED, "{}", second.body);
    assert!(!second.headers.contains_key("idempotency-replayed"));
    assert_eq!(bench.upstream(&wish, "effects").await.len(), 2);
}

fn assert_missing(verb: &str, answer: &Answer) {
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{verb}: {}", answer.body);
    assert_eq!(code(answer), "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND", "{verb}");
    assert!(answer.body.get("source").is_none(), "{verb}: {}", answer.body);
}
