//! The replay drill: one proof against three instances, failing handlers, streams and a store that
//! lost its last write.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    access_bench::{BOOTSTRAP, Bench, REPLAYED, assert_refused},
    access_keys::with,
    support::{
        alerts::{effects, path, raised},
        desktop::{Desktop, key},
        service::World,
        wire::{exchange, line},
    },
};

const BASE: &str = "https://api.example";

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_03_of_a_hundred_uses_at_once_on_three_instances_one_reaches_its_handler() {
    let bench = Bench::start().await;
    let variables = [("BACKOFFICE_PUBLIC_BASES", BASE)];
    let (one, two, three) = tokio::join!(
        bench.world.service_with(&variables),
        bench.world.service_with(&variables),
        bench.world.service_with(&variables),
    );
    let htu = format!("{BASE}/bff/backoffice/v1{BOOTSTRAP}");
    let claims = with(bench.claims(&one, BOOTSTRAP), "htu", json!(htu));
    let asked = bench.get(&two, BOOTSTRAP, &bench.proof(&claims)).await;
    let claims = with(claims, "nonce", json!(asked.nonce().unwrap()));
    let proof = bench.proof(&claims);
    // Every instance has seen the operator before, so that nothing but the proof decides.
    for service in [&one, &two, &three] {
        let claims = with(claims.clone(), "jti", json!(key()));
        assert_eq!(bench.get(service, BOOTSTRAP, &bench.proof(&claims)).await.status, 200);
    }

    for round in 0..3 {
        let claims = with(claims.clone(), "jti", json!(format!("drill-{round}")));
        let proof = bench.proof(&claims);
        let mut lines = bench.lines();
        lines.push(line("authorization", format!("DPoP {}", bench.token())));
        lines.push(line("dpop", &proof));
        let mut uses = JoinSet::new();
        for number in 0..100 {
            let url = [&one.url, &two.url, &three.url][number % 3].clone();
            let lines = lines.clone();
            uses.spawn(async move {
                let target = format!("GET /bff/backoffice/v1{BOOTSTRAP}");
                exchange(&url, &target, &lines, b"").await
            });
        }
        let answers = uses.join_all().await;
        let reached = answers.iter().filter(|answer| answer.status == 200).count();
        // On a busy machine the store may be late for some; they are not let in either.
        let (late, refused): (Vec<_>, Vec<_>) = answers
            .iter()
            .filter(|answer| answer.status != 200)
            .partition(|answer| answer.status == 503);
        for answer in &refused {
            assert_refused("dp_rep_03", answer, REPLAYED);
        }
        // The one itself, too, may have waited too long for the answer.
        let (least, late) = (usize::from(late.is_empty()), late.len());
        assert!((least..=1).contains(&reached), "{reached} in round {round}, {late} late");
    }
    let used = bench.traces().await.iter().filter(|key| key.contains(":dpop:jti:")).count();
    assert_eq!(used, 3 + 3);
    let mut connection = bench.world.database.superuser().await;
    let opened = "select count(*) from event where kind like '%session.opened%'";
    let opened: i64 = sqlx::query_scalar(opened).fetch_one(&mut connection).await.unwrap();
    assert_eq!(opened, 1);
    let first = bench.get(&one, BOOTSTRAP, &proof).await;
    assert_eq!(first.status, 200, "a proof that was not used is good: {first:?}");
    for service in [&one, &two, &three] {
        let again = bench.get(service, BOOTSTRAP, &proof).await;
        assert_refused("dp_rep_19 a gateway's retry", &again, REPLAYED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_11_19_a_proof_is_used_up_whatever_its_handler_answers() {
    let bench = Bench::start().await;
    let service = bench.world.service_with(&[("DPOP_NONCE", "off")]).await;
    let proof = bench.proof(&bench.claims(&service, BOOTSTRAP));
    assert_eq!(bench.get(&service, BOOTSTRAP, &proof).await.status, 200);
    for (case, method, path, query, body, status) in [
        ("400", "GET", "/alerts", "?limit=0", "", 400),
        ("404", "POST", "/alerts/alr_none/acknowledge", "", "{}", 404),
        ("a body that is none", "POST", "/alerts/alr_none/acknowledge", "", "{", 400),
    ] {
        let claims = with(bench.claims(&service, path), "htm", json!(method));
        let mut lines = bench.lines();
        lines.push(line("authorization", format!("DPoP {}", bench.token())));
        lines.push(line("dpop", bench.proof(&claims)));
        lines.push(line("x-idempotency-key", key()));
        lines.push(line("content-type", "application/json"));
        let target = format!("{method} /bff/backoffice/v1{path}{query}");
        let answer = exchange(&service.url, &target, &lines, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        let retried = exchange(&service.url, &target, &lines, body.as_bytes()).await;
        assert_refused(case, &retried, REPLAYED);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_20_a_stream_does_not_come_back_with_the_proof_that_opened_it() {
    let world = World::start().await;
    let service = world.service().await;
    let mut desktop = desktop(&world).await;
    assert_eq!(desktop.get(&service, BOOTSTRAP).await.status, StatusCode::OK);
    for path in ["/live", "/sse/stream"] {
        let proof = desktop.proof(&service, &Method::GET, path);
        let opened = desktop.send_with_proof(&service, path, None, &proof).await;
        assert_eq!(opened.status(), StatusCode::OK);
        drop(opened);
        let again = desktop.send_with_proof(&service, path, None, &proof).await;
        assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
        let problem: Value = again.json().await.unwrap();
        assert_eq!(problem["code"], "MELMASTOON.AUTH.PROOF_REPLAYED");
    }
}

/// A failover that loses the last write may let one proof in twice. What it asked for still happens
/// once: the idempotency key is kept in Postgres.
#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_15_a_replay_after_a_lost_write_has_no_second_effect() {
    let world = World::start().await;
    let service = world.service_with(&[("DPOP_NONCE", "off")]).await;
    let mut desktop = desktop(&world).await;
    let alert_id = raised(&world, &mut desktop, &service).await;

    let path = path(&alert_id);
    let (key, body) = (key(), json!({}));
    let proof = desktop.proof(&service, &Method::POST, &path);
    let before = used(&world).await;
    let send = async || {
        let sent = desktop.send_with_proof(&service, &path, Some((&key, &body)), &proof).await;
        (sent.status(), sent.bytes().await.unwrap())
    };
    let first = send().await;
    assert_eq!(first.0, StatusCode::OK);
    for lost in used(&world).await.iter().filter(|key| !before.contains(key)) {
        world.session_tier.command(&["DEL", lost]).await;
    }
    let replayed = send().await;

    assert_eq!(replayed, first, "the answer of the first");
    assert_eq!(effects(&world, &alert_id).await, 1);
}

async fn desktop(world: &World) -> Desktop {
    Desktop::sign_in(world, &world.simulator.tenant_ids()[0], json!({})).await
}

async fn used(world: &World) -> Vec<String> {
    let keys = world.session_tier.keys().await;
    keys.into_iter().filter(|key| key.contains(":dpop:jti:")).collect()
}
