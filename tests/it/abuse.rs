//! The running binary among people who mean harm: what they send is neither believed, nor
//! reflected, nor logged.

use backoffice::clock::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::{
    access_world,
    support::{
        alerts::{path, raise, raised},
        desktop::{Answer, Desktop, key},
        platform::{kept, simulate},
        service::{Service, World},
        wait,
        wire::exchange_bytes,
    },
};

/// One of each kind of thing that may not appear in a log. Each has the mark in it.
const CANARIES: &[&str] = &[
    "AF89BIRDIBAN0000001234567890",
    "4111BIRD11111111",
    "bird.BIRDMAIL@example.test",
    "Amina BIRDNAME Karimi",
    "+93-70-BIRD-1234567",
    "NID-BIRD-1400-0101-12345",
    "eyJhbGciOiJFUzI1NiJ9.BIRDTOKEN.c2lnbmF0dXJl",
    "BIRD-nonce-0123456789abcdef",
];
const MARK: &str = "BIRD";
/// Fields of a request that may hold anything.
const FIELDS: &[&str] = &[
    "user-agent",
    "referer",
    "cookie",
    "origin",
    "x-request-id",
    "traceparent",
    "tracestate",
    "accept-language",
    "last-event-id",
    "x-min-position",
    "x-property-id",
    "x-app-version",
    "x-app-platform",
    "x-network-mode",
    "x-mfa-attestation",
    "x-forwarded-for",
    "if-match",
];

#[tokio::test(flavor = "multi_thread")]
async fn ab_22_25_26_28_origins_hops_clocks_and_other_peoples_tokens_are_not_believed() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &world.simulator.tenant_ids()[0], json!({})).await;
    desktop.get(&service, "/bootstrap").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = Method::GET;

    for origin in [
        "null",
        "https://evil.example",
        "https://127.0.0.1.evil.example",
        "https://evil-melmastoon.ghasi.io",
        "https://melmastoon.ghasi.io.evil.example",
        "http://localhost:1",
        "file://",
    ] {
        let bootstrap = format!("{}/bootstrap", service.url);
        let preflight = http
            .request(Method::OPTIONS, &bootstrap)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,dpop")
            .send();
        let request = desktop.bare(&service, &get, "/bootstrap").header("origin", origin).send();
        let (preflight, answer) = (preflight.await.unwrap(), request.await.unwrap());
        assert_eq!(answer.status(), StatusCode::OK, "AB-22 {origin}: it is answered all the same");
        for answer in [&preflight, &answer] {
            assert!(
                !answer.headers().contains_key("access-control-allow-origin"),
                "AB-22 {origin}"
            );
            assert!(!answer.headers().contains_key("access-control-allow-credentials"), "AB-22");
        }
    }

    // AB-25: the proof's target is judged by our settings, whatever a header claims.
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
        ("x-real-ip", "203.0.113.9"),
        ("x-original-url", "/bff/backoffice/v1/alerts"),
        ("x-http-method-override", "POST"),
        ("host", "evil.example"),
        ("x-tenant-id", "tnt_00000000000000000000000000"),
    ] {
        let answer = desktop.bare(&service, &get, "/bootstrap").header(name, value).send().await;
        let answer = Answer::read(answer.unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "AB-25 {name}: {}", answer.body);
        assert_eq!(answer.body["operator"]["id"], desktop.text("operatorId"), "AB-25 {name}");
    }

    clocks(&service, &desktop).await;
    strangers(&service, &desktop, &http).await;
}

/// AB-26: a desktop whose clock is wrong is refused and learns the time.
async fn clocks(service: &Service, desktop: &Desktop) {
    for minutes in [-5, 5] {
        let proof =
            desktop.proof_at(service, &Method::GET, "/bootstrap", TimeDelta::minutes(minutes));
        let answer = desktop.send_with_proof(service, "/bootstrap", None, &proof).await;
        let date = answer.headers()["date"].to_str().unwrap().to_owned();
        let date: DateTime<Utc> = DateTime::parse_from_rfc2822(&date).unwrap().into();
        let problem = Answer::read(answer).await;
        assert_eq!(problem.status, StatusCode::UNAUTHORIZED, "AB-26 {minutes}");
        assert_eq!(problem.body["code"], "MELMASTOON.AUTH.PROOF_INVALID", "AB-26 {minutes}");
        let off = SystemClock.now() - date;
        assert!(off.abs() < TimeDelta::seconds(5), "AB-26: corrected by {off}");
    }
}

