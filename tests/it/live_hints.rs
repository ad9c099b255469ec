//! Refresh hints: who is told that a screen has new content, and that being told moves nobody.

use std::time::Duration;

use backoffice::{
    clock::{Clock, SystemClock},
    desktop::frames::Frame,
    live::{LiveItem, Subscription},
    views::{RefreshHint, key::REFRESH_HINTS, refresh_hint::announce},
};
use chrono::TimeDelta;
use events::TenantId;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    live::{TestHub, alert_of, next},
    support::{
        alerts::raise,
        desktop::{Desktop, Live},
        facts::{at, property, raised, tenant},
        platform::{self, revoke},
        redis::RedisServer,
        service::{Service, World},
        wait,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_hint_reaches_its_property_on_every_instance_and_nobody_else() {
    let world = World::start().await;
    let instances = [world.service().await, world.service().await];
    let (own, foreign) = (platform::tenant(&world, 0), platform::tenant(&world, 1));
    let mut desktops = Vec::new();
    let mut streams = Vec::new();
    for (number, instance) in instances.iter().enumerate() {
        let query = ["", "?channels=dashboard-refresh-hints"][number];
        let mut desktop = Desktop::sign_in(&world, &own, json!({})).await;
        streams.push(desktop.live(instance, query).await);
        desktops.push(desktop);
    }
    let elsewhere = json!({ "propertyIds": [desktops[0].grant["propertyIds"][1]] });
    let mut silent = Vec::new();
    for (who, tenant_id, options, query) in [
        ("who listens to alerts", &own, json!({}), "?channels=alerts,session"),
        ("whose role has no screen", &own, json!({ "roles": ["auditor"] }), ""),
        ("who works elsewhere", &own, elsewhere, ""),
        ("of another tenant", &foreign, json!({}), ""),
    ] {
        for instance in &instances {
            let options = options.clone();
            let mut desktop = Desktop::sign_in(&world, tenant_id, options).await;
            let live = desktop.live(instance, query).await;
            silent.push((who, desktop, live));
        }
    }

    let boards = vec!["front-desk"];
    let hint = RefreshHint { boards, ..hint_for(&desktops[0], &["arrivals", "rates"]) };
    announce(&world.session_tier.connect().await, &hint).await.unwrap();

    for live in &mut streams {
        let Frame { id, event, data } = live.frame().await;
        assert_eq!((id, event.as_str()), (None, "dashboard-refresh-hints"));
        let expected = json!({
            "kind": "dashboard.refresh", "propertyId": desktops[0].property(),
            "widgets": ["arrivals", "rates"], "boards": ["front-desk"], "at": at(),
        });
        assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), expected);
    }
    // They do listen: the first that they hear is meant for them.
    for (who, desktop, live) in &mut silent {
        let operator = (desktop.text("tenantId"), desktop.text("operatorId"));
        revoke(&world, operator, "admin").await;
        assert_eq!(live.next().await["kind"], "force-logout", "a desktop {who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_hint_between_two_events_leaves_no_gap_and_no_repeat_to_who_comes_back() {
    let world = World::start().await;
    let (first, second) = (world.service().await, world.service().await);
    let session_tier = world.session_tier.connect().await;
    let mut desktop = Desktop::sign_in(&world, &platform::tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&first, "").await;
    let mut last_event_id = None;
    let mut hear = async |live: &mut Live| {
        let frame = live.frame().await;
        last_event_id = frame.id.or(last_event_id.take());
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        (data, last_event_id.clone())
    };
    let hint = hint_for(&desktop, &["arrivals"]);

    let one = raise(&world, &desktop, "One").await;
    let (heard, behind_one) = hear(&mut live).await;
    assert_eq!(heard["id"], one.as_str());
    announce(&session_tier, &hint).await.unwrap();
    let (heard, behind_hint) = hear(&mut live).await;
    assert_eq!(heard["kind"], "dashboard.refresh");
    assert!(behind_one.is_some() && behind_hint == behind_one);
    let two = raise(&world, &desktop, "Two").await;
    let (heard, behind_two) = hear(&mut live).await;
    assert_eq!(heard["id"], two.as_str());
    let mut colleague = Desktop::sign_in(&world, desktop.text("tenantId"), json!({})).await;
    let mut colleague = colleague.live(&second, "").await;
    drop(live);
    // Not kept for who comes back.
    announce(&session_tier, &hint).await.unwrap();
    let three = raise(&world, &desktop, "Three").await;
    assert_eq!(colleague.next_of("alert.raised").await["id"], three.as_str());

    for (behind, expected) in [(behind_hint, vec![&two, &three]), (behind_two, vec![&three])] {
        let mut live = desktop.live_after(&second, &behind.unwrap()).await;
        for alert_id in expected {
            assert_eq!(live.next().await["id"], alert_id.as_str());
        }
        announce(&session_tier, &hint).await.unwrap();
        assert_eq!(live.next().await["kind"], "dashboard.refresh", "nothing is repeated");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_hears_a_refresh_hint_once_and_its_place_among_events_stays() {
    let world = World::start().await;
    let service = world.service().await;
    let session_tier = world.session_tier.connect().await;
    let mut desktop = Desktop::sign_in(&world, &platform::tenant(&world, 0), json!({})).await;
    let hint = hint_for(&desktop, &["arrivals"]);
    let start = desktop.get(&service, "/live/poll?waitMs=0").await.body["next"].clone();

    let path = format!("/live/poll?waitMs=15000&after={}", start.as_str().unwrap());
    let (heard, ()) = tokio::join!(desktop.get(&service, &path), async {
        wait::until("the poll waits", async || {
            figure(&service, "bff_backoffice_live_streams").await == Some(1)
        })
        .await;
        announce(&session_tier, &hint).await.unwrap();
    });

    assert_eq!(heard.status, StatusCode::OK, "{}", heard.body);
    let [event] = &heard.body["events"].as_array().unwrap()[..] else { panic!("{}", heard.body) };
    let members: Vec<_> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["data", "event"], "and no id");
    assert_eq!(event["event"], "dashboard-refresh-hints");
    assert_eq!(event["data"]["widgets"], json!(["arrivals"]));
    let next = heard.body["next"].as_str().unwrap();
    let after = desktop.get(&service, &format!("/live/poll?after={next}&waitMs=0")).await;
    assert_eq!(after.body["events"], json!([]), "it is said once");
    let alert_id = raise(&world, &desktop, "After the hint").await;
    let path = format!("/live/poll?after={next}&waitMs=15000");
    let after = desktop.get(&service, &path).await;
    assert_eq!(after.body["events"][0]["data"]["id"], alert_id.as_str());
}

#[tokio::test]
async fn a_poll_says_what_was_hinted_since_the_one_before_on_any_instance_and_once() {
    let (server, tenant, stranger) = (RedisServer::start().await, tenant(), tenant());
    let redis = server.connect().await;
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let hint = |tenant: &TenantId, at_property: &str, widget: &'static str| RefreshHint {
        tenant_id: tenant.clone(),
        property_id: property(at_property),
        widgets: vec![widget],
        boards: Vec::new(),
        at: at(),
    };
    let mut after = hubs[0].poll(&tenant, None, Duration::ZERO).await.next;

    // Nobody listens: not even its tenant's feed is there.
    for widget in ["arrivals", "rates", "arrivals"] {
        announce(&redis, &hint(&stranger, "p1", "folios")).await.unwrap();
        announce(&redis, &hint(&tenant, "p2", "tasks")).await.unwrap();
        announce(&redis, &hint(&tenant, "p1", widget)).await.unwrap();
    }
    hubs[0].publish(&[raised(&tenant, 1, "p1", "a1")]).await;

    let mut heard = Vec::new();
    for round in 0..20 {
        let polled = hubs[round % 2].poll(&tenant, Some(&after), Duration::ZERO).await;
        heard.extend(polled.items.iter().map(said));
        after = polled.next;
    }
    assert_eq!(heard, ["a1", "rates", "arrivals"]);
    announce(&redis, &hint(&tenant, "p1", "rates")).await.unwrap();
    let polled = hubs[0].poll(&tenant, Some(&after), Duration::from_secs(10)).await;
    assert_eq!(polled.items.iter().map(said).collect::<Vec<_>>(), ["rates"]);
}

#[tokio::test]
async fn what_was_hinted_more_than_a_minute_ago_is_not_said_to_who_comes_back() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut listening = hub.subscribe(&tenant, "d2", None).await;
    let after = hub.poll(&tenant, None, Duration::ZERO).await.next;
    let now_ms = SystemClock.now().timestamp_millis();
    for (age_ms, widget) in [(61_000, "rates"), (30_000, "arrivals"), (0, "tasks")] {
        let id = format!("{}-0", now_ms - age_ms);
        let entry = ["XADD", REFRESH_HINTS, &id, "tenant", tenant.as_str(), "property", "p1"];
        let content = ["widgets", widget, "boards", "", "at", "0"];
        server.command(&[entry.as_slice(), &content].concat()).await;
        assert_eq!(said(&next(&mut listening).await), widget);
    }

    let polled = hub.poll(&tenant, Some(&after), Duration::ZERO).await;

    assert_eq!(polled.items.iter().map(said).collect::<Vec<_>>(), ["arrivals", "tasks"]);
}

