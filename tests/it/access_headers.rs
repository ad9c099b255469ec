//! Headers as bytes before the running binary: what is one token and one proof, and what is not.

use serde_json::{Value, json};

use crate::{
    access_bench::{
        BAD_PROOF, BAD_REQUEST, BAD_TOKEN, BOOTSTRAP, Bench, NO_CREDENTIALS, Refused,
        assert_refused, send, sign_in,
    },
    access_keys::with,
    support::{
        service::Service,
        wire::{Line, exchange, line},
    },
};

/// A row: the case, its credentials, the query, and how it is refused.
type Row = (&'static str, Vec<Line>, &'static str, Refused);

const SWITCHED: &[(&str, &str)] = &[("DPOP_NONCE", "off"), ("DPOP_BEARER", "on")];

#[tokio::test(flavor = "multi_thread")]
async fn dp_hdr_02_03_04_05_06_07_08_11_12_13_16_19_20_21_22_what_is_not_one_token_and_one_proof_is_refused_over_http()
 {
    let bench = Bench::start().await;
    for variables in [&[][..], SWITCHED] {
        let service = bench.world.service_with(variables).await;
        let proof = proof(&bench, &service, variables.is_empty()).await;
        for (case, credentials, query, expected) in rows(&bench, &service, &proof) {
            let lines = [bench.lines(), credentials].concat();
            let answer = send(&service, &format!("{BOOTSTRAP}{query}"), &lines).await;
            assert_refused(case, &answer, expected);
        }
        let form = format!("access_token={}", bench.token());
        let lines = [bench.lines(), vec![line("dpop", &proof)]].concat();
        let target = format!("POST /bff/backoffice/v1{ACKNOWLEDGE}");
        let lines =
            [lines, vec![line("content-type", "application/x-www-form-urlencoded")]].concat();
        let answer = exchange(&service.url, &target, &lines, form.as_bytes()).await;
        assert_refused("dp_hdr_20 form", &answer, NO_CREDENTIALS);

        assert_eq!(bench.traces().await, Vec::<String>::new(), "nobody got through");
        let answer = bench.get(&service, BOOTSTRAP, &proof).await;
        assert_eq!(answer.status, 200, "the proof was good all the time: {answer:?}");
        bench.world.session_tier.command(&["FLUSHALL"]).await;
    }
}

const ACKNOWLEDGE: &str = "/alerts/alr_1/acknowledge";

async fn proof(bench: &Bench, service: &Service, is_nonce_required: bool) -> String {
    if is_nonce_required {
        bench.good_proof(service, BOOTSTRAP).await
    } else {
        bench.proof(&bench.claims(service, BOOTSTRAP))
    }
}

