//! Which versions of the desktop are let in, switched while the service runs.

use std::time::Duration;

use backoffice::access::{AccessRequest, NonceMode, Reason, Settings, flags};
use http::Method;
use reqwest::StatusCode;
use serde_json::json;

use crate::{
    access_keys::with,
    access_world::{Setup, World as Gate, known, opening, reason, set, settings},
    support::{
        desktop::Desktop,
        platform::tenant,
        redis::RedisServer,
        service::{Service, World},
        wait,
    },
};

/// The flags have one key in a tier: a test that writes them has a tier of its own.
async fn gate() -> (Gate, RedisServer) {
    let tier = RedisServer::start().await;
    let settings = Settings {
        nonce_mode: NonceMode::Off,
        update_url: Some("https://updates.example/desktop".parse().unwrap()),
        ..settings()
    };
    (Gate::with(Setup { settings, redis_url: tier.url(), ..Setup::default() }), tier)
}

async fn put(tier: &RedisServer, document: &str) {
    tier.command(&["SET", flags::KEY, document]).await;
}

#[tokio::test]
async fn an_app_under_the_floor_is_refused_and_its_proof_stays_unused() {
    let (world, tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"1.5.0","win32":"9.0.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    let token = world.token();
    let proof = world.proof(&token);

    match reason(world.enter(&token, &proof).await) {
        Reason::VersionBlocked(blocked) => {
            assert_eq!(blocked.floor.to_string(), "1.5.0");
            assert_eq!(blocked.update_url.unwrap().as_str(), "https://updates.example/desktop");
        }
        other => panic!("let in: {other:?}"),
    }

    let mut newer = Gate::headers(&token, &proof);
    set(&mut newer, "x-app-version", "1.5.0");
    opening(world.send(&newer).await);
}

#[tokio::test]
async fn an_app_that_is_named_nowhere_is_asked_to_name_itself() {
    let (world, tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"1.5.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    let token = world.token();
    let mut headers = Gate::headers(&token, &world.proof(&token));
    headers.remove("x-app-version");

    let refused = reason(world.send(&headers).await);

    assert!(matches!(refused, Reason::HeaderInvalid("X-App-Version")), "{refused:?}");
}

#[tokio::test]
async fn an_app_that_does_not_name_itself_is_the_one_of_its_session() {
    let (world, tier) = gate().await;
    world.open(&opening(world.enter_anew().await)).await;
    let nameless = |token: &str, proof: &str| {
        let mut headers = Gate::headers(token, proof);
        headers.remove("x-app-version");
        headers.remove("x-app-platform");
        headers
    };
    put(&tier, r#"{"versionFloor":{"linux":"1.4.1"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    let token = world.token();
    let proof = world.proof(&token);
    let refused = reason(world.send(&nameless(&token, &proof)).await);
    assert!(matches!(refused, Reason::VersionBlocked(_)), "{refused:?}");

    put(&tier, r#"{"versionFloor":{"linux":"1.4.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    known(world.send(&nameless(&token, &proof)).await);
}

#[tokio::test]
async fn an_app_that_does_not_name_itself_is_not_let_past_the_floor_unseen() {
    let (world, mut tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"1.4.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    let token = world.token();
    let mut headers = Gate::headers(&token, &world.proof(&token));
    headers.remove("x-app-version");
    // Nobody can say which app its session was opened with.
    tier.kill();

    let refused = reason(world.send(&headers).await);

    assert!(matches!(refused, Reason::Unavailable("session tier")), "{refused:?}");
}

#[tokio::test]
async fn an_app_that_is_too_old_may_still_sign_out() {
    let (world, tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"2.0.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    let path = "/bff/backoffice/v1/auth/sign-out";
    let token = world.token();
    let claims = with(world.proof_claims(&token), "htm", json!("POST"));
    let claims = with(claims, "htu", json!(format!("https://api.example{path}")));
    let headers = Gate::headers(&token, &world.proof_of(&claims));
    let request =
        AccessRequest { method: &Method::POST, raw_path: path, query: None, headers: &headers };
    opening(world.gate.admit(&request).await);
}

#[tokio::test]
async fn a_bad_document_changes_nothing_and_no_document_lifts_the_floor() {
    let (world, tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"2.0.0"},"flags":{"a":true}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    for bad in ["{", "[]", r#"{"versionFloor":{"linux":"two"}}"#, r#"{"floor":{}}"#] {
        put(&tier, bad).await;
        assert!(world.gate.flags().refresh().await.is_err(), "{bad}");
        let refused = reason(world.enter_anew().await);
        assert!(matches!(refused, Reason::VersionBlocked(_)), "{bad}: {refused:?}");
        assert!(world.gate.flags().current().flags["a"], "{bad}");
    }
    tier.command(&["DEL", flags::KEY]).await;
    world.gate.flags().refresh().await.unwrap();
    opening(world.enter_anew().await);
    assert!(world.gate.flags().current().flags.is_empty());
}

#[tokio::test]
async fn flags_that_cannot_be_fetched_stay_as_they_were() {
    let (world, mut tier) = gate().await;
    put(&tier, r#"{"versionFloor":{"linux":"2.0.0"}}"#).await;
    world.gate.flags().refresh().await.unwrap();
    tier.kill();
    assert!(world.gate.flags().refresh().await.is_err());
    assert!(world.gate.flags().current().version_floor.is_set());
}

#[tokio::test]
async fn a_desktop_is_told_its_floor_and_a_floor_raised_under_it_ends_its_stream() {
    let world = World::start().await;
    put(&world.session_tier, r#"{"versionFloor":{"linux":"1.4.2"},"flags":{"live-poll":true}}"#)
        .await;
    let service = world
        .service_with(&[
            ("FLAGS_INTERVAL", "100ms"),
            ("DESKTOP_UPDATE_URL", "https://updates.example/desktop"),
        ])
        .await;
    let mut desktop = Desktop::sign_in(&world, &tenant(&world, 0), json!({})).await;
    let bootstrap = desktop.get(&service, "/bootstrap").await.body;
    assert_eq!(bootstrap["flags"], json!({ "live-poll": true }));
    assert_eq!(
        bootstrap["app"],
        json!({ "versionFloor": "1.4.2", "updateUrl": "https://updates.example/desktop" })
    );
    let mut live = desktop.live(&service, "").await;

    put(&world.session_tier, r#"{"versionFloor":{"linux":"1.5.0","win32":"1.0.0"}}"#).await;
    let told = live.next_of("version-blocked").await;
    assert_eq!(
        told,
        json!({ "kind": "version-blocked", "versionFloor": "1.5.0",
            "updateUrl": "https://updates.example/desktop" })
    );
    assert!(live.ended(Duration::from_secs(10)).await, "the stream goes on");

    wait::until("requests are refused", async || {
        desktop.get(&service, "/bootstrap").await.status == StatusCode::UPGRADE_REQUIRED
    })
    .await;
    let refused = desktop.get(&service, "/alerts").await;
    assert_eq!(refused.body["code"], "MELMASTOON.SYNC.VERSION_BLOCKED");
    assert_eq!(refused.body["versionFloor"], "1.5.0");
    assert_eq!(refused.body["updateUrl"], "https://updates.example/desktop");
    assert_eq!(refused.body["retriable"], false);

    // A bad document does not let it in again.
    put(&world.session_tier, "{").await;
    wait_for_alarm(&service).await;
    let refused = desktop.get(&service, "/bootstrap").await;
    assert_eq!(refused.status, StatusCode::UPGRADE_REQUIRED);
    world.session_tier.command(&["DEL", flags::KEY]).await;
    wait::until("the floor is lifted", async || {
        desktop.get(&service, "/bootstrap").await.status == StatusCode::OK
    })
    .await;
}

/// The gauge that says whether the last document was good.
async fn wait_for_alarm(service: &Service) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/metrics", service.admin_url);
    wait::until("the bad document is reported", async || {
        let metrics = http.get(&url).send().await.unwrap().text().await.unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("bff_backoffice_flags_good") && line.ends_with(" 0"))
    })
    .await;
}
