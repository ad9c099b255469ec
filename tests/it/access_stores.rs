//! The session tier lost, slow, full, emptied and measured: nobody enters twice, and nobody is
//! called invalid for it.

use std::time::Duration;

use backoffice::access::{NonceMode, Reason, Settings};
use chrono::TimeDelta;
use redis::Value as Answer;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    access_bench::{BOOTSTRAP, Bench, assert_refused, send},
    access_keys::with,
    access_world::{Setup, World, code, failing_fetch, opening, reason, settings},
    support::{
        port,
        proxy::Proxy,
        redis::RedisServer,
        service::Service,
        wait,
        wire::{RawAnswer, line},
    },
};

/// A server that answers every command with one error, as long as it is held.
async fn refusing(error: &'static str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut request = vec![0; 1 << 16];
                while let Ok(read @ 1..) = connection.read(&mut request).await {
                    // Each command begins with the number of its words.
                    let commands = String::from_utf8_lossy(&request[..read]).matches('*').count();
                    let answer = format!("-{error}\r\n").repeat(commands);
                    if connection.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, tasks)
}

#[tokio::test]
async fn dp_rep_13_a_store_that_cannot_say_whether_a_proof_was_used_lets_nobody_in() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("redis://{}", silent.local_addr().unwrap());
    let mut servers =
        vec![("down", format!("redis://127.0.0.1:{}", port::free())), ("silent", silent_url)];
    let mut held = Vec::new();
    for error in [
        "LOADING Redis is loading the dataset in memory",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MISCONF Redis is configured to save RDB snapshots, but is unable to persist on disk.",
        "BUSY Redis is busy running a script.",
        "NOAUTH Authentication required.",
        "ERR unknown",
    ] {
        let (url, tasks) = refusing(error).await;
        held.push(tasks);
        servers.push((error, url));
    }
    for (case, redis_url) in servers {
        for nonce_mode in [NonceMode::Off, NonceMode::Required] {
            let store_timeout = Duration::from_millis(50);
            let settings = Settings { store_timeout, nonce_mode, ..settings() };
            let world =
                World::with(Setup { settings, redis_url: redis_url.clone(), ..Setup::default() });
            let refusal = world.enter_anew().await.unwrap_err();
            assert!(matches!(refusal.reason, Reason::Unavailable("session tier")), "{case}");
            assert_eq!(refusal.reason.status(), 503, "{case}");
            assert_eq!(refusal.challenge(), None, "{case}");
            assert_eq!(refusal.nonce, None, "{case}");
        }
    }
}