fn rows(bench: &Bench, service: &Service, proof: &str) -> Vec<Row> {
    let token = bench.token();
    let bound = || line("authorization", format!("DPoP {token}"));
    let proven = || line("dpop", proof);
    let under = |value: String| vec![line("authorization", value), proven()];
    let shown = |value: &[u8]| vec![bound(), line("dpop", value)];
    let other = bench.proof(&bench.claims(service, BOOTSTRAP));
    let half = proof.len() / 2;
    let broken =
        |middle: &[u8]| [&proof.as_bytes()[..half], middle, &proof.as_bytes()[half..]].concat();
    let long = with(bench.claims(service, BOOTSTRAP), "pad", json!("x".repeat(4096)));
    vec![
        ("dp_hdr_02", vec![], "", NO_CREDENTIALS),
        ("dp_hdr_03", vec![bound()], "", BAD_PROOF),
        ("dp_hdr_04", vec![proven()], "", NO_CREDENTIALS),
        ("dp_hdr_05", vec![bound(), proven(), proven()], "", BAD_PROOF),
        ("dp_hdr_05 two good ones", vec![bound(), proven(), line("DPoP", &other)], "", BAD_PROOF),
        ("dp_hdr_06 garbage last", vec![bound(), proven(), line("dpop", "x")], "", BAD_PROOF),
        ("dp_hdr_06 garbage first", vec![bound(), line("dpop", "x"), proven()], "", BAD_PROOF),
        ("dp_hdr_07", shown(format!("{proof}, {other}").as_bytes()), "", BAD_PROOF),
        ("dp_hdr_07 no space", shown(format!("{proof},{proof}").as_bytes()), "", BAD_PROOF),
        ("dp_hdr_08 empty", shown(b""), "", BAD_PROOF),
        ("dp_hdr_08 spaces", shown(b"   "), "", BAD_PROOF),
        ("dp_hdr_11 space", shown(&broken(b" ")), "", BAD_PROOF),
        ("dp_hdr_11 tab", shown(&broken(b"\t")), "", BAD_PROOF),
        ("dp_hdr_11 quote", shown(format!("\"{proof}\"").as_bytes()), "", BAD_PROOF),
        ("dp_hdr_12 0x80", shown(&broken(b"\x80")), "", BAD_PROOF),
        ("dp_hdr_12 0xff", shown(&broken(b"\xff")), "", BAD_PROOF),
        ("dp_hdr_12 UTF-8", shown(&broken("\u{e9}".as_bytes())), "", BAD_PROOF),
        ("dp_hdr_13", shown(bench.proof(&long).as_bytes()), "", BAD_PROOF),
        ("dp_hdr_16 tab", under(format!("DPoP\t{token}")), "", BAD_REQUEST),
        ("dp_hdr_16 no token", under("DPoP".to_owned()), "", BAD_REQUEST),
        ("dp_hdr_16 no token but a space", under("DPoP ".to_owned()), "", BAD_REQUEST),
        ("dp_hdr_16 more", under(format!("DPoP {token} x")), "", BAD_REQUEST),
        ("dp_hdr_16 a parameter", under(format!("DPoP {token}, a=b")), "", BAD_REQUEST),
        (
            "dp_hdr_19 Bearer too",
            vec![line("authorization", format!("Bearer {token}")), bound(), proven()],
            "",
            BAD_REQUEST,
        ),
        ("dp_hdr_19 twice", vec![bound(), bound(), proven()], "", BAD_REQUEST),
        ("dp_hdr_20 query", vec![proven()], "?access_token=x", NO_CREDENTIALS),
        ("dp_hdr_20 query and header", vec![bound(), proven()], "?access_token=x", BAD_REQUEST),
        (
            "dp_hdr_21",
            vec![line("proxy-authorization", format!("DPoP {token}")), proven()],
            "",
            NO_CREDENTIALS,
        ),
        (
            "dp_hdr_22",
            vec![line("cookie", format!("access_token={token}; authorization=DPoP {token}"))],
            "",
            NO_CREDENTIALS,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_hdr_17_18_23_24_bearer_is_refused_unless_the_switch_is_on_and_then_proven_over_http() {
    let bench = Bench::start().await;
    let unbound = sign_in(&bench.world, &bench.device, json!({ "claims": { "cnf": null } })).await;
    let unbound = unbound["accessToken"].as_str().unwrap();
    for is_on in [false, true] {
        let switch = if is_on { "on" } else { "off" };
        let variables = [("DPOP_NONCE", "off"), ("DPOP_BEARER", switch)];
        let service = bench.world.service_with(&variables).await;
        let proof = bench.proof(&bench.claims(&service, BOOTSTRAP));
        let under = async |scheme: &str, token: &str, proof: Option<&str>| {
            let mut lines = bench.lines();
            lines.push(line("authorization", format!("{scheme} {token}")));
            lines.extend(proof.map(|proof| line("dpop", proof)));
            send(&service, BOOTSTRAP, &lines).await
        };
        for scheme in ["Bearer", "BeArEr"] {
            let alone = under(scheme, bench.token(), None).await;
            assert_refused("dp_hdr_18", &alone, if is_on { BAD_PROOF } else { BAD_TOKEN });
            let unbound = under(scheme, unbound, None).await;
            assert_refused("dp_hdr_23", &unbound, if is_on { BAD_PROOF } else { BAD_TOKEN });
            let bad = under(scheme, bench.token(), Some("e30.e30.AA")).await;
            assert_refused("dp_hdr_18 bad", &bad, if is_on { BAD_PROOF } else { BAD_TOKEN });
        }
        assert_refused("dp_hdr_24", &under("DPoP", unbound, Some(&proof)).await, BAD_TOKEN);
        assert_refused("dp_hdr_23 proof", &under("Bearer", unbound, Some(&proof)).await, BAD_TOKEN);
        assert_eq!(bench.traces().await, Vec::<String>::new());

        let proven = under("Bearer", bench.token(), Some(&proof)).await;
        if is_on {
            assert_eq!(proven.status, 200, "dp_hdr_17 switched on: {proven:?}");
            bench.world.session_tier.command(&["FLUSHALL"]).await;
        } else {
            assert_refused("dp_hdr_17", &proven, BAD_TOKEN);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_hdr_01_09_10_14_15_what_http_equates_is_let_in_over_http() {
    let bench = Bench::start().await;
    let service = bench.world.service_with(&[("DPOP_NONCE", "off")]).await;
    let token = bench.token();
    for (case, scheme, name, margin) in [
        ("dp_hdr_01", "DPoP ", "DPoP", ""),
        ("dp_hdr_09 lower", "DPoP ", "dpop", ""),
        ("dp_hdr_09 upper", "DPoP ", "DPOP", ""),
        ("dp_hdr_10 spaces", "DPoP ", "dpop", "  "),
        ("dp_hdr_10 tab", "DPoP ", "dpop", " \t"),
        ("dp_hdr_14 lower", "dpop ", "dpop", ""),
        ("dp_hdr_14 upper", "DPOP ", "dpop", ""),
        ("dp_hdr_14 mixed", "dPoP ", "dpop", ""),
        ("dp_hdr_15", "DPoP  ", "dpop", ""),
        ("dp_hdr_15 many", "DPoP      ", "dpop", ""),
    ] {
        let proof = bench.proof(&bench.claims(&service, BOOTSTRAP));
        let mut lines = bench.lines();
        lines.push(line("authorization", format!("{scheme}{token}")));
        lines.push(line(name, format!("{margin}{proof}{margin}")));
        let answer = send(&service, BOOTSTRAP, &lines).await;
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        assert!(answer.all("www-authenticate").is_empty(), "{case}");
    }
    let used = bench.traces().await.iter().filter(|key| key.contains("jti")).count();
    assert_eq!(used, 10, "each was let in once");
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_prec_04_05_06_a_refusal_is_one_challenge_and_a_problem_and_says_no_more() {
    let bench = Bench::start().await;
    let service = bench.world.service().await;
    let canary = "canary-7d1f";
    let claims = with(bench.claims(&service, BOOTSTRAP), "jti", json!(canary));
    for (case, claims) in [
        ("nonce", claims.clone()),
        ("htm", with(claims.clone(), "htm", json!(canary))),
        ("htu", with(claims.clone(), "htu", json!(format!("https://{canary}.example/")))),
        ("nonce of others", with(claims.clone(), "nonce", json!(canary))),
        ("jti", with(claims, "jti", json!([canary]))),
    ] {
        let answer = bench.get(&service, BOOTSTRAP, &bench.proof(&claims)).await;
        assert_eq!(answer.status, 401, "{case}");
        let (scheme, parameters) = answer.challenge();
        assert_eq!(scheme, "DPoP", "{case}");
        assert_eq!(parameters["algs"], "ES256", "{case}");
        assert_eq!(answer.all("dpop-nonce").len(), 1, "{case}");
        let said = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
        for secret in [canary, bench.token(), bench.grant["operatorId"].as_str().unwrap()] {
            assert!(!said.contains(secret), "{case}: {secret} in {said}");
        }
        let problem: Value = answer.json();
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.starts_with("https://errors.melmastoon.ghasi.io/auth/"), "{case}: {kind}");
    }

    for credentials in [vec![], vec![line("authorization", format!("DPoP {}", bench.token()))]] {
        let answer = send(&service, "/no-such-route", &credentials).await;
        assert_eq!(answer.status, 404, "dp_prec_06: no route, whoever asks");
        assert_eq!(answer.code(), "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_line_of_a_refusal_has_its_code_and_a_prefix_of_the_key_and_no_more() {
    let bench = Bench::start().await;
    let service = bench.world.service_with(&[("DPOP_NONCE", "off")]).await;
    let claims = bench.claims(&service, BOOTSTRAP);
    let wrong = with(claims.clone(), "htu", json!("https://canary-htu.example/"));
    let proof = bench.proof(&wrong);
    let answer = bench.get(&service, BOOTSTRAP, &proof).await;
    assert_refused("htu", &answer, BAD_PROOF);

    let jkt = bench.device.jkt();
    let (prefix, rest) = jkt.split_at(8);
    crate::support::wait::until("the refusal is logged", || async {
        service.log().lines().any(|line| line.contains("request refused"))
    })
    .await;
    let log = service.log();
    let line = log.lines().find(|line| line.contains("request refused")).unwrap();
    assert!(line.contains("MELMASTOON.AUTH.PROOF_INVALID"), "{line}");
    assert!(line.contains(prefix), "{line}");
    let said = &log;
    let sid_and_more = [
        bench.token(),
        &proof,
        rest,
        "canary-htu",
        claims["jti"].as_str().unwrap(),
        claims["ath"].as_str().unwrap(),
        bench.grant["operatorId"].as_str().unwrap(),
        bench.grant["deviceId"].as_str().unwrap(),
        bench.grant["refreshToken"].as_str().unwrap(),
    ];
    for secret in sid_and_more {
        assert!(!said.contains(secret), "{secret} in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_non_18_a_page_of_the_desktop_reads_the_nonce_and_others_read_nothing_over_http() {
    let bench = Bench::start().await;
    let variables = [("BACKOFFICE_CORS_ORIGINS", "app://backoffice")];
    let service = bench.world.service_with(&variables).await;
    let preflight = async |origin: &str| {
        let lines = [
            line("origin", origin),
            line("access-control-request-method", "POST"),
            line("access-control-request-headers", "authorization,dpop,x-idempotency-key"),
        ];
        let target = format!("OPTIONS /bff/backoffice/v1{ACKNOWLEDGE}");
        exchange(&service.url, &target, &lines, b"").await
    };
    let allowed = preflight("app://backoffice").await;
    assert_eq!(allowed.status, 204, "{allowed:?}");
    assert_eq!(allowed.all("access-control-allow-origin"), ["app://backoffice"]);
    let names = allowed.all("access-control-allow-headers").join(", ").to_lowercase();
    let names: Vec<&str> = names.split(", ").collect();
    for name in ["dpop", "authorization", "x-idempotency-key", "last-event-id"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }

    let lines = [bench.lines(), vec![line("origin", "app://backoffice")]].concat();
    let refused = send(&service, BOOTSTRAP, &lines).await;
    assert_refused("from a page", &refused, NO_CREDENTIALS);
    assert_eq!(refused.all("access-control-allow-origin"), ["app://backoffice"]);
    let exposed = refused.all("access-control-expose-headers").join(", ");
    let exposed: Vec<&str> = exposed.split(", ").collect();
    assert!(exposed.contains(&"DPoP-Nonce") && exposed.contains(&"WWW-Authenticate"));

    for origin in ["null", "https://evil.example", "app://backoffice.evil.example"] {
        let answer = preflight(origin).await;
        assert_ne!(answer.status, 204, "{origin}");
        assert!(answer.all("access-control-allow-origin").is_empty(), "{origin}");
        let lines = [bench.lines(), vec![line("origin", origin)]].concat();
        let answer = send(&service, BOOTSTRAP, &lines).await;
        assert!(answer.all("access-control-allow-origin").is_empty(), "{origin}");
    }
}
