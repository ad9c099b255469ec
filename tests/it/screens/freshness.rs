//! What is looked at stays as fresh as what is heard of.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::Value;

use super::*;
use crate::support::{desktop::key, platform::happened, service::Service, wait};

impl Desk {
    /// Lets every snapshot of a property be so many seconds older.
    pub(super) async fn age_by(&self, property_id: &str, seconds: i64) {
        let cache = &self.world.cache_tier;
        for key in cache.keys().await {
            if key.contains(&format!(":snapshot:{property_id}:")) {
                let by = (-1000 * seconds).to_string();
                cache.command(&["HINCRBY", &key, "a", &by]).await;
                let left = cache.command(&["PTTL", &key]).await;
                let left: i64 = redis::from_redis_value(left).unwrap();
                let left = (left - 1000 * seconds).to_string();
                cache.command(&["PEXPIRE", &key, &left]).await;
            }
        }
        self.forget_uses().await;
    }

    /// Nobody looks at anything any more.
    async fn forget_uses(&self) {
        let cache = &self.world.cache_tier;
        cache.command(&["DEL", "g:recompose", "g:recompose:again"]).await;
        for key in cache.keys().await {
            if key.contains(":used:") {
                cache.command(&["DEL", &key]).await;
            }
        }
    }

    /// Lets the next reader find nothing.
    pub(super) async fn forget_snapshots(&self) {
        let cache = &self.world.cache_tier;
        for key in cache.keys().await {
            if key.contains(":snapshot:") {
                cache.command(&["DEL", &key]).await;
            }
        }
        self.forget_uses().await;
    }

