//! What one tenant's desktop gets when it asks for another's things, over HTTP.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::json;

use super::client::{Answer, Client, Wish, raise, until_listed};
use crate::support::{
    alerts::effects,
    desktop::key,
    platform::simulate,
    service::{Service, World},
    wait,
};

/// The id of an alert that both tenants have.
const SAME: &str = "alr_same";
/// The id of an alert that only the second tenant has.
const THEIRS: &str = "alr_theirs";
const UNKNOWN: &str = "alr_nobody";

/// Two tenants on one instance: the same operator id, device id and alert id in both.
struct Pair {
    world: World,
    service: Service,
    a: Client,
    b: Client,
}

impl Pair {
    async fn start() -> Self {
        let world = World::start().await;
        let service = world.service().await;
        let tenants = world.simulator.tenant_ids();
        let options = json!({ "operatorId": "usr_same", "deviceId": "dev_same" });
        let mut a = Client::sign_in(&world, &tenants[0], &options).await;
        let mut b = Client::sign_in(&world, &tenants[1], &options).await;
        raise(&world, &a, SAME, "title of a").await;
        raise(&world, &b, SAME, "title of b").await;
        raise(&world, &b, THEIRS, "only of b").await;
        until_listed(&service, &mut a, SAME).await;
        until_listed(&service, &mut b, SAME).await;
        until_listed(&service, &mut b, THEIRS).await;
        Self { world, service, a, b }
    }

    async fn as_a(&mut self, wish: &Wish) -> Answer {
        self.a.ask(&self.service, wish).await
    }

