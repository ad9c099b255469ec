//! What boards list.

use reqwest::StatusCode;
use serde_json::Value;

use super::*;
use crate::support::{
    desktop::key,
    platform::{fault, look},
};

const BOARDS: [(&str, &[&str]); 7] = [
    ("today", &["arrivals", "departures", "in-house", "tasks", "work-orders"]),
    ("arrivals", &["arrivals", "rooms"]),
    ("departures", &["departures", "folios"]),
    ("in-house", &["in-house"]),
    ("front-desk", &["rooms", "occupancy", "arrivals", "departures", "in-house"]),
    ("housekeeping", &["rooms", "tasks"]),
    ("maintenance", &["work-orders", "lock-health"]),
];

fn ids(section: &Value) -> Vec<String> {
    let items = section["items"].as_array().unwrap().iter();
    items.map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_board_shows_its_sections_and_the_next_reader_finds_them_fresh() {
    let mut desk = Desk::start().await;
    for (board, sections) in BOARDS {
        desk.whole_board(board).await;
        let answer = desk.board(board).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.headers["x-cache"], "hit", "{board}");
        let shown = answer.body["sections"].as_array().unwrap();
        let names: Vec<&str> = shown.iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!(names, sections, "{board}");
        for section in shown {
            assert_eq!(section["status"], "ok", "{section}");
            assert_eq!(section["stale"], false, "{section}");
            assert!(section["asOf"].is_string() && section["summary"].is_object(), "{section}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_is_paged_and_filtered_by_itself() {
    let mut desk = Desk::start().await;
    let path = desk.board_path("housekeeping");
    desk.whole_board("housekeeping").await;
    let world = look(&desk.world, "/sim/world").await;
    let properties = world["tenants"][0]["properties"].as_array().unwrap().clone();
    let property = properties.iter().find(|it| it["id"] == desk.desktop.property()).unwrap();
    let rooms = property["rooms"].as_array().unwrap();
    assert!(100 < rooms.len(), "more than one page of the upstream");

    let mut seen = Vec::new();
    let mut next = format!("{path}&limit=7");
    loop {
        let page = desk.desktop.get(&desk.service, &next).await.body;
        let shown = section(&page, "rooms");
        assert_eq!(shown["total"], rooms.len());
        seen.extend(ids(shown));
        let is_first = seen.len() <= 7;
        assert_eq!(page["sections"].as_array().unwrap().len(), if is_first { 2 } else { 1 });
        let Some(cursor) = shown["nextCursor"].as_str() else { break };
        next = format!("{path}&limit=7&cursor={cursor}");
    }
    let distinct: std::collections::BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (rooms.len(), rooms.len()));

    let dirty = desk.desktop.get(&desk.service, &format!("{path}&state=dirty")).await.body;
    let dirty = section(&dirty, "rooms");
    assert!(0 < dirty["total"].as_u64().unwrap());
    assert!(dirty["items"].as_array().unwrap().iter().all(|room| room["status"] == "dirty"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_day_is_another_board() {
    let mut desk = Desk::start().await;
    let path = desk.board_path("arrivals");
    let today = desk.whole_board("arrivals").await.body;
    let asked = async |desk: &Desk| {
        kept(&desk.world, ("reservation-service", "calls"), "/arrivals").await.len()
    };
    let before = asked(&desk).await;
    let far = wait::until_some("that day's arrivals are there", async || {
        let path = format!("{path}&date=2031-02-03");
        let board = desk.desktop.get(&desk.service, &path).await.body;
        (section(&board, "arrivals")["status"] == "ok").then_some(board)
    })
    .await;
    assert!(!ids(section(&today, "arrivals")).is_empty());
    assert_eq!(ids(section(&far, "arrivals")), Vec::<String>::new());
    assert_eq!((&far["date"], &today["date"]), (&json!("2031-02-03"), &Value::Null));
    assert!(!ids(section(&far, "rooms")).is_empty(), "rooms are the same every day");
    assert!(before < asked(&desk).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_section_that_is_not_there_does_not_take_the_others_with_it() {
    let mut desk = Desk::start().await;
    fault(&desk.world, "maintenance-service", &json!({ "status": 500 })).await;
    let today = wait::until_some("the other sections are there", async || {
        let today = desk.board("today").await;
        let sections = today.body["sections"].as_array().unwrap();
        let are_there = sections.iter().filter(|section| section["status"] == "ok").count() == 4;
        are_there.then_some(today)
    })
    .await;
    assert_eq!(today.status, StatusCode::OK);
    let orders = section(&today.body, "work-orders");
    assert_eq!((&orders["status"], &orders["summary"]), (&json!("error"), &Value::Null));
    assert!(orders["userMessage"].is_string());
    assert_eq!(section(&today.body, "tasks")["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_board_does_not_understand_is_named() {
    let mut desk = Desk::start().await;
    let path = desk.board_path("arrivals");
    let housekeeping = desk.board_path("housekeeping");
    desk.whole_board("housekeeping").await;
    let foreign = desk.desktop.get(&desk.service, &format!("{housekeeping}&limit=1")).await.body;
    let foreign = section(&foreign, "tasks")["nextCursor"].as_str().unwrap().to_owned();
    let wrong = format!("{path}&date=tomorrow&state=A%20B&limit=0&cursor={foreign}");
    let refused = desk.desktop.get(&desk.service, &wrong).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{}", refused.body);
    let errors = refused.body["errors"].as_array().unwrap();
    let mut fields: Vec<&str> = errors.iter().map(|it| it["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["cursor", "date", "limit", "state"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_check_in_the_clerks_own_board_shows_it() {
    let mut desk = Desk::start().await;
    let arrivals = desk.whole_board("arrivals").await.body;
    let arriving = section(&arrivals, "arrivals")["items"].as_array().unwrap().clone();
    let stay = arriving.iter().find(|stay| stay["state"] == "confirmed").unwrap();
    let id = stay["id"].as_str().unwrap();
    assert_eq!(desk.board("arrivals").await.headers["x-cache"], "hit");

    let path = format!("/reservations/{id}/check-in?propertyId={}", desk.desktop.property());
    let done = desk.desktop.post(&desk.service, &path, &key(), &json!({})).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.body);
    // An upstream that does not answer in time is stood in for, which the section says.
    let shown = desk.first_fresh("arrivals", "arrivals").await;
    let stay = shown.iter().find(|stay| stay["id"] == id).unwrap();
    assert_eq!(stay["state"], "in_house");
}