#[tokio::test]
async fn dp_prec_08_without_the_issuers_keys_nobody_is_called_invalid() {
    let world = World::with(Setup { fetch: failing_fetch(), ..Setup::default() });
    assert!(matches!(reason(world.enter_anew().await), Reason::Unavailable("token issuer")));
    assert!(!world.gate.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_13_every_failure_of_the_session_tier_is_a_503_and_heals_over_http() {
    let mut bench = Bench::start().await;
    let variables = [("DPOP_NONCE", "off"), ("SESSION_TIER_TIMEOUT", "500ms")];
    let service = bench.world.service_with(&variables).await;
    let tier = &bench.world.session_tier;
    let pid = tier.process_id().to_string();
    let signal = |name: &str| {
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };

    signal("-STOP");
    assert_unavailable("slow", &ask(&bench, &service).await);
    signal("-CONT");
    recovers(&bench, &service).await;

    tier.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_unavailable("full", &ask(&bench, &service).await);
    tier.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    recovers(&bench, &service).await;

    tier.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_unavailable("a replica", &ask(&bench, &service).await);
    tier.command(&["REPLICAOF", "NO", "ONE"]).await;
    recovers(&bench, &service).await;

    bench.world.session_tier.kill();
    assert_unavailable("down", &ask(&bench, &service).await);
    bench.world.session_tier.start_again().await;
    recovers(&bench, &service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_tier_is_waited_for_as_long_as_its_timeout_says() {
    let bench = Bench::start().await;
    let variables = [("DPOP_NONCE", "off"), ("SESSION_TIER_TIMEOUT", "2s")];
    let service = bench.world.service_with(&variables).await;

    // Longer than anybody else waits for it.
    bench.world.session_tier.command(&["CLIENT", "PAUSE", "800", "ALL"]).await;

    assert_eq!(ask_for(&bench, &service, "/session").await.status, 200);
}

async fn ask(bench: &Bench, service: &Service) -> RawAnswer {
    ask_for(bench, service, BOOTSTRAP).await
}

async fn ask_for(bench: &Bench, service: &Service, path: &str) -> RawAnswer {
    let proof = bench.proof(&bench.claims(service, path));
    bench.get(service, path, &proof).await
}

async fn recovers(bench: &Bench, service: &Service) {
    wait::until("requests are let in again", || async { ask(bench, service).await.status == 200 })
        .await;
}

fn assert_unavailable(case: &str, answer: &RawAnswer) {
    assert_eq!(answer.status, 503, "{case}: {answer:?}");
    assert_eq!(answer.code(), "MELMASTOON.BFF.DEPENDENCY_UNAVAILABLE", "{case}");
    assert_eq!(answer.all("retry-after"), ["1"], "{case}");
    assert!(answer.all("www-authenticate").is_empty(), "{case}");
    assert!(answer.all("dpop-nonce").is_empty(), "{case}");
}

#[tokio::test]
async fn who_needs_a_nonce_that_the_session_tier_does_not_give_is_told_that_it_is_away() {
    let server = RedisServer::start().await;
    let proxy = Proxy::start(server.url().trim_start_matches("redis://").to_owned()).await;
    let world = World::with(Setup {
        settings: Settings { nonce_mode: NonceMode::Required, ..settings() },
        redis_url: format!("redis://{}", proxy.address),
        ..Setup::default()
    });
    let token = world.token();
    let bare = world.proof_claims(&token);
    let nonce = world.enter(&token, &world.proof_of(&bare)).await.unwrap_err().nonce.unwrap();
    let proof = world.proof_of(&with(bare, "nonce", json!(nonce)));
    // The nonce's epoch is over, and which has begun is not heard.
    server.command(&["FLUSHALL"]).await;
    let epoch = format!("{{{}}}:dpop:epoch", world.tenant_id);
    let only_key = format!("$1\r\n1\r\n${}\r\n{epoch}", epoch.len());
    proxy.lose_the_answer_to(only_key.as_bytes());

    let refusal = world.enter(&token, &proof).await.unwrap_err();

    assert!(matches!(refusal.reason, Reason::Unavailable("session tier")), "{refusal:?}");
    assert_eq!(refusal.nonce, None);
}

/// Without nonces a store that was emptied is a residual risk, no longer than a proof is timely.
/// With them it is none.
#[tokio::test]
async fn dp_rep_14_an_emptied_store_takes_no_used_proof_with_nonces_and_none_for_long_without() {
    let server = RedisServer::start().await;
    let setup = |nonce_mode| Setup {
        settings: Settings { nonce_mode, ..settings() },
        redis_url: server.url(),
        ..Setup::default()
    };

    let world = World::with(setup(NonceMode::Required));
    let token = world.token();
    let bare = world.proof_claims(&token);
    let nonce = world.enter(&token, &world.proof_of(&bare)).await.unwrap_err().nonce.unwrap();
    let used = world.proof_of(&with(bare, "nonce", json!(nonce)));
    opening(world.enter(&token, &used).await);
    let unused = world.proof_of(&with(world.proof_claims(&token), "nonce", json!(nonce)));
    server.command(&["FLUSHALL"]).await;
    for proof in [&used, &unused, &used] {
        let refusal = world.enter(&token, proof).await.unwrap_err();
        assert!(matches!(refusal.reason, Reason::NonceRequired), "{refusal:?}");
        let fresh = refusal.nonce.unwrap();
        assert_ne!(fresh, nonce, "of the new epoch");
        let renewed = with(world.proof_claims(&token), "nonce", json!(fresh));
        opening(world.enter(&token, &world.proof_of(&renewed)).await);
    }

    let world = World::with(setup(NonceMode::Off));
    let token = world.token();
    let proof = world.proof(&token);
    opening(world.enter(&token, &proof).await);
    server.command(&["FLUSHALL"]).await;
    world.clock.advance(TimeDelta::seconds(61));
    assert_eq!(code(world.enter(&token, &proof).await), "MELMASTOON.AUTH.PROOF_INVALID");
}

#[tokio::test]
async fn dp_rep_14_every_instance_notices_that_the_store_was_emptied() {
    let server = RedisServer::start().await;
    let setup = || Setup {
        settings: Settings { nonce_mode: NonceMode::Required, ..settings() },
        redis_url: server.url(),
        ..Setup::default()
    };
    let first = World::with(setup());
    let fetch = crate::access_world::serving(
        &json!({ "keys": [crate::access_world::issuer_jwk(&first.issuer)] }),
    );
    let issuer = first.issuer.clone();
    let mut second = World::with(Setup { issuer, fetch, ..setup() });
    second.tenant_id = first.tenant_id.clone();
    second.device = first.device.clone();
    let token = first.token();
    let nonce = first.enter_anew().await.unwrap_err().nonce.unwrap();
    let with_nonce = |nonce: &str| {
        let claims = with(first.proof_claims(&token), "nonce", json!(nonce));
        first.proof_of(&with(claims, "jti", json!(ulid::Ulid::generate().to_string())))
    };
    let used = with_nonce(&nonce);
    opening(second.enter(&token, &used).await);
    opening(first.enter(&token, &with_nonce(&nonce)).await);

    server.command(&["FLUSHALL"]).await;

    let refusal = first.enter(&token, &used).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::NonceRequired));
    let fresh = refusal.nonce.unwrap();
    opening(first.enter(&token, &with_nonce(&fresh)).await);
    // The other instance believes in the old epoch until somebody shows it the new one.
    opening(second.enter(&token, &with_nonce(&fresh)).await);
    let refusal = second.enter(&token, &used).await.unwrap_err();
    assert!(matches!(refusal.reason, Reason::NonceRequired));
}

#[tokio::test]
async fn dp_rep_16_a_used_proof_takes_no_more_memory_than_planned() {
    const PROOFS: i64 = 2000;
    /// A thousand requests a second for the five minutes of an entry are 75 MB then.
    const BYTES_MAX: i64 = 250;
    let server = RedisServer::start().await;
    let world = World::with(Setup { redis_url: server.url(), ..Setup::default() });
    let token = world.token();
    opening(world.enter(&token, &world.proof(&token)).await);
    let before = used_memory(&server).await;
    for _ in 0..PROOFS {
        opening(world.enter(&token, &world.proof(&token)).await);
    }
    let each = (used_memory(&server).await - before) / PROOFS;
    let keys = server.keys().await;
    let key = keys.iter().find(|key| key.contains(":dpop:jti:")).unwrap();
    let Answer::Int(entry) = server.command(&["MEMORY", "USAGE", key]).await else {
        panic!("MEMORY USAGE answers a number")
    };
    println!("{each} bytes a used proof with its share of the tables, {entry} of its own");
    assert!(entry <= each, "{entry} of {each}");
    assert!((100..=BYTES_MAX).contains(&each), "{each} bytes");
}

async fn used_memory(server: &RedisServer) -> i64 {
    let info: String = redis::from_redis_value(server.command(&["INFO", "memory"]).await).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
    line.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_rep_17_an_instance_whose_session_tier_evicts_is_not_ready() {
    let bench = Bench::start().await;
    let service = bench.world.service().await;
    let ready = format!("{}/health/ready", service.root_url);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = async || http.get(&ready).send().await.unwrap().status().as_u16();
    let tier = &bench.world.session_tier;
    for policy in ["allkeys-lru", "volatile-ttl"] {
        tier.command(&["CONFIG", "SET", "maxmemory-policy", policy]).await;
        wait::until(policy, async || status().await == 503).await;
    }
    tier.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    wait::until("ready again", async || status().await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dp_non_12_13_15_after_the_key_file_was_rotated_answers_bring_a_nonce_that_no_cache_keeps()
{
    let bench = Bench::start().await;
    let service = bench.world.service().await;
    let nonce = bench.nonce(&service).await;
    let under = async |service: &Service, nonce: &str| {
        let claims = with(bench.claims(service, BOOTSTRAP), "nonce", json!(nonce));
        bench.get(service, BOOTSTRAP, &bench.proof(&claims)).await
    };
    let fresh = under(&service, &nonce).await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
    assert!(fresh.all("dpop-nonce").is_empty(), "not due yet");
    drop(service);

    bench.world.rotate_secret("dpop-nonce-key");
    let service = bench.world.service().await;
    let ageing = under(&service, &nonce).await;
    assert_eq!(ageing.status, 200, "{ageing:?}");
    let [renewed] = ageing.all("dpop-nonce")[..] else { panic!("one nonce: {ageing:?}") };
    assert_ne!(renewed, nonce);
    assert_eq!(ageing.all("cache-control"), ["no-store"]);
    let renewed = renewed.to_owned();
    assert!(under(&service, &renewed).await.all("dpop-nonce").is_empty());
    drop(service);

    bench.world.rotate_secret("dpop-nonce-key");
    bench.world.rotate_secret("dpop-nonce-key");
    let service = bench.world.service().await;
    let refused = under(&service, &renewed).await;
    assert_refused("two rotations later", &refused, crate::access_bench::NO_NONCE);
    let healed = under(&service, &refused.nonce().unwrap()).await;
    assert_eq!(healed.status, 200, "one retry is enough: {healed:?}");

    let lines = [bench.lines(), vec![line("authorization", "DPoP x")]].concat();
    let unknown = send(&service, BOOTSTRAP, &lines).await;
    assert!(unknown.all("dpop-nonce").is_empty(), "none without a key to bind it to");
}
