//! Shortcuts: the map that comes with the service, and the operator's own.

use reqwest::StatusCode;
use serde_json::json;

use super::{put, recorded, second_device, sign_in, start};
use crate::support::{
    desktop::{Desktop, key},
    service::{Service, World},
};

const ROUTE: &str = "/shortcuts";

#[tokio::test]
async fn an_operator_has_the_same_keys_on_every_device_and_nobody_else_has_them() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let mut colleague = sign_in(&world, json!({})).await;

    let standard = desktop.get(&service, ROUTE).await;
    assert_eq!(standard.status, StatusCode::OK, "{}", standard.body);
    assert_eq!(standard.body["shortcuts"]["search.open"], "Ctrl+F");
    assert_eq!(standard.body["overrides"], json!({}));
    let tag = standard.headers["etag"].to_str().unwrap().to_owned();

    let first = key();
    let wish = json!({ "overrides": { "search.open": "Ctrl+J", "desktop.help": null } });
    let written = put(&mut desktop, &service, (ROUTE, &first), (&wish, Some(&tag))).await;
    let again = put(&mut desktop, &service, (ROUTE, &first), (&wish, Some(&tag))).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    assert_eq!(written.body["shortcuts"]["search.open"], "Ctrl+J");
    assert_eq!(written.body["shortcuts"].get("desktop.help"), None);
    assert_eq!(written.body["overrides"], wish["overrides"]);
    assert!(written.headers.contains_key("x-ledger-position"));
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &written.bytes));
    assert_eq!(again.headers["etag"], written.headers["etag"]);

    let seen = other.get(&service, ROUTE).await;
    assert_eq!((&seen.body, &seen.headers["etag"]), (&written.body, &written.headers["etag"]));
    let booted = other.get(&service, "/bootstrap").await;
    assert_eq!(booted.body["shortcuts"], written.body["shortcuts"]);
    assert_eq!(colleague.get(&service, ROUTE).await.body, standard.body);

    let late = json!({ "overrides": {} });
    let refused = put(&mut other, &service, (ROUTE, &key()), (&late, Some(&tag))).await;
    assert_eq!(refused.status, StatusCode::PRECONDITION_FAILED, "{}", refused.body);
    assert_eq!(refused.body["code"], "MELMASTOON.GENERAL.PRECONDITION_FAILED");
    let reset = put(&mut other, &service, (ROUTE, &key()), (&late, None)).await;
    assert_eq!(reset.body, standard.body);

    let events = recorded(&world, "shortcuts.changed").await;
    assert_eq!(events.len(), 2, "{events:?}");
    for (stream, data, _) in &events {
        assert!(stream.starts_with("act_"));
        assert_eq!(data["members"], json!(["desktop.help", "search.open"]));
    }
}