/// AB-28: what needs no token takes none amiss, and what needs ours takes no other.
async fn strangers(service: &Service, desktop: &Desktop, http: &reqwest::Client) {
    let with = |request: RequestBuilder, credentials: &str| match credentials {
        "none" => request,
        "desktop" => request
            .header("authorization", format!("DPoP {}", desktop.text("accessToken")))
            .header("dpop", desktop.proof(service, &Method::GET, "/bootstrap")),
        other => request.header("authorization", other),
    };
    let google = "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.\
        eyJpc3MiOiJodHRwczovL2FjY291bnRzLmdvb2dsZS5jb20iLCJhdWQiOiJ4In0.c2ln";
    let (root, admin) = (&service.root_url, &service.admin_url);
    for (url, credentials, expected) in [
        (format!("{root}/health/live"), "none", 200),
        (format!("{root}/health/live"), "desktop", 200),
        (format!("{root}/health/live"), google, 200),
        (format!("{root}/health/ready"), "none", 200),
        (format!("{root}/openapi.json"), "none", 200),
        (format!("{root}/metrics"), "none", 404),
        (format!("{root}/metrics"), "desktop", 404),
        (format!("{}/metrics", service.url), "none", 404),
        (format!("{admin}/metrics"), "none", 200),
        (format!("{admin}/bff/backoffice/v1/bootstrap"), "desktop", 404),
        (format!("{admin}/bff/backoffice/v1/alerts"), "none", 404),
        (format!("{}/bootstrap", service.url), google, 401),
        (format!("{}/bootstrap", service.url), "none", 401),
        (format!("{}/live", service.url), google, 401),
        (format!("{root}/sim/world"), "none", 404),
        (format!("{root}/debug/pprof"), "none", 404),
        (format!("{root}/.env"), "none", 404),
    ] {
        let answer = with(http.get(&url), credentials).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "AB-28 {url} with {credentials}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ab_14_15_17_hostile_documents_are_refused_by_a_real_route_and_leave_no_row() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &world.simulator.tenant_ids()[0], json!({})).await;
    desktop.get(&service, "/bootstrap").await;
    let path = "/alerts/ntf_x/acknowledge";
    for (name, body) in [
        ("AB-14", r#"{"comment": "a\u0000b"}"#.to_owned()),
        ("AB-14 in a name", r#"{"comment\u0000": "a"}"#.to_owned()),
        ("AB-15 lone surrogate", r#"{"comment": "\udfff"}"#.to_owned()),
        ("AB-15 too long", json!({ "comment": "x".repeat(1001) }).to_string()),
        ("AB-15 invisible", json!({ "comment": "\u{200b}".repeat(1001) }).to_string()),
        ("AB-15 empty", json!({ "comment": "" }).to_string()),
        ("AB-17 twice", r#"{"comment": "a", "comment": "b"}"#.to_owned()),
        ("AB-17 unknown", r#"{"comment": "a", "tenantId": "tnt_x"}"#.to_owned()),
        ("AB-17 no text", r#"{"comment": 1e400}"#.to_owned()),
        ("AB-17 no object", "null".to_owned()),
    ] {
        let request =
            desktop.bare(&service, &Method::POST, path).header("x-idempotency-key", key());
        let request = request.header("content-type", "application/json").body(body);
        let answer = Answer::read(request.send().await.unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}: {}", answer.body);
    }
    for table in ["event_alert_ack", "idempotency"] {
        assert_eq!(world.database.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ab_23_24_nothing_of_what_is_sent_reaches_a_log_or_a_metric() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
    desktop.get(&service, "/bootstrap").await;
    for canary in CANARIES {
        send_everywhere(&world, &service, &mut desktop, canary).await;
    }
    // AB-23: what ends or disguises a line, in every place that takes it.
    for injection in
        ["\u{1b}[2K\u{1b}[31mBIRD", "BIRD\",\"level\":\"ERROR\",\"x\":\"", "%0d%0aBIRD", "\tBIRD"]
    {
        let request = desktop.bare(&service, &Method::GET, "/bootstrap");
        let hostile = http::HeaderValue::from_bytes(injection.as_bytes());
        let Ok(hostile) = hostile else {
            let raw = format!(
                "GET /health/live HTTP/1.1\r\nhost: x\r\nuser-agent: {injection}\r\n\
                 x-request-id: {injection}\r\n\r\n"
            );
            exchange_bytes(service.address(), raw.as_bytes()).await;
            continue;
        };
        for name in
            ["user-agent", "x-request-id", "traceparent", "x-app-version", "accept-language"]
        {
            let request = request.try_clone().unwrap().header(name, hostile.clone());
            request.send().await.unwrap();
        }
    }
    desktop.get(&service, "/bootstrap").await;
    let metrics = reqwest::get(format!("{}/metrics", service.admin_url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let said = service.log();
    service.stop().await;

    assert!(metrics.contains("bff_backoffice_request_total"), "it does count: {metrics}");
    assert!(!metrics.contains(MARK), "AB-24 in a metric");
    assert!(20 < said.lines().count(), "it does log");
    for line in said.lines() {
        assert!(!line.contains(MARK), "AB-24: {line}");
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("AB-23: {line}"));
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "AB-23: {line}");
        assert!(!line.contains('\u{1b}'), "AB-23: {line}");
    }
}

/// A canary in every place a client or an upstream can put something.
async fn send_everywhere(world: &World, service: &Service, desktop: &mut Desktop, canary: &str) {
    let encoded: String = canary
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02x}")
            }
        })
        .collect();
    let get = Method::GET;
    for path in [
        format!("/alerts/{encoded}"),
        format!("/alerts?cursor={encoded}"),
        format!("/alerts?propertyId={encoded}&severity={encoded}"),
        format!("/live/poll?after={encoded}&waitMs=0"),
        format!("/live?channels={encoded}"),
        format!("/{encoded}"),
    ] {
        desktop.bare(service, &get, &path).send().await.unwrap();
    }
    for name in FIELDS.iter().copied() {
        desktop.bare(service, &get, "/alerts").header(name, canary).send().await.unwrap();
    }
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    for (name, value) in [
        ("authorization", format!("DPoP {canary}")),
        ("authorization", format!("Bearer {canary}")),
        ("authorization", canary.to_owned()),
        ("dpop", canary.to_owned()),
        ("x-device-id", canary.to_owned()),
    ] {
        plain.get(format!("{}/alerts", service.url)).header(name, value).send().await.unwrap();
    }
    for (path, body) in [
        (format!("/alerts/{encoded}/acknowledge"), json!({ "comment": canary }).to_string()),
        ("/alerts/ntf_x/acknowledge".to_owned(), json!({ "comment": canary }).to_string()),
        ("/alerts/ntf_x/acknowledge".to_owned(), json!({ canary: canary }).to_string()),
        ("/alerts/ntf_x/acknowledge".to_owned(), format!("{{\"comment\": {canary}")),
    ] {
        for idempotency_key in [key(), canary.to_owned()] {
            let request = desktop.bare(service, &Method::POST, &path);
            let request = request.header("x-idempotency-key", idempotency_key);
            let request = request.header("content-type", "application/json").body(body.clone());
            request.send().await.unwrap();
        }
    }
    upstream_says(world, desktop, canary).await;
    let alert_id = raise(world, desktop, canary).await;
    desktop.alert(service, "raised", |alert| alert["id"] == alert_id.as_str()).await;
    let answer =
        desktop.post(service, &path(&alert_id), &key(), &json!({ "comment": canary })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

/// Events that cannot be read, which end among the dead letters.
async fn upstream_says(world: &World, desktop: &Desktop, canary: &str) {
    for raw in [
        json!(canary),
        json!({ "payload": canary }),
        json!({ "eventId": canary, "subject": canary }),
    ] {
        let event = json!({
            "producer": "notification",
            "subject": "melmastoon.notification.alert.raised.v1",
            "tenantId": desktop.text("tenantId"),
            "payload": {},
            "raw": raw,
        });
        simulate(world, "/sim/events", &event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_46_no_tenant_or_person_is_in_a_metric_or_in_anothers_error() {
    let world = World::start().await;
    let service = world.service().await;
    let tenants = world.simulator.tenant_ids();
    let mut ours = Desktop::sign_in(&world, &tenants[0], json!({})).await;
    let mut theirs = Desktop::sign_in(&world, &tenants[1], json!({})).await;
    let foreign = raise(&world, &theirs, "Theirs").await;
    theirs.alert(&service, "raised", |alert| alert["id"] == foreign.as_str()).await;

    let refused = ours.post(&service, &path(&foreign), &key(), &json!({})).await;
    let unknown = ours.post(&service, "/alerts/ntf_unknown/acknowledge", &key(), &json!({})).await;
    let by_property = format!("/alerts?propertyId={}", theirs.property());
    let property = ours.get(&service, &by_property).await;

    // Whether it exists elsewhere does not show in any member.
    assert_eq!(without_names(&refused.body), without_names(&unknown.body));
    let told = format!("{} {} {:?}", refused.body, property.body, refused.headers);
    for name in [theirs.text("tenantId"), theirs.text("operatorId"), theirs.text("deviceId")] {
        assert!(!told.contains(name), "{told}");
    }
    let metrics = reqwest::get(format!("{}/metrics", service.admin_url)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("bff_backoffice_request_total"), "it does count: {metrics}");
    for desktop in [&ours, &theirs] {
        for name in ["tenantId", "operatorId", "deviceId"] {
            assert!(!metrics.contains(desktop.text(name)), "{name} is a label");
        }
        assert!(!metrics.contains(desktop.property()) && !metrics.contains(&foreign));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_47_what_a_store_complains_of_is_not_told() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &world.simulator.tenant_ids()[0], json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let path = path(&alert_id);
    let first = key();
    refuse_inserts(&world, "duplicate key value violates unique constraint \"event_stream\" BIRD")
        .await;

    let failed = desktop.post(&service, &path, &first, &json!({})).await;

    assert!(failed.status.is_server_error(), "{}", failed.body);
    let told = format!("{} {:?}", failed.body, failed.headers);
    for word in ["BIRD", "duplicate", "constraint", "event_stream", "sqlx", "postgres", "select "] {
        assert!(!told.to_lowercase().contains(&word.to_lowercase()), "{word}: {told}");
    }
    allow_inserts(&world).await;
    assert_eq!(desktop.post(&service, &path, &first, &json!({})).await.status, StatusCode::OK);
    let reused = desktop.post(&service, &path, &first, &json!({ "comment": "other" })).await;
    assert_eq!(reused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!reused.body.to_string().contains(&first), "{}", reused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn au_05_without_its_record_an_action_has_no_effect_upstream() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = Desktop::sign_in(&world, &world.simulator.tenant_ids()[0], json!({})).await;
    let alert_id = raised(&world, &mut desktop, &service).await;
    let path = path(&alert_id);
    refuse_inserts(&world, "the disk of the ledger is full").await;

    let failed = desktop.post(&service, &path, &key(), &json!({})).await;

    assert!(failed.status.is_server_error(), "{}", failed.body);
    let effects = async || kept(&world, ("notification-service", "effects"), "").await.len();
    assert_eq!(effects().await, 0, "nothing happened that is not recorded");
    assert_eq!(world.database.count("idempotency").await, 0);
    allow_inserts(&world).await;
    assert_eq!(desktop.post(&service, &path, &key(), &json!({})).await.status, StatusCode::OK);
    wait::until("the one effect", async || effects().await == 1).await;
}

/// Our own clock is set while we run.
#[tokio::test]
async fn ab_27_a_clock_that_jumps_lets_no_ended_token_and_no_used_proof_in() {
    for hours in [1, -1] {
        let world = access_world::World::new();
        let token = world.token();
        let proof = world.proof(&token);
        let pending = access_world::opening(world.enter(&token, &proof).await);
        world.open(&pending).await;
        access_world::known(world.enter_anew().await);

        world.clock.advance(TimeDelta::hours(hours));

        if 0 < hours {
            let fresh = world.proof(&token);
            let code = access_world::code(world.enter(&token, &fresh).await);
            assert!(code.ends_with("TOKEN_EXPIRED"), "{code}");
        }
        access_world::code(world.enter(&token, &proof).await);

        // Set right again: the token is good, the used proof is not.
        world.clock.advance(TimeDelta::hours(-hours));
        let code = access_world::code(world.enter(&token, &proof).await);
        assert!(code.ends_with("PROOF_REPLAYED"), "{hours}: {code}");
        access_world::known(world.enter_anew().await);
    }
}

async fn refuse_inserts(world: &World, message: &str) {
    let mut connection = world.database.superuser().await;
    // All partitions at once: one after the other, they would be waited for by whom they wait for.
    let statement = format!(
        "lock table event in access exclusive mode; \
         create function refuse() returns trigger language plpgsql as \
         $$ begin raise exception '{message}' using errcode = 'unique_violation'; end $$; \
         create trigger refuses before insert on event for each row execute function refuse()"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
}

async fn allow_inserts(world: &World) {
    let mut connection = world.database.superuser().await;
    let statement = "lock table event in access exclusive mode; \
                     drop trigger refuses on event; drop function refuse()";
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
}

/// A problem without the members that name the request.
fn without_names(problem: &Value) -> Value {
    let mut problem = problem.clone();
    for name in ["instance", "requestId", "traceId"] {
        problem.as_object_mut().unwrap().remove(name);
    }
    problem
}
