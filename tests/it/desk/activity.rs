//! Batches of what an operator did at the desktop.

use backoffice::clock::{Clock, SystemClock};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{recorded, start};
use crate::support::desktop::{Answer, key};

const ROUTE: &str = "/activity";

fn now() -> String {
    SystemClock.now().to_rfc3339()
}

fn item(verb: &str) -> Value {
    json!({ "verb": verb, "at": now() })
}

#[tokio::test]
async fn each_item_is_one_event_and_a_repetition_records_nothing() {
    let (world, service, mut desktop) = start().await;
    let opened = json!({
        "verb": "reservation.opened",
        "at": now(),
        "target": { "type": "reservation", "id": "rsv_1" },
        "properties": { "fromSearch": true, "tab": "guests" },
    });
    let (key, batch) = (key(), json!({ "items": [opened, item("help.opened")] }));

    let first = desktop.post(&service, ROUTE, &key, &batch).await;
    let again = desktop.post(&service, ROUTE, &key, &batch).await;

    assert_eq!((first.status, &first.body), (StatusCode::OK, &json!({ "recorded": 2 })));
    assert!(first.headers.contains_key("x-ledger-position"));
    assert_eq!((again.status, &again.bytes), (StatusCode::OK, &first.bytes));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let events = recorded(&world, "activity.recorded").await;
    let [(stream, opened, metadata), (same, helped, _)] = &events[..] else { panic!("{events:?}") };
    assert!(stream.starts_with("act_") && stream == same);
    assert_eq!(opened["target"], json!({ "type": "reservation", "id": "rsv_1" }));
    assert_eq!(opened["properties"], json!({ "fromSearch": true, "tab": "guests" }));
    assert_eq!(opened["origin"], "online");
    assert_eq!(helped["verb"], "help.opened");
    assert_eq!(metadata["operatorId"], desktop.text("operatorId"));
    assert_eq!(metadata["idempotencyKey"], key.as_str());
}

#[tokio::test]
async fn a_batch_has_up_to_a_hundred_items_of_the_catalogue_or_nothing_of_it_is_recorded() {
    let (world, service, mut desktop) = start().await;
    let full = json!({ "items": vec![item("help.opened"); 100] });
    let taken = desktop.post(&service, ROUTE, &key(), &full).await;
    assert_eq!((taken.status, &taken.body), (StatusCode::OK, &json!({ "recorded": 100 })));

    for (items, field) in [
        (json!([]), "items"),
        (json!(vec![item("help.opened"); 101]), "items"),
        (json!([item("help.opened"), item("guest.insulted")]), "items[1].verb"),
        (
            json!([{ "verb": "search.run", "at": now(), "properties": { "scope": "Amina K." } }]),
            "items[0].properties.scope",
        ),
        (
            json!([{ "verb": "search.run", "at": now(), "properties": { "guest": "Amina" } }]),
            "items[0].properties",
        ),
        (
            json!([{ "verb": "room.opened", "at": now(), "target": { "type": "guest", "id": "g" } }]),
            "items[0].target",
        ),
        (json!([{ "verb": "help.opened", "at": "2020-01-01T00:00:00Z" }]), "items[0].at"),
    ] {
        let body = json!({ "items": items });
        let refused = desktop.post(&service, ROUTE, &key(), &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], field, "{}", refused.body);
        assert!(!refused.body.to_string().contains("Amina"), "{}", refused.body);
    }
    let shapeless = json!({ "items": [{ "verb": "help.opened", "at": now(), "guest": "Amina" }] });
    let refused = desktop.post(&service, ROUTE, &key(), &shapeless).await;
    assert_eq!(refused.body["code"], "MELMASTOON.GENERAL.MALFORMED_REQUEST");
    assert_eq!(recorded(&world, "activity.recorded").await.len(), 100);
}

#[tokio::test]
async fn ten_presses_of_one_key_at_once_record_one_batch() {
    let (world, service, mut desktop) = start().await;
    desktop.get(&service, "/session").await;
    let (key, batch) = (key(), json!({ "items": [item("help.opened"), item("help.opened")] }));
    let proofs: Vec<String> =
        (0..10).map(|_| desktop.proof(&service, &reqwest::Method::POST, ROUTE)).collect();

    let answers = futures::future::join_all(proofs.iter().map(async |proof| {
        let sent = desktop.send_with_proof(&service, ROUTE, Some((&key, &batch)), proof).await;
        Answer::read(sent).await
    }))
    .await;

    for answer in &answers {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.bytes, answers[0].bytes);
    }
    assert_eq!(recorded(&world, "activity.recorded").await.len(), 2);
}