/// The id of an alert, or the widgets of a hint.
fn said(item: &LiveItem) -> String {
    let LiveItem::Hint(hinted) = item else { return alert_of(item) };
    let data: Value = serde_json::from_slice(&hinted.data).unwrap();
    data["widgets"][0].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_hint_that_cannot_be_read_holds_up_nobody() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &platform::tenant(&world, 0), json!({})).await;
    let mut live = desktop.live(&service, "").await;
    let whole = [
        ("tenant", desktop.text("tenantId")),
        ("property", desktop.property()),
        ("widgets", "arrivals"),
        ("boards", ""),
        ("at", "1700000000000"),
    ];

    for (member, value) in
        [("tenant", "nobody"), ("property", ""), ("at", "yesterday"), ("at", "9223372036854775807")]
    {
        let broken = whole.map(|(name, kept)| (name, if name == member { value } else { kept }));
        add(&world, &broken).await;
    }
    for missing in 0..whole.len() {
        let parts = whole.iter().enumerate().filter(|(number, _)| *number != missing);
        add(&world, &parts.map(|(_, part)| *part).collect::<Vec<_>>()).await;
    }
    add(&world, &whole).await;

    let heard = live.next().await;
    assert_eq!(heard["widgets"], json!(["arrivals"]));
    assert_eq!(heard["boards"], json!([]));
    assert_eq!(figure(&service, "bff_backoffice_live_unreadable_total").await, Some(9));
    let alert_id = raise(&world, &desktop, "After them").await;
    assert_eq!(live.next_of("alert.raised").await["id"], alert_id.as_str());
}

