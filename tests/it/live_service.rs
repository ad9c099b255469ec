//! `GET /live` of the running binary: who gets a stream, from where on, and who is told to stop
//! asking.

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    desktop::{Answer, Desktop},
    service::{Service, World},
    wire::{exchange_bytes, status},
};

#[tokio::test(flavor = "multi_thread")]
async fn ss_06_a_cursor_is_resumed_reset_or_refused_and_nothing_else() {
    let world = World::start().await;
    let service = world.service().await;
    let tenants = world.simulator.tenant_ids();
    let mut desktop = Desktop::sign_in(&world, &tenants[0], json!({})).await;
    let mut colleague = Desktop::sign_in(&world, &tenants[0], json!({})).await;
    let mut stranger = Desktop::sign_in(&world, &tenants[1], json!({})).await;
    let own = cursor(&mut desktop, &service).await;
    let colleagues = cursor(&mut colleague, &service).await;
    let foreign = cursor(&mut stranger, &service).await;
    let mut forged = own.clone().into_bytes();
    forged[10] = if forged[10] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();

    for (name, id, expected) in [
        ("absent", None, 200),
        ("valid", Some(own.as_str()), 200),
        // Sealed for the tenant: what a stream says depends on who listens, not on the cursor.
        ("of a colleague", Some(colleagues.as_str()), 200),
        ("garbage", Some("garbage"), 400),
        ("a number", Some("42"), 400),
        ("empty", Some(""), 400),
        ("forged", Some(forged.as_str()), 400),
        ("cut off", Some(&own[..own.len() - 1]), 400),
        ("extended", Some(&format!("{own}A")), 400),
        ("of another tenant", Some(foreign.as_str()), 400),
        ("injected", Some("x\tevent: session"), 400),
        ("eight kilobytes", Some(&"A".repeat(8 * 1024)), 400),
        ("64 kilobytes", Some(&"A".repeat(64 * 1024)), 431),
    ] {
        let mut request = desktop.bare(&service, &Method::GET, "/live");
        if let Some(id) = id {
            request = request.header("last-event-id", id);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{name}");
        if expected == 400 {
            let problem = Answer::read(answer).await.body;
            assert_eq!(problem["code"], "MELMASTOON.GENERAL.VALIDATION_FAILED", "{name}");
            assert_eq!(problem["errors"][0]["field"], "Last-Event-ID", "{name}");
        }
    }
    for id in ["a\0b", "a\nb", "a\rb", "a\r\n b"] {
        let request = format!(
            "GET /bff/backoffice/v1/live HTTP/1.1\r\nhost: x\r\nlast-event-id: {id}\r\n\r\n"
        );
        let answer = exchange_bytes(service.address(), request.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{id:?}: {answer}");
    }

    // Its place is lost with the streams: that is said, not passed over.
    world.session_tier.command(&["FLUSHALL"]).await;
    let path = format!("/live/poll?after={own}&waitMs=0");
    let answer = desktop.get(&service, &path).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.body["events"][0]["data"]["kind"], "reset");
    let unsealed = desktop.get(&service, "/live/poll?after=garbage&waitMs=0").await;
    assert_eq!(unsealed.body["errors"][0]["field"], "after");
    let foreign = desktop.get(&service, &format!("/live/poll?after={foreign}&waitMs=0")).await;
    assert_eq!(foreign.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn ss_12_13_14_a_stream_is_for_fetch_and_says_when_to_stop_asking() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
    desktop.get(&service, "/bootstrap").await;
    let get = Method::GET;

    for (name, accept, expected) in [
        ("SS-12 JSON", Some("application/json"), 406),
        ("SS-12 HTML, then anything but events", Some("text/html, application/*"), 406),
        ("SS-12 refused by weight", Some("text/event-stream;q=0"), 406),
        ("events", Some("text/event-stream"), 200),
        ("events among others", Some("application/json, text/event-stream;q=0.5"), 200),
        ("anything", Some("*/*"), 200),
        ("nothing said", None, 200),
    ] {
        let mut request = desktop.bare(&service, &get, "/live");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{name}");
        if expected == 200 {
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            assert_eq!(answer.headers()["cache-control"], "no-store, no-transform");
            assert_eq!(answer.headers()["x-accel-buffering"], "no");
            assert!(!answer.headers().contains_key("content-encoding"));
        }
    }

    // SS-13: a channel that no role of the caller may hear will never say anything.
    let hopeless = desktop.bare(&service, &get, "/live?channels=ai");
    let housekeeper = json!({ "roles": ["housekeeper"] });
    let mut limited = Desktop::sign_in(&world, &tenant, housekeeper).await;
    limited.get(&service, "/bootstrap").await;
    let refused = limited.bare(&service, &get, "/live?channels=alerts,ai").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::NO_CONTENT, "SS-13");
    let session = limited.bare(&service, &get, "/live?channels=session").send().await.unwrap();
    assert_eq!(session.status(), StatusCode::OK);
    assert_eq!(hopeless.send().await.unwrap().status(), StatusCode::OK);
    let plain = reqwest::Client::builder().no_proxy().build().unwrap();
    let anonymous = plain.get(format!("{}/live", service.url)).send().await.unwrap();
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED, "SS-13: whoever can sign in again");

    // SS-14: the proof is this stream's and this connection's.
    for (name, proof, expected) in [
        ("another route's", desktop.proof(&service, &get, "/live/poll"), 401),
        ("another method's", desktop.proof(&service, &Method::POST, "/live"), 401),
        ("its own", desktop.proof(&service, &get, "/live"), 200),
    ] {
        let answer = desktop.send_with_proof(&service, "/live", None, &proof).await;
        assert_eq!(answer.status().as_u16(), expected, "SS-14 {name}");
        if expected == 200 {
            let again = desktop.send_with_proof(&service, "/live", None, &proof).await;
            assert_eq!(again.status(), StatusCode::UNAUTHORIZED, "SS-14 once a connection");
            let problem = Answer::read(again).await.body;
            assert_eq!(problem["code"], "MELMASTOON.AUTH.PROOF_REPLAYED");
        }
    }
    let token = desktop.text("accessToken");
    for query in [format!("access_token={token}"), format!("channels=alerts&token={token}")] {
        let url = format!("{}/live?{query}", service.url);
        let answer = plain.get(&url).header("x-device-id", desktop.text("deviceId")).send().await;
        assert!(answer.unwrap().status().is_client_error(), "SS-14: not from the query");
    }
    let said = service.log();
    assert!(said.contains("/live"), "requests are logged: {said}");
    assert!(!said.contains(token), "a token in a query is not logged");
}

/// Where a new stream of the desktop begins.
async fn cursor(desktop: &mut Desktop, service: &Service) -> String {
    let answer = desktop.get(service, "/live/poll?waitMs=0").await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["next"].as_str().unwrap().to_owned()
}
