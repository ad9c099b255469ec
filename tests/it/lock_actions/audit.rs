//! Whether every action has its outcome is a question that an auditor can ask.

use super::*;

const ROUTE: &str = "/audit/lock-actions/open";

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_what_has_no_outcome_until_it_has_one() {
    let mut scene = Scene::set().await;
    let options = json!({ "roles": ["auditor"] });
    let mut auditor = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), options).await;
    let mut elsewhere =
        Desktop::sign_in(&scene.world, &tenant(&scene.world, 1), json!({ "roles": ["owner"] }))
            .await;
    let done = scene.issue(&key()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let none = auditor.get(&scene.service, ROUTE).await;
    assert_eq!(none.status, StatusCode::OK, "{}", none.body);

    fault(&scene.world, json!({ "dropAfterEffect": true, "mutationsOnly": true })).await;
    let keys = [key(), key()];
    for key in &keys {
        let lost = scene.issue(key).await;
        assert_eq!(lost.status, StatusCode::GATEWAY_TIMEOUT, "{}", lost.body);
    }
    // Nobody looks into them but this test.
    fault(&scene.world, json!({ "status": 503 })).await;
    wait::until("both are known to be open", async || open(&scene.world).await == 2).await;

    let answer = auditor.get(&scene.service, ROUTE).await;
    let items = answer.body["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{}", answer.body);
    for item in items {
        assert_eq!(item["lockId"], scene.door.lock.as_str());
        assert_eq!(item["propertyId"], scene.desktop.property());
        assert_eq!(item["operatorId"], scene.desktop.text("operatorId"));
        assert_eq!((&item["action"], &item["state"]), (&json!("issue"), &json!("unknown")));
    }
    let time = |value: &Value| {
        chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap().to_utc()
    };
    assert!(time(&items[1]["requestedAt"]) < time(&items[0]["requestedAt"]), "newest first");
    assert!(time(&items[0]["requestedAt"]) < time(&answer.body["asOf"]));
    let first = auditor.get(&scene.service, &format!("{ROUTE}?limit=1")).await;
    assert_eq!(first.body["items"], json!([items[0]]));
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = auditor.get(&scene.service, &format!("{ROUTE}?limit=1&cursor={cursor}")).await;
    assert_eq!(second.body["items"], json!([items[1]]));
    assert_eq!(second.body.get("nextCursor"), None);
    assert_eq!(elsewhere.get(&scene.service, ROUTE).await.body["items"], json!([]));
    let named = format!("{ROUTE}?propertyId=ppt_none");
    assert_eq!(auditor.get(&scene.service, &named).await.status, StatusCode::NOT_FOUND);
    let options = json!({ "roles": ["front_desk"] });
    let mut desk = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), options).await;
    assert_eq!(desk.get(&scene.service, ROUTE).await.status, StatusCode::FORBIDDEN);

    heal(&scene.world).await;
    let mut superuser = scene.world.database.superuser().await;
    wait::until("both have their outcome", async || {
        let due = "update open_action set next_try_at = now()";
        sqlx::raw_sql(due).execute(&mut superuser).await.unwrap();
        open(&scene.world).await == 0
    })
    .await;
    let answer = auditor.get(&scene.service, ROUTE).await;
    assert_eq!(answer.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_says_up_to_when_it_is_complete() {
    let mut scene = Scene::set().await;
    let options = json!({ "roles": ["auditor"] });
    let mut auditor = Desktop::sign_in(&scene.world, &tenant(&scene.world, 0), options).await;
    // The worker reads no further.
    let mut superuser = scene.world.database.superuser().await;
    let stop = "begin; select from open_action_cursor for update";
    sqlx::raw_sql(stop).execute(&mut superuser).await.unwrap();
    let done = scene.issue(&key()).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    let recorded = "select min(recorded_at) from event where ledger = 'lock-audit'";
    let recorded: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(recorded)
        .fetch_one(&mut scene.world.database.superuser().await)
        .await
        .unwrap();

    let behind = auditor.get(&scene.service, ROUTE).await;
    let as_of = |answer: &Answer| -> chrono::DateTime<chrono::Utc> {
        answer.body["asOf"].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(as_of(&behind), recorded);

    sqlx::raw_sql("rollback").execute(&mut superuser).await.unwrap();
    wait::until("the worker has read on", async || {
        recorded < as_of(&auditor.get(&scene.service, ROUTE).await)
    })
    .await;
}