#[tokio::test]
async fn a_flood_of_hints_costs_a_slow_desktop_neither_its_place_nor_an_event() {
    const EVENTS: i64 = 200;
    const HINTS_AN_EVENT: i64 = 3;
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    let hub = TestHub::start(&server).await;
    let mut slow = hub.subscribe(&tenant, "d1", None).await;
    let mut quick = hub.subscribe(&tenant, "d2", None).await;
    hub.publish(&[raised(&tenant, 1, "p1", "a1")]).await;
    for desktop in [&mut slow, &mut quick] {
        assert_eq!(alert_of(&next(desktop).await), "a1");
    }

    for n in 2..=EVENTS {
        hub.publish(&[raised(&tenant, n, "p1", &format!("a{n}"))]).await;
        for _ in 0..HINTS_AN_EVENT {
            announce(&redis, &hint(&tenant, &["rates"], n)).await.unwrap();
        }
    }
    announce(&redis, &hint(&tenant, &["arrivals"], 0)).await.unwrap();
    loop {
        match next(&mut quick).await {
            LiveItem::Hint(hinted) if told(&hinted.data)["widgets"][0] == "arrivals" => break,
            LiveItem::Hint(_) | LiveItem::Event(_) => (),
            other => panic!("{other:?}"),
        }
    }

    for n in 2..=EVENTS {
        assert_eq!(alert_of(&next(&mut slow).await), format!("a{n}"));
    }
    let last = next_hint(&mut slow).await;
    assert_eq!(last["widgets"], json!(["rates"]));
    assert_eq!(last["at"], json!(at() + TimeDelta::seconds(EVENTS)), "the last of its kind");
    assert_eq!(next_hint(&mut slow).await["widgets"], json!(["arrivals"]));
}