    /// A task of the property that has not begun, straight from the upstream.
    async fn open_task(&self) -> String {
        let world = crate::support::platform::look(&self.world, "/sim/world").await;
        let tasks = world["tasks"].as_array().unwrap();
        let is_ours = |task: &&Value| {
            task["propertyId"] == self.desktop.property() && task["state"] == "created"
        };
        tasks.iter().find(is_ours).unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_event_makes_a_screen_that_is_looked_at_new_and_says_so() {
    let mut desk = Desk::start().await;
    let before = desk.whole_board("maintenance").await.body;
    let before = section(&before, "work-orders")["summary"]["open"].as_u64().unwrap();
    let mut live = desk.desktop.live(&desk.service, "?channels=dashboard-refresh-hints").await;
    let property = desk.desktop.property().to_owned();

    // Somebody else opens a work order, straight at maintenance-service.
    open_work_order(&desk, &property).await;
    let hint = loop {
        let hint = live.next_of("dashboard.refresh").await;
        if hint["boards"].as_array().unwrap().contains(&json!("maintenance")) {
            break hint;
        }
    };

    assert_eq!(hint["propertyId"], property.as_str());
    assert!(hint["widgets"].as_array().unwrap().contains(&json!("work-orders")), "{hint}");
    let board = desk.board("maintenance").await;
    assert_eq!(board.headers["x-cache"], "hit", "it was composed before it was announced");
    assert_eq!(section(&board.body, "work-orders")["summary"]["open"], before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_looks_at_is_not_asked_for_when_it_changes() {
    let mut desk = Desk::start().await;
    desk.whole_board("maintenance").await;
    let property = desk.desktop.property().to_owned();
    desk.age_by(&property, 1).await;
    let asked = async |desk: &Desk| {
        kept(&desk.world, ("maintenance-service", "calls"), "/work-orders").await.len()
    };
    let before = asked(&desk).await;
    let mut live = desk.desktop.live(&desk.service, "?channels=dashboard-refresh-hints").await;

    open_work_order(&desk, &property).await;
    let hint = live.next_of("dashboard.refresh").await;

    assert_eq!(hint["boards"], json!(["today", "maintenance"]));
    // The one call is the opening of the work order itself.
    assert_eq!(asked(&desk).await, before + 1);
    let board = desk.board("maintenance").await;
    assert_eq!(board.headers["x-cache"], "miss", "the next reader asks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_screen_that_is_looked_at_is_renewed_before_it_grows_old() {
    let mut desk = Desk::start().await;
    let first = desk.whole_board("in-house").await.body;
    let first = section(&first, "in-house")["asOf"].clone();
    let renewed = wait::within(Duration::from_secs(40), "it is renewed", async || {
        let board = desk.board("in-house").await;
        assert_ne!(board.headers["x-cache"], "miss", "{}", board.body);
        let as_of = section(&board.body, "in-house")["asOf"].clone();
        (as_of != first).then_some(as_of)
    })
    .await;
    assert!(renewed.as_str() > first.as_str(), "{renewed} after {first}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_another_property_or_of_nothing_shown_changes_nothing() {
    let mut desk = Desk::start().await;
    desk.whole_board("housekeeping").await;
    let tenant_id = desk.desktop.text("tenantId").to_owned();
    let (mine, other) = (desk.desktop.property().to_owned(), {
        let properties = desk.desktop.grant["propertyIds"].as_array().unwrap();
        properties[1].as_str().unwrap().to_owned()
    });
    let subject = "melmastoon.housekeeping.task.completed.v1";
    happened(&desk.world, &tenant_id, subject, json!({ "propertyId": other })).await;
    let marks = async |desk: &Desk, property: &str| {
        let keys = desk.world.cache_tier.keys().await;
        keys.iter().filter(|key| key.contains(&format!(":changed:{property}:"))).count()
    };
    wait::until("the other property has changed", async || 0 < marks(&desk, &other).await).await;
    assert_eq!(marks(&desk, &mine).await, 0);
    assert_eq!(desk.board("housekeeping").await.headers["x-cache"], "hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_names_no_property_changes_every_one_that_is_looked_at() {
    let mut desk = Desk::start().await;
    desk.whole_board("housekeeping").await;
    let mut stranger = Desktop::sign_in(&desk.world, &tenant(&desk.world, 1), json!({})).await;
    let foreign = format!("/housekeeping?propertyId={}", stranger.property());
    assert_eq!(stranger.get(&desk.service, &foreign).await.status, StatusCode::OK);
    let tenant_id = desk.desktop.text("tenantId").to_owned();
    let (mine, other) = (desk.desktop.property().to_owned(), stranger.property().to_owned());
    let unseen = desk.desktop.grant["propertyIds"][1].as_str().unwrap().to_owned();

    let subject = "melmastoon.housekeeping.task.completed.v1";
    happened(&desk.world, &tenant_id, subject, json!({})).await;

    let marks = async |property: &str| {
        let keys = desk.world.cache_tier.keys().await;
        keys.iter().filter(|key| key.contains(&format!(":changed:{property}:"))).count()
    };
    wait::until("what is looked at has changed", async || 0 < marks(&mine).await).await;
    assert_eq!(marks(&unseen).await, 0, "nobody has looked at it");
    assert_eq!(marks(&other).await, 0, "another tenant's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_views_is_recorded_with_what_was_missing() {
    let world = World::start().await;
    let flags = json!({ "versionFloor": {}, "flags": {},
        "sampling": { "dashboard.viewed": 1.0, "workbench.viewed": 1.0 } });
    let flags = flags.to_string();
    world.session_tier.command(&["SET", "bff-backoffice-flags", &flags]).await;
    let service = world.service().await;
    let desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let mut desk = Desk { world, service, desktop };
    crate::support::platform::fault(&desk.world, "pricing-service", &json!({ "status": 500 }))
        .await;
    assert_eq!(desk.dashboard().await.status, StatusCode::OK);
    assert_eq!(desk.board("arrivals").await.status, StatusCode::OK);

    let mut superuser = desk.world.database.superuser().await;
    let query = "select kind, body::text, metadata::text from event_json \
                 where kind like '%.viewed.v1' order by kind";
    let views: Vec<(String, String, String)> = wait::until_some("both are recorded", async || {
        let views = sqlx::query_as(query).fetch_all(&mut superuser).await.unwrap();
        (views.len() == 2).then_some(views)
    })
    .await;
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(views[0].0, "melmastoon.bff.backoffice.dashboard.viewed.v1");
    assert_eq!(json(&views[0].1)["partial"], json!(["rates"]));
    assert_eq!(json(&views[1].1)["board"], "arrivals");
    assert_eq!(json(&views[1].2)["propertyId"], desk.desktop.property());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mutation_makes_every_screen_that_shows_it_new() {
    let mut desk = Desk::start().await;
    for board in ["today", "housekeeping"] {
        desk.whole_board(board).await;
    }
    let task = desk.open_task().await;
    start_task(&desk.service, &mut desk.desktop, &task).await;
    for board in ["today", "housekeeping"] {
        let tasks = desk.first_fresh(board, "tasks").await;
        let shown = tasks.iter().find(|it| it["id"] == task.as_str()).unwrap();
        assert_eq!(shown["state"], "started", "{board}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_just_changed_is_shown_as_it_was_but_not_to_who_has_changed_it() {
    let (mut desk, mut colleague) = two_clerks().await;
    let task = desk.open_task().await;
    // Long enough that the worker has not composed it anew before the colleague looks.
    slow_housekeeping(&desk).await;

    start_task(&desk.service, &mut desk.desktop, &task).await;
    let theirs = colleague.get(&desk.service, &housekeeping(&colleague)).await;
    let own = desk.board("housekeeping").await;

    assert_eq!(theirs.headers["x-cache"], "stale");
    assert_eq!(section(&theirs.body, "tasks")["status"], "stale");
    assert_eq!(state_of(&task, &theirs.body), "created");
    assert_ne!(own.headers["x-cache"], "stale", "who has changed it waits");
    assert_eq!(state_of(&task, &own.body), "started");
    wait::until("the colleague's board is new", async || {
        let theirs = colleague.get(&desk.service, &housekeeping(&colleague)).await;
        state_of(&task, &theirs.body) == "started"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_seen_a_change_of_its_own_does_not_wait_for_those_of_others() {
    let (mut desk, mut colleague) = two_clerks().await;
    let own = desk.open_task().await;
    start_task(&desk.service, &mut desk.desktop, &own).await;
    assert_eq!(state_of(&own, &desk.board("housekeeping").await.body), "started");
    let theirs = desk.open_task().await;
    slow_housekeeping(&desk).await;

    start_task(&desk.service, &mut colleague, &theirs).await;
    let seen = desk.board("housekeeping").await;
    let seen_by_colleague = colleague.get(&desk.service, &housekeeping(&colleague)).await;

    assert_ne!(seen.headers["x-cache"], "miss");
    assert_eq!(state_of(&own, &seen.body), "started");
    assert_eq!(state_of(&theirs, &seen_by_colleague.body), "started");
}

/// Two desktops of one property, at which the board of housekeeping is kept.
async fn two_clerks() -> (Desk, Desktop) {
    let mut desk = Desk::start().await;
    let options = json!({ "propertyIds": [desk.desktop.property()] });
    let tenant_id = desk.desktop.text("tenantId").to_owned();
    let colleague = Desktop::sign_in(&desk.world, &tenant_id, options).await;
    desk.whole_board("housekeeping").await;
    (desk, colleague)
}

async fn slow_housekeeping(desk: &Desk) {
    let slow = json!({ "latencyMs": 400 });
    crate::support::platform::fault(&desk.world, "housekeeping-service", &slow).await;
}

fn housekeeping(desktop: &Desktop) -> String {
    format!("/housekeeping?propertyId={}", desktop.property())
}

async fn start_task(service: &Service, desktop: &mut Desktop, task: &str) {
    let path = format!("/housekeeping/tasks/{task}/start?propertyId={}", desktop.property());
    let started = desktop.post(service, &path, &key(), &json!({})).await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.body);
}

fn state_of<'a>(task: &str, board: &'a Value) -> &'a str {
    let tasks = section(board, "tasks")["items"].as_array().unwrap();
    tasks.iter().find(|it| it["id"] == task).unwrap()["state"].as_str().unwrap()
}

pub(super) async fn open_work_order(desk: &Desk, property_id: &str) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!(
        "{}/maintenance-service/api/v1/maintenance/work-orders",
        desk.world.simulator.url()
    );
    let order = json!({ "propertyId": property_id, "title": "A lamp", "category": "electrical",
        "severity": "low" });
    let answer = http
        .post(url)
        .bearer_auth("development")
        .header("x-tenant-id", desk.desktop.text("tenantId"))
        .header("idempotency-key", key())
        .json(&order);
    answer.send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_composes_anew_what_is_looked_at_and_nothing_of_other_screens() {
    let mut desk = Desk::start().await;
    let first = desk.whole_board("maintenance").await.body;
    let (built, said) = desk.world.run(&["rebuild", "workbench-views"]);
    assert!(built && said.contains("2 snapshots"), "{said}");
    let first = section(&first, "work-orders")["asOf"].clone();
    let again = desk.whole_board("maintenance").await.body;
    assert!(section(&again, "work-orders")["asOf"].as_str() > first.as_str(), "{again}");

    let (built, said) = desk.world.run(&["rebuild", "dashboard-snapshots"]);
    assert!(built && said.contains("2 snapshots"), "the dashboard shows both, too: {said}");
    desk.whole_board("in-house").await;
    desk.whole_board("front-desk").await;
    let (_, said) = desk.world.run(&["rebuild", "dashboard-snapshots"]);
    assert!(said.contains("6 snapshots"), "rooms are on boards only: {said}");
}