#[tokio::test]
async fn keys_that_cannot_be_are_refused_by_name_and_nothing_is_changed() {
    let (world, service, mut desktop) = start().await;
    for (overrides, field, code) in [
        (json!({ "guest.insult": "Ctrl+J" }), "overrides", "UNKNOWN_ACTION"),
        (json!({ "search.open": "j" }), "overrides.search.open", "INVALID"),
        (json!({ "search.open": "Ctrl+Ctrl+J" }), "overrides.search.open", "INVALID"),
        (json!({ "search.open": "F5" }), "overrides.search.open", "TAKEN"),
    ] {
        let body = json!({ "overrides": overrides });
        let answer = put(&mut desktop, &service, (ROUTE, &key()), (&body, None)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
        assert_eq!(answer.body["errors"], json!([{ "field": field, "code": code }]), "{overrides}");
    }
    for body in [json!({}), json!({ "overrides": { "search.open": 1 } })] {
        let answer = put(&mut desktop, &service, (ROUTE, &key()), (&body, None)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.body);
    }
    assert_eq!(desktop.get(&service, ROUTE).await.body["overrides"], json!({}));
    assert!(recorded(&world, "shortcuts.changed").await.is_empty());
}

#[tokio::test]
async fn of_two_changes_of_one_version_one_is_made() {
    let (world, service, mut desktop) = start().await;
    let mut other = second_device(&world, &desktop).await;
    let tag = desktop.get(&service, ROUTE).await.headers["etag"].to_str().unwrap().to_owned();
    other.get(&service, ROUTE).await;
    let one = json!({ "overrides": { "search.open": "Ctrl+J" } });
    let another = json!({ "overrides": { "search.open": "Ctrl+H" } });
    let (one_key, another_key) = (key(), key());

    let (first, second) = tokio::join!(
        put(&mut desktop, &service, (ROUTE, &one_key), (&one, Some(&tag))),
        put(&mut other, &service, (ROUTE, &another_key), (&another, Some(&tag))),
    );

    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert_eq!(recorded(&world, "shortcuts.changed").await.len(), 1);
}

#[tokio::test]
async fn a_tenants_keys_are_for_everybody_who_has_not_chosen_differently() {
    let (world, service, mut owner) = start_as(&["owner"]).await;
    let mut desk = sign_in(&world, json!({ "roles": ["front_desk"] })).await;
    let of_tenant = "/shortcuts/tenant";
    let own = json!({ "overrides": { "desktop.help": "Ctrl+J" } });
    let written = put(&mut desk, &service, (ROUTE, &key()), (&own, None)).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    let before = owner.get(&service, of_tenant).await;
    let tag = before.headers["etag"].to_str().unwrap().to_owned();
    let seen_before = owner.get(&service, ROUTE).await;

    let wish = json!({ "overrides": { "search.open": "Ctrl+J", "desktop.help": "Ctrl+H" } });
    let first = key();
    let changed = put(&mut owner, &service, (of_tenant, &first), (&wish, Some(&tag))).await;
    let again = put(&mut owner, &service, (of_tenant, &first), (&wish, Some(&tag))).await;
    let late = put(&mut owner, &service, (of_tenant, &key()), (&wish, Some(&tag))).await;

    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(changed.body["shortcuts"]["search.open"], "Ctrl+J");
    assert_eq!(changed.body["overrides"], wish["overrides"]);
    assert_eq!(again.bytes, changed.bytes);
    assert_eq!(late.status, StatusCode::PRECONDITION_FAILED, "{}", late.body);
    let seen = owner.get(&service, ROUTE).await;
    assert_eq!(seen.body["shortcuts"], changed.body["shortcuts"]);
    assert_eq!(seen.body["overrides"], json!({}));
    assert_ne!(seen.headers["etag"], seen_before.headers["etag"], "the result is another one");
    // The operator's own keys stand, and nothing else has them.
    let seen = desk.get(&service, ROUTE).await;
    assert_eq!(seen.body["shortcuts"]["desktop.help"], "Ctrl+J");
    assert_eq!(seen.body["shortcuts"].get("search.open"), None);
    let taken = json!({ "overrides": { "search.open": "Ctrl+H" } });
    let refused = put(&mut desk, &service, (ROUTE, &key()), (&taken, None)).await;
    assert_eq!(refused.body["errors"][0]["code"], "TAKEN", "by the tenant: {}", refused.body);
    let freed = json!({ "overrides": { "search.open": "Ctrl+H", "desktop.help": null } });
    let freed = put(&mut desk, &service, (ROUTE, &key()), (&freed, None)).await;
    assert_eq!(freed.status, StatusCode::OK, "by the operator: {}", freed.body);
    assert_eq!(freed.body["shortcuts"]["search.open"], "Ctrl+H");
    let events = recorded(&world, "shortcuts.changed").await;
    let levels: Vec<_> = events.iter().map(|(_, data, _)| data["level"].clone()).collect();
    assert_eq!(levels, ["operator", "tenant", "operator"]);
}

#[tokio::test]
async fn a_tenants_keys_are_changed_by_those_who_may_and_stay_with_the_tenant() {
    let (world, service, mut owner) = start_as(&["owner"]).await;
    let mut desk = sign_in(&world, json!({ "roles": ["front_desk", "property_manager"] })).await;
    let elsewhere = world.simulator.tenant_ids()[1].clone();
    let mut other = Desktop::sign_in(&world, &elsewhere, json!({ "roles": ["owner"] })).await;
    let standard = other.get(&service, ROUTE).await;
    let (route, wish) = ("/shortcuts/tenant", json!({ "overrides": { "search.open": "F5" } }));

    let denied = put(&mut desk, &service, (route, &key()), (&wish, None)).await;
    let taken = put(&mut owner, &service, (route, &key()), (&wish, None)).await;
    let wish = json!({ "overrides": { "search.open": "Ctrl+J" } });
    let done = put(&mut owner, &service, (route, &key()), (&wish, None)).await;

    assert_eq!(denied.status, StatusCode::FORBIDDEN, "{}", denied.body);
    assert_eq!(desk.get(&service, route).await.status, StatusCode::FORBIDDEN);
    assert_eq!(taken.status, StatusCode::BAD_REQUEST, "{}", taken.body);
    let errors = json!([{ "field": "overrides.search.open", "code": "TAKEN" }]);
    assert_eq!(taken.body["errors"], errors);
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    assert_eq!(other.get(&service, ROUTE).await.body, standard.body);
    assert_eq!(recorded(&world, "shortcuts.changed").await.len(), 1);
}

async fn start_as(roles: &[&str]) -> (World, Service, Desktop) {
    let world = World::start().await;
    let service = world.service().await;
    let desktop = sign_in(&world, json!({ "roles": roles })).await;
    (world, service, desktop)
}