#[tokio::test]
async fn what_is_hinted_while_the_connection_is_lost_is_heard_when_it_is_back() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hub = TestHub::start(&server).await;
    let mut desktop = hub.subscribe(&tenant, "d1", None).await;

    for n in 1..=10 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        announce(&server.connect().await, &hint(&tenant, &["rates"], n)).await.unwrap();
        let heard = next_hint(&mut desktop).await;
        assert_eq!(heard["at"], json!(at() + TimeDelta::seconds(n)));
    }
}

#[tokio::test]
async fn what_was_hinted_before_an_instance_or_a_stream_began_is_not_heard_there() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    announce(&redis, &hint(&tenant, &["rates"], 1)).await.unwrap();
    let hub = TestHub::start(&server).await;
    let mut early = hub.subscribe(&tenant, "d1", None).await;
    announce(&redis, &hint(&tenant, &["rates"], 2)).await.unwrap();
    assert_eq!(next_hint(&mut early).await["at"], json!(at() + TimeDelta::seconds(2)));

    let mut late = hub.subscribe(&tenant, "d2", None).await;
    announce(&redis, &hint(&tenant, &["rates"], 3)).await.unwrap();

    for desktop in [&mut early, &mut late] {
        assert_eq!(next_hint(desktop).await["at"], json!(at() + TimeDelta::seconds(3)));
    }
}

#[tokio::test]
async fn ten_thousand_hints_are_kept_for_instances_that_are_cut_off_and_not_many_more() {
    const FILL: &str = "for _ = 1, 12000 do redis.call('XADD', KEYS[1], '*', 'a', 'b') end";
    let (server, tenant) = (RedisServer::start().await, tenant());
    server.command(&["EVAL", FILL, "1", REFRESH_HINTS]).await;

    announce(&server.connect().await, &hint(&tenant, &["rates"], 1)).await.unwrap();

    let length = server.command(&["XLEN", REFRESH_HINTS]).await;
    let length: usize = redis::from_redis_value(length).unwrap();
    // Redis trims whole nodes, of a hundred entries as shipped.
    assert!((10_000..10_200).contains(&length), "{length}");
}

/// A hint for the desktop's first property.
fn hint_for(desktop: &Desktop, widgets: &[&'static str]) -> RefreshHint {
    RefreshHint {
        tenant_id: desktop.text("tenantId").parse().unwrap(),
        property_id: property(desktop.property()),
        widgets: widgets.to_vec(),
        boards: Vec::new(),
        at: at(),
    }
}

fn hint(tenant_id: &TenantId, widgets: &[&'static str], seconds: i64) -> RefreshHint {
    RefreshHint {
        tenant_id: tenant_id.clone(),
        property_id: property("p1"),
        widgets: widgets.to_vec(),
        boards: Vec::new(),
        at: at() + TimeDelta::seconds(seconds),
    }
}

async fn next_hint(stream: &mut Subscription) -> Value {
    let item = next(stream).await;
    let LiveItem::Hint(hinted) = item else { panic!("not a hint: {item:?}") };
    told(&hinted.data)
}

fn told(data: &[u8]) -> Value {
    serde_json::from_slice(data).unwrap()
}

/// Adds an entry to the stream as it is.
async fn add(world: &World, fields: &[(&str, &str)]) {
    let mut words = vec!["XADD", REFRESH_HINTS, "*"];
    words.extend(fields.iter().flat_map(|(name, value)| [*name, *value]));
    world.session_tier.command(&words).await;
}

/// What the service counts under this name; `None` before it counted.
async fn figure(service: &Service, name: &str) -> Option<u64> {
    let metrics = reqwest::get(format!("{}/metrics", service.admin_url)).await.unwrap();
    let text = metrics.text().await.unwrap();
    let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name))?;
    line.rsplit(' ').next()?.parse().ok()
}
