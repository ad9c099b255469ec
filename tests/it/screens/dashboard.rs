//! What a dashboard shows, whatever its upstreams do.

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;

use super::*;
use crate::support::{
    platform::{fault, heal, look},
    wait,
};

fn frames(answer: &Answer) -> Vec<Value> {
    let text = std::str::from_utf8(&answer.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_dashboard_asks_each_upstream_once_and_a_warm_one_asks_none() {
    let mut desk = Desk::start().await;
    let path = desk.dashboard_path();

    let cold = desk.get_as(&path, "*/*").await;

    assert_eq!(cold.status, StatusCode::OK, "{}", cold.body);
    assert_eq!(cold.headers["content-type"], NDJSON);
    assert_eq!(cold.headers["x-cache"], "miss");
    for (path, times) in desk.reads().await {
        assert_eq!(times, 1, "{path}");
    }
    desk.whole_dashboard().await;
    let before = desk.reads().await;
    let warm = desk.get_as(&path, NDJSON).await;
    assert_eq!(warm.headers["x-cache"], "hit");
    assert_eq!(desk.reads().await, before);

    let (cold, warm) = (frames(&cold), frames(&warm));
    let announced = cold[0]["widgets"].as_array().unwrap();
    assert_eq!((announced.len(), cold.len(), warm.len()), (17, 19, 19));
    assert_eq!(warm.last().unwrap()["complete"], true);
    for id in announced.iter().map(|widget| &widget["id"]) {
        let shown = warm.iter().find(|frame| frame["id"] == *id).unwrap();
        let is_own = ["alerts", "suggestions", "sync-health"].contains(&id.as_str().unwrap());
        assert_eq!(shown["frame"], "widget");
        assert_eq!(shown["status"], "ok", "{shown}");
        assert_eq!(shown["source"], if is_own { "live" } else { "snapshot" }, "{shown}");
        assert!(shown["data"].is_object() && shown["asOf"].is_string(), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dashboard_says_is_what_the_upstreams_say() {
    let mut desk = Desk::start().await;
    let dashboard = desk.whole_dashboard().await;
    let world = look(&desk.world, "/sim/world").await;
    let property = desk.desktop.property().to_owned();
    let count = |list: &str| {
        let of_property = |item: &&Value| item["propertyId"] == property.as_str();
        world[list].as_array().unwrap().iter().filter(of_property).count()
    };
    assert_eq!(dashboard["propertyId"], property.as_str());
    let tenant = world["tenants"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["id"] == desk.desktop.text("tenantId"))
        .unwrap();
    let known = tenant["properties"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["id"] == property.as_str())
        .unwrap();
    assert_eq!(widget(&dashboard, "property")["data"]["name"], known["name"]);
    assert_eq!(widget(&dashboard, "lock-health")["data"]["locks"], count("locks"));
    assert_eq!(widget(&dashboard, "occupancy")["data"].as_object().unwrap().len(), 1);
    let adr = &widget(&dashboard, "adr")["data"]["adr"];
    assert!(adr["amountMicro"].as_str().unwrap().parse::<i64>().unwrap() > 0, "{adr}");
    let rooms = &widget(&dashboard, "rooms")["data"];
    assert!(rooms["byStatus"].is_object() && rooms["occupied"].is_u64(), "{rooms}");
    let raised = world["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|alert| alert["propertyId"] == property.as_str() && alert["state"] == "raised");
    let by_severity = widget(&dashboard, "alerts")["data"]["bySeverity"].as_object().unwrap();
    let shown: u64 = by_severity.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(shown, u64::try_from(raised.count()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_slow_or_dead_costs_its_own_widget_and_no_other() {
    let mut desk = Desk::start().await;
    desk.whole_dashboard().await;
    desk.forget_snapshots().await;
    fault(&desk.world, "pricing-service", &json!({ "hang": true })).await;
    fault(&desk.world, "maintenance-service", &json!({ "status": 500 })).await;

    let dashboard = desk.dashboard().await;

    assert_eq!(dashboard.status, StatusCode::OK);
    let body = dashboard.body;
    assert_eq!(not_ok(&body), [("work-orders", "error"), ("rates", "timeout")]);
    assert_eq!(body["partial"].as_array().unwrap().len(), 2);
    assert_eq!(body["complete"], false);
    let rates = widget(&body, "rates");
    assert_eq!(rates["data"], Value::Null);
    assert_eq!(rates["userMessage"], "A service did not answer in time. Please try again.");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_said_last_stands_in_while_it_is_away() {
    let mut desk = Desk::start().await;
    let before = desk.whole_dashboard().await;
    let property = desk.desktop.property().to_owned();
    desk.age_by(&property, 120).await;
    for (upstream, _) in READS {
        fault(&desk.world, upstream, &json!({ "status": 503 })).await;
    }

    let dashboard = desk.dashboard().await;

    assert_eq!(dashboard.headers["x-cache"], "miss");
    let stale = not_ok(&dashboard.body);
    assert!(stale.iter().all(|(_, status)| *status == "stale"), "{stale:?}");
    assert_eq!(stale.len(), 13, "{stale:?}");
    let data = |dashboard: &Value| widget(dashboard, "arrivals")["data"].clone();
    assert_eq!(data(&dashboard.body), data(&before));
    desk.age_by(&property, 600).await;
    let dashboard = desk.dashboard().await;
    assert_eq!(widget(&dashboard.body, "arrivals")["status"], "error", "after ten minutes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_old_is_shown_at_once_and_renewed_behind_it() {
    let mut desk = Desk::start().await;
    desk.whole_dashboard().await;
    let property = desk.desktop.property().to_owned();
    desk.age_by(&property, 45).await;

    let old = desk.dashboard().await;

    assert_eq!(old.headers["x-cache"], "stale");
    assert_eq!(widget(&old.body, "rates")["status"], "stale");
    assert_eq!(old.body["complete"], false);
    wait::until("everything is fresh again", async || {
        desk.dashboard().await.headers["x-cache"] == "hit"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_on_two_instances_have_each_upstream_asked_once() {
    let desk = Desk::start().await;
    let other = desk.world.service().await;
    for (upstream, _) in READS {
        fault(&desk.world, upstream, &json!({ "latencyMs": 50 })).await;
    }
    let (world, path) = (&desk.world, desk.dashboard_path());
    let operator = desk.desktop.text("operatorId").to_owned();
    let mut desktops = Vec::new();
    for number in 0..6 {
        let options = json!({ "operatorId": operator });
        let mut desktop = Desktop::sign_in(world, &tenant(world, 0), options).await;
        let service = if number % 2 == 0 { &desk.service } else { &other };
        assert_eq!(desktop.get(service, "/session").await.status, StatusCode::OK);
        desktops.push((desktop, service));
    }
    let reading = desktops.iter_mut().map(|(desktop, service)| {
        let path = path.clone();
        async move { desktop.get(service, &path).await }
    });
    for answer in join_all(reading).await {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(frames(&answer).len(), 19);
    }
    for (path, times) in desk.reads().await {
        assert_eq!(times, 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_is_given_up() {
    let mut desk = Desk::start().await;
    fault(&desk.world, "pricing-service", &json!({ "hang": true })).await;
    let path = desk.dashboard_path();
    let composing = async || {
        let keys = desk.world.cache_tier.keys().await;
        keys.iter().any(|key| key.contains(":composing:") && key.ends_with(":rates"))
    };

    let mut answer = desk.desktop.send(&desk.service, &path, None).await;
    assert!(answer.chunk().await.unwrap().is_some(), "the skeleton comes first");
    wait::until("pricing-service is asked", async || composing().await).await;
    drop(answer);
    wait::until("nobody asks it any more", async || !composing().await).await;
    heal(&desk.world, "pricing-service").await;

    let metrics = desk.service.metrics().await;
    let ended = metrics.lines().filter(|line| {
        line.starts_with("bff_backoffice_upstream_request_duration_seconds_count")
            && line.contains("pricing-service")
    });
    assert_eq!(ended.collect::<Vec<_>>(), Vec::<&str>::new(), "the call came to an end of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_skeleton_does_not_wait_for_anything() {
    let mut desk = Desk::start().await;
    for (upstream, _) in READS {
        fault(&desk.world, upstream, &json!({ "hang": true })).await;
    }
    for (accept, beginning) in
        [(NDJSON, "{\"frame\":\"skeleton\""), ("text/html", "<!DOCTYPE html>")]
    {
        let path = desk.dashboard_path();
        let proof = desk.desktop.proof(&desk.service, &Method::GET, &path);
        let request = desk.desktop.signed(&desk.service, Method::GET, &path, &proof);
        let mut answer = request.header("accept", accept).send().await.unwrap();
        if answer.status() == StatusCode::UNAUTHORIZED {
            desk.desktop.get(&desk.service, "/session").await;
            let proof = desk.desktop.proof(&desk.service, &Method::GET, &path);
            let request = desk.desktop.signed(&desk.service, Method::GET, &path, &proof);
            answer = request.header("accept", accept).send().await.unwrap();
        }
        let first = answer.chunk().await.unwrap().unwrap();
        assert!(first.starts_with(beginning.as_bytes()), "{first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_widget_that_the_roles_do_not_allow_is_forbidden_and_costs_no_call() {
    let mut desk = Desk::start().await;
    let tenant_id = tenant(&desk.world, 0);
    let options = json!({ "roles": ["housekeeping_lead"] });
    desk.desktop = Desktop::sign_in(&desk.world, &tenant_id, options).await;

    let dashboard = desk.whole_dashboard().await;

    assert_eq!(
        not_ok(&dashboard),
        [("rates", "forbidden"), ("folios", "forbidden"), ("cash-drawer", "forbidden")]
    );
    assert_eq!(dashboard["complete"], true, "what nobody may see is not missing");
    for (path, times) in desk.reads().await {
        let is_forbidden = ["/pricing/rates", "/folios", "/cash-drawer"].contains(&path);
        assert_eq!(times == 0, is_forbidden, "{path}");
    }
    let options = json!({ "roles": ["housekeeper"] });
    desk.desktop = Desktop::sign_in(&desk.world, &tenant_id, options).await;
    assert_eq!(desk.dashboard().await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_05_no_dashboard_or_board_of_another_tenants_property_exists() {
    let mut desk = Desk::start().await;
    let mine = desk.desktop.property().to_owned();
    desk.dashboard().await;
    let stranger = tenant(&desk.world, 1);
    desk.desktop = Desktop::sign_in(&desk.world, &stranger, json!({})).await;
    let unknown = "ppt_00000000000000000000000000";
    for path in ["dashboard", "arrivals", "housekeeping"] {
        let mut answers = Vec::new();
        for property in [mine.as_str(), unknown] {
            let path = format!("/{path}?propertyId={property}");
            answers.push(desk.desktop.get(&desk.service, &path).await);
        }
        for answer in answers {
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
            assert_eq!(answer.body["code"], "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND");
        }
    }
    let keys = desk.world.cache_tier.keys().await;
    assert!(!keys.iter().any(|key| key.contains(&stranger) && key.contains(&mine)), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_cache_tier_every_upstream_is_asked_and_the_dashboard_is_whole() {
    let mut desk = Desk::start().await;
    desk.dashboard().await;
    desk.world.cache_tier.kill();

    let dashboard = desk.dashboard().await;

    assert_eq!(dashboard.status, StatusCode::OK, "{}", dashboard.body);
    let own = ["alerts", "suggestions", "sync-health"];
    let missing = not_ok(&dashboard.body);
    assert!(missing.iter().all(|(id, _)| own.contains(id)), "{missing:?}");
    assert_eq!(dashboard.headers["x-cache"], "miss");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_written_in_the_callers_language_and_runs_nothing() {
    let mut desk = Desk::start().await;
    let path = desk.dashboard_path();
    let headers: [(&str, &[u8]); 2] = [("accept", b"text/html"), ("accept-language", b"ps-AF")];

    let page = desk.desktop.send_bytes(&desk.service, (Method::GET, &path), &headers, b"").await;

    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
    let text = String::from_utf8(page.bytes).unwrap();
    assert!(text.starts_with("<!DOCTYPE html><html lang=\"ps\" dir=\"rtl\">"), "{text}");
    assert!(text.trim_end().ends_with("</main></body></html>"), "{text}");
    assert_eq!(text.matches("<slot name=").count(), 18);
    assert_eq!(text.matches(" slot=").count(), 18, "{text}");
    assert!(text.contains("راتلونکي مېلمانه"), "{text}");
    assert!(!text.contains("<script"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_dashboard_can_be_is_refused() {
    let mut desk = Desk::start().await;
    let path = desk.dashboard_path();
    let picture = desk.get_as(&path, "image/png").await;
    assert_eq!(picture.status, StatusCode::NOT_ACCEPTABLE, "{}", picture.body);
    let which = desk.desktop.get(&desk.service, "/dashboard").await;
    assert_eq!(which.status, StatusCode::BAD_REQUEST, "{}", which.body);
    assert_eq!(which.body["errors"][0]["field"], "propertyId");
}