    async fn as_b(&mut self, wish: &Wish) -> Answer {
        self.b.ask(&self.service, wish).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_02_the_tenant_is_the_tokens_whatever_else_the_request_says() {
    let mut pair = Pair::start().await;
    let b = pair.b.text("tenantId").to_owned();
    let list = || Wish::get("/alerts?limit=100");
    for wish in [
        list().with("x-tenant-id", &b),
        list().with("x-tenant", &b),
        list().with("x-forwarded-tenant", &b),
        list().with("host", "b.example"),
        list().with("x-forwarded-host", format!("{b}.example")),
        list().with("cookie", format!("tenant={b}")),
        list().with("baggage", format!("tenantId={b}")),
        Wish::get(format!("/alerts?limit=100&tenant={b}")),
        Wish::get(format!("/alerts?limit=100&tenantId={b}&tenant_id={b}")),
    ] {
        let answer = pair.as_a(&wish).await;
        assert_eq!(answer.status, StatusCode::OK, "{wish:?}: {}", answer.text);
        assert!(answer.text.contains("title of a"), "{wish:?}: {}", answer.text);
        assert!(!answer.text.contains("of b"), "{wish:?}: {}", answer.text);
    }
    for wish in [
        Wish::get(format!("/tenants/{b}/alerts")),
        Wish::get(format!("/{b}/alerts")),
        Wish::post(format!("/tenants/{b}/alerts/{THEIRS}/acknowledge"), key(), json!({})),
    ] {
        assert_eq!(pair.as_a(&wish).await.status, StatusCode::NOT_FOUND, "{wish:?}");
    }
    let path = format!("/alerts/{THEIRS}/acknowledge");
    for member in ["tenant", "tenantId", "tenant_id"] {
        let wish = Wish::post(&path, key(), json!({ member: b }));
        let answer = pair.as_a(&wish).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{member}: {}", answer.text);
    }
    let wish = Wish::post(&path, key(), json!({})).with("x-tenant-id", &b);
    assert_eq!(pair.as_a(&wish).await.status, StatusCode::NOT_FOUND);
    assert_eq!(events_of(&pair.world, THEIRS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_05_07_another_tenants_object_is_like_one_that_does_not_exist() {
    let mut pair = Pair::start().await;
    let property = pair.b.property().to_owned();
    let own = pair.a.property().to_owned();
    // Each wish twice: with an id of the other tenant, and with one that nobody has.
    let pairs: Vec<(Wish, Wish)> = ["GET", "PUT", "PATCH", "DELETE", "HEAD"]
        .iter()
        .flat_map(|method| {
            ["", "/acknowledge", "/export"].map(|rest| {
                let wish = |id: &str| Wish {
                    method: method.parse().unwrap(),
                    path: format!("/alerts/{id}{rest}"),
                    ..Wish::default()
                };
                (wish(THEIRS), wish(UNKNOWN))
            })
        })
        .chain([
            each(THEIRS, UNKNOWN, |id| {
                Wish::post(format!("/alerts/{id}/acknowledge"), key(), json!({}))
            }),
            each(THEIRS, UNKNOWN, |id| {
                Wish::post(format!("/alerts/{id}/acknowledge"), key(), json!({ "comment": "mine" }))
            }),
            each(&property, "ppt_nobody", |id| Wish::get(format!("/alerts?propertyId={id}"))),
            each(&property, "ppt_nobody", |id| {
                Wish::get(format!("/alerts?propertyId={id}&state=raised&sort=title&limit=1"))
            }),
            each(&property, "ppt_nobody", |id| Wish::get("/alerts").with("x-property-id", id)),
            each(&property, "ppt_nobody", |id| {
                Wish::post(format!("/alerts/{SAME}/acknowledge"), key(), json!({}))
                    .with("x-property-id", id)
            }),
            // TI-07: one id of the other tenant among one's own spoils the whole, and nothing is
            // done in part.
            each(&property, "ppt_nobody", |id| Wish::get(format!("/alerts?propertyId={own},{id}"))),
            each(&property, "ppt_nobody", |id| {
                Wish::get(format!("/alerts?propertyId={own}&propertyId={id}"))
            }),
        ])
        .collect();
    for (theirs, unknown) in pairs {
        let (one, other) = (pair.as_a(&theirs).await, pair.as_a(&unknown).await);
        assert!(one.status.is_client_error(), "{theirs:?}: {} {}", one.status, one.text);
        assert_eq!(one.status, other.status, "{theirs:?}");
        assert_eq!(shape(&one), shape(&other), "{theirs:?}");
        assert!(!one.text.contains("of b"), "{theirs:?}: {}", one.text);
    }
    for parameter in ["search", "q", "filter", "export"] {
        let answer = pair.as_a(&Wish::get(format!("/alerts?{parameter}=only+of+b"))).await;
        assert!(!answer.text.contains("only of b"), "{parameter}: {}", answer.text);
    }
    assert_eq!(events_of(&pair.world, THEIRS).await, 0);
    assert_eq!(events_of(&pair.world, SAME).await, 0);
    same_timing_class(&mut pair).await;
}

fn each(theirs: &str, unknown: &str, wish: impl Fn(&str) -> Wish) -> (Wish, Wish) {
    (wish(theirs), wish(unknown))
}

/// Status, names of headers and body, without what names the request itself.
fn shape(answer: &Answer) -> String {
    let mut body = answer.body.clone();
    if let Some(members) = body.as_object_mut() {
        for own in ["requestId", "traceId", "instance", "timestamp"] {
            members.remove(own);
        }
    }
    let mut names: Vec<&str> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| *name != "dpop-nonce" && *name != "x-cache");
    names.sort_unstable();
    format!("{} {names:?} {body}", answer.status)
}

/// Which id was asked for cannot be told from how long the answer took.
async fn same_timing_class(pair: &mut Pair) {
    let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..31 {
        for (times, id) in times.iter_mut().zip([THEIRS, UNKNOWN]) {
            let wish = Wish::post(format!("/alerts/{id}/acknowledge"), key(), json!({}));
            let started = Instant::now();
            assert_eq!(pair.as_a(&wish).await.status, StatusCode::NOT_FOUND);
            times.push(started.elapsed());
        }
    }
    let [theirs, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let slack = Duration::from_millis(20);
    assert!(theirs < unknown * 3 + slack, "{theirs:?} {unknown:?}");
    assert!(unknown < theirs * 3 + slack, "{theirs:?} {unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_06_a_token_of_a_place_made_for_one_tenant_is_refused_from_another() {
    let mut pair = Pair::start().await;
    let page = pair.as_b(&Wish::get("/alerts?limit=1")).await;
    let page_cursor = page.body["nextCursor"].as_str().unwrap().to_owned();
    let poll = pair.as_b(&Wish::get("/live/poll?waitMs=0")).await;
    let live_cursor = poll.body["next"].as_str().unwrap().to_owned();
    let wish = Wish::post(format!("/alerts/{THEIRS}/acknowledge"), key(), json!({}));
    let answer = pair.as_b(&wish).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let position = answer.headers["x-ledger-position"].to_str().unwrap().to_owned();
    // Nothing carries an entity tag; when something does, it belongs here.
    for answer in [&page, &poll, &answer] {
        assert!(!answer.headers.contains_key("etag"));
    }
    let wishes = [
        Wish::get(format!("/alerts?limit=1&cursor={page_cursor}")),
        Wish::get(format!("/live/poll?waitMs=0&after={live_cursor}")),
        Wish::get("/live").with("last-event-id", &live_cursor),
        Wish::get("/sse/stream").with("last-event-id", &live_cursor),
        Wish::get("/alerts").with("x-min-position", &position),
    ];
    for wish in wishes {
        let as_a = pair.as_a(&wish).await;
        assert_eq!(as_a.status, StatusCode::BAD_REQUEST, "{wish:?}: {}", as_a.text);
        assert_eq!(as_a.body["code"], "MELMASTOON.GENERAL.VALIDATION_FAILED", "{wish:?}");
        // Its own tenant may use it, so it was the tenant that was wrong.
        let as_b = pair.b.send(&pair.service, &wish).await;
        assert_eq!(as_b.status(), StatusCode::OK, "{wish:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_28_37_38_answers_are_one_callers_and_count_nothing() {
    let mut pair = Pair::start().await;
    // Nobody between may keep an answer, of whatever kind.
    for path in ["/alerts", "/bootstrap", "/live/poll?waitMs=0", "/no-such", "/alerts?limit=0"] {
        let answer = pair.as_a(&Wish::get(path)).await;
        assert_eq!(answer.headers["cache-control"], "no-store", "{path}");
        let varies = answer.headers.get_all("vary").iter();
        let varies: Vec<String> =
            varies.map(|value| value.to_str().unwrap().to_ascii_lowercase()).collect();
        assert!(varies.join(",").contains("authorization"), "{path}: {varies:?}");
    }
    let live = pair.a.send(&pair.service, &Wish::get("/live")).await;
    assert!(live.headers()["cache-control"].to_str().unwrap().contains("no-store"));
    assert!(live.headers().get_all("vary").iter().any(|value| value == "authorization"));
    drop(live);

    // The same URL at once, with every view gone: each is built for its own.
    let mut built = [0, 0];
    for _ in 0..5 {
        pair.world.cache_tier.command(&["FLUSHALL"]).await;
        let (a, b, service) = (&mut pair.a, &mut pair.b, &pair.service);
        let wish = Wish::get("/alerts?limit=100");
        let (of_a, of_b) = tokio::join!(a.ask(service, &wish), b.ask(service, &wish));
        for (index, (answer, own, other)) in
            [(of_a, "title of a", "of b"), (of_b, "title of b", "of a")].into_iter().enumerate()
        {
            assert!(!answer.text.contains(other), "{}", answer.text);
            // A machine that is busy may say: not yet.
            built[index] += i32::from(answer.text.contains(own));
        }
    }
    assert!(built[0] > 0 && built[1] > 0, "{built:?}");

    // Positions are opaque: neither a number nor the same twice.
    let mut positions = Vec::new();
    for client in [&mut pair.b, &mut pair.a] {
        let wish = Wish::post(format!("/alerts/{SAME}/acknowledge"), key(), json!({}));
        let answer = client.ask(&pair.service, &wish).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        positions.push(answer.headers["x-ledger-position"].to_str().unwrap().to_owned());
        assert!(answer.body.get("position").is_none());
    }
    for position in &positions {
        assert!(position.parse::<i64>().is_err() && position.len() > 30, "{position}");
    }
    assert_ne!(positions[0][..16], positions[1][..16]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_41_one_key_of_two_tenants_is_two_wishes() {
    let mut pair = Pair::start().await;
    let key = key();
    let wish = Wish::post(format!("/alerts/{SAME}/acknowledge"), &key, json!({}));

    let (a, b, service) = (&mut pair.a, &mut pair.b, &pair.service);
    let answers = tokio::join!(a.ask(service, &wish), b.ask(service, &wish));
    for answer in [&answers.0, &answers.1] {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert!(!answer.headers.contains_key("idempotency-replayed"));
    }
    assert_eq!(events_of(&pair.world, SAME).await, 2, "one each");
    wait::until("each tenant's alert is told upstream", async || {
        effects(&pair.world, SAME).await == 2
    })
    .await;

    let again = pair.as_a(&wish).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.text, answers.0.text);
    // Used up in one tenant for one thing, free in the other for another thing.
    let other = self::key();
    let wish = Wish::post(format!("/alerts/{THEIRS}/acknowledge"), &other, json!({}));
    assert_eq!(pair.as_b(&wish).await.status, StatusCode::OK);
    let wish = Wish::post(format!("/alerts/{SAME}/acknowledge"), &other, json!({}));
    let answer = pair.as_a(&wish).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(!answer.headers.contains_key("idempotency-replayed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_19_26_what_the_database_says_is_not_passed_on() {
    let mut pair = Pair::start().await;
    // Statements in every place that takes a text find nothing and change nothing.
    let drill = "x'%3B select set_config('app.tenant_id','y',false)--".replace(' ', "%20");
    for wish in [
        Wish::get(format!("/alerts?propertyId={drill}")),
        Wish::get(format!("/alerts?cursor={drill}")),
        Wish::get(format!("/alerts?state={drill}")),
        Wish::post(format!("/alerts/{drill}/acknowledge"), key(), json!({})),
    ] {
        let answer = pair.as_a(&wish).await;
        assert!(answer.status.is_client_error(), "{wish:?}: {}", answer.status);
        assert!(!answer.text.contains("of b"), "{wish:?}");
    }
    let listed = pair.as_a(&Wish::get("/alerts?limit=100")).await;
    assert!(listed.text.contains("title of a") && !listed.text.contains("of b"));

    let mut superuser = pair.world.database.superuser().await;
    let broken = "alter table idempotency rename to gone_canary_table";
    sqlx::raw_sql(broken).execute(&mut superuser).await.unwrap();
    let wish = Wish::post(format!("/alerts/{SAME}/acknowledge"), key(), json!({}));
    let answer = pair.as_a(&wish).await;
    assert!(answer.status.is_server_error(), "{}", answer.status);
    let text = answer.text.to_lowercase();
    for word in ["idempotency\"", "relation", "gone_canary", "sqlstate", "42p01", "postgres"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

/// Acknowledgments of the alert, of all tenants.
async fn events_of(world: &World, alert_id: &str) -> i64 {
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar(
        "select count(*) from event where stream = $1 and kind like '%.alert.acknowledged.v1'",
    )
    .bind(format!("ali:{alert_id}"))
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

/// A noisy neighbour's broken messages, here because they come over the same platform.
#[tokio::test(flavor = "multi_thread")]
async fn ti_45_broken_messages_of_one_tenant_hold_up_no_other() {
    let mut pair = Pair::start().await;
    let b = pair.b.text("tenantId").to_owned();
    for raw in [
        json!("not json at all"),
        json!({ "tenantId": b, "payload": 7 }),
        json!({
            "eventId": "evt_poison", "subject": "melmastoon.notification.alert.raised.v1",
            "tenantId": b, "payload": { "alertId": 7 },
        }),
        json!("{\"a\":".repeat(200)),
    ] {
        let event = json!({
            "producer": "notification", "subject": "melmastoon.notification.alert.raised.v1",
            "tenantId": b, "raw": raw,
        });
        simulate(&pair.world, "/sim/events", &event).await;
    }
    raise(&pair.world, &pair.a, "alr_after", "after the poison").await;
    until_listed(&pair.service, &mut pair.a, "alr_after").await;
    wait::until("the poison is set aside", async || {
        pair.world.database.count("inbox_dead_letter").await >= 3
    })
    .await;
    // And the tenant itself goes on.
    raise(&pair.world, &pair.b, "alr_after", "after the poison").await;
    until_listed(&pair.service, &mut pair.b, "alr_after").await;

    // One tenant in a storm: the other's answers come still.
    let storm = (0..20).map(|number| {
        let (world, b) = (&pair.world, &pair.b);
        async move { raise(world, b, &format!("alr_storm_{number}"), "storm of b").await }
    });
    join_all(storm).await;
    let wish = Wish { method: Method::GET, ..Wish::get("/alerts?limit=100") };
    let answer = pair.as_a(&wish).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.text.contains("of b"));
}
