//! DP-CLM-10…12 and DP-HTU-03, 14, 22, 23, 27: what stands around a proof in the request itself.

use std::fmt::Write;

use serde_json::json;

use super::over_http::{BASE, Bench, Device, PATH};
use crate::{
    access_keys::with,
    support::wire::{exchange_bytes, status},
};

const INVALID: &str = "MELMASTOON.AUTH.PROOF_INVALID";

/// An answer as it came over the wire.
struct Wire {
    status: u16,
    text: String,
}

impl Wire {
    fn assert_refused(&self, case: &str) {
        assert_eq!(self.status, 401, "{case}: {}", self.text);
        assert!(self.text.contains(INVALID), "{case}: {}", self.text);
        let challenge = r#"www-authenticate: DPoP error="invalid_dpop_proof""#;
        assert_eq!(self.text.matches(challenge).count(), 1, "{case}: {}", self.text);
    }
}

/// Sends a head of these first lines, the device's headers and a proof of these claims.
async fn ask(bench: &Bench, device: &mut Device, lines: &[&str], claims: &[(&str, &str)]) -> Wire {
    device.begin();
    let claims =
        claims.iter().fold(device.claims(), |all, (name, value)| with(all, name, json!(value)));
    let mut head = format!("{}\r\ndpop: {}\r\n", lines.join("\r\n"), device.claiming(&claims));
    for (name, value) in &device.headers() {
        write!(head, "{name}: {}\r\n", value.to_str().unwrap()).unwrap();
    }
    head.push_str("connection: close\r\n\r\n");
    let text = exchange_bytes(bench.service.address(), head.as_bytes()).await;
    Wire { status: status(&text), text }
}

async fn ready() -> (Bench, Device) {
    let bench = Bench::start().await;
    let mut device = bench.sign_in().await;
    bench.fresh_nonce(&mut device).await;
    (bench, device)
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_clm_10_11_12_the_method_is_the_one_on_the_wire() {
    let (bench, mut device) = ready().await;
    let at = |method: &str| format!("{method} {PATH} HTTP/1.1");
    let host = "host: api.example";

    let answer = ask(&bench, &mut device, &[&at("HEAD"), host], &[("htm", "HEAD")]).await;
    assert_eq!(answer.status, 200, "DP-CLM-10: {}", answer.text);
    assert!(answer.text.ends_with("\r\n\r\n"), "DP-CLM-10: a body for HEAD");
    let answer = ask(&bench, &mut device, &[&at("HEAD"), host], &[("htm", "GET")]).await;
    assert_eq!(answer.status, 401, "DP-CLM-10: {}", answer.text);
    let answer = ask(&bench, &mut device, &[&at("GET"), host], &[("htm", "HEAD")]).await;
    answer.assert_refused("DP-CLM-10");

    for header in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let line = format!("{header}: DELETE");
        let lines = [at("GET"), host.to_owned(), line];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        ask(&bench, &mut device, &lines, &[("htm", "DELETE")]).await.assert_refused("DP-CLM-11");
        let answer = ask(&bench, &mut device, &lines, &[]).await;
        assert_eq!(answer.status, 200, "DP-CLM-11: {header} is not looked at: {}", answer.text);
    }
    // On a route of POST too: the acknowledgement is not made a deletion.
    let post = format!("POST {PATH}/ali_1/acknowledge HTTP/1.1");
    let htu = format!("{BASE}{PATH}/ali_1/acknowledge");
    let lines = [post.as_str(), host, "x-http-method-override: DELETE", "content-length: 0"];
    let claims = [("htm", "DELETE"), ("htu", htu.as_str())];
    ask(&bench, &mut device, &lines, &claims).await.assert_refused("DP-CLM-11");

    for method in ["PURGE", "PROPFIND", "QUERY", "get", "X"] {
        let answer = ask(&bench, &mut device, &[&at(method), host], &[("htm", method)]).await;
        assert_eq!(answer.status, 405, "DP-CLM-12: {method}: {}", answer.text);
        assert!(answer.text.contains("MELMASTOON.GENERAL.METHOD_NOT_ALLOWED"), "DP-CLM-12");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_htu_03_14_22_23_27_the_address_is_the_configured_one() {
    let (bench, mut device) = ready().await;
    let get = format!("GET {PATH} HTTP/1.1");
    let host = "host: api.example";

    let queried = format!("GET {PATH}?limit=3 HTTP/1.1");
    let answer = ask(&bench, &mut device, &[&queried, host], &[]).await;
    assert_eq!(answer.status, 200, "DP-HTU-03: {}", answer.text);

    for target in [
        "/bff/backoffice/v1/../v1/alerts",
        "/bff/backoffice/./v1/alerts",
        "/bff/backoffice/v1/%2e%2e/v1/alerts",
        "/bff/backoffice/v1%2falerts",
        "/bff/backoffice/v1%2Falerts",
        "/bff/backoffice/v1%5calerts",
        "/bff/backoffice/v1\\alerts",
        "/bff/backoffice//v1/alerts",
        "//bff/backoffice/v1/alerts",
        "/bff/backoffice/v1/alerts/%00",
    ] {
        let line = format!("GET {target} HTTP/1.1");
        let htu = format!("{BASE}{target}");
        let answer = ask(&bench, &mut device, &[&line, host], &[("htu", &htu)]).await;
        assert_eq!(answer.status, 400, "DP-HTU-14: {target}: {}", answer.text);
        let answer = ask(&bench, &mut device, &[&line, host], &[]).await;
        assert_eq!(answer.status, 400, "DP-HTU-14: {target}: {}", answer.text);
    }

    let evil = format!("https://evil.example{PATH}");
    for (header, htu) in [
        ("host: evil.example", evil.clone()),
        ("x-forwarded-host: evil.example\r\nhost: api.example", evil.clone()),
        ("forwarded: host=evil.example;proto=https\r\nhost: api.example", evil.clone()),
        ("x-original-host: evil.example\r\nhost: api.example", evil.clone()),
        ("x-forwarded-proto: http\r\nhost: api.example", format!("http://api.example{PATH}")),
        ("x-forwarded-port: 8443\r\nhost: api.example", format!("{BASE}:8443{PATH}")),
        ("x-forwarded-prefix: /x\r\nhost: api.example", format!("{BASE}/x{PATH}")),
        ("x-original-url: /x\r\nhost: api.example", format!("{BASE}/x")),
    ] {
        let refused = ask(&bench, &mut device, &[&get, header], &[("htu", &htu)]).await;
        refused.assert_refused(&format!("DP-HTU-22: {header}"));
        let answer = ask(&bench, &mut device, &[&get, header], &[]).await;
        assert_eq!(answer.status, 200, "DP-HTU-22: {header} is not looked at: {}", answer.text);
    }

    let absolute = format!("GET {evil} HTTP/1.1");
    let lines = [absolute.as_str(), "host: evil.example"];
    let answer = ask(&bench, &mut device, &lines, &[("htu", &evil)]).await;
    assert!(matches!(answer.status, 400 | 401 | 421), "DP-HTU-23: {}", answer.text);
    let answer = ask(&bench, &mut device, &[&absolute, host], &[("htu", &evil)]).await;
    assert!(matches!(answer.status, 400 | 401 | 421), "DP-HTU-23: {}", answer.text);

    let long = format!("{BASE}{PATH}?{}", "q".repeat(65_536));
    let answer = ask(&bench, &mut device, &[&get, host], &[("htu", &long)]).await;
    assert_eq!(answer.status, 431, "DP-HTU-27: {}", answer.text);
}
