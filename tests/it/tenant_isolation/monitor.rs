//! Every key that a running service touches is one tenant's or one of the few global ones.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures::StreamExt;
use redis::aio::ConnectionManager;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use ulid::Ulid;

use super::client::{Client, Wish, raise, until_listed};
use crate::support::{platform::revoke, redis::RedisServer, service::World, wait};

/// The keys that belong to no tenant, whole or up to an id that follows.
const GLOBAL: [&str; 13] = [
    "g:revocations",
    "g:supersede",
    "g:refresh-hints",
    "g:live:wake:",
    "g:dpop:jti:",
    "g:dpop:epoch",
    "g:session:due",
    "g:fences:since",
    "g:memberships",
    "g:recompose",
    "g:recompose:again",
    "g:snapshots",
    "bff-backoffice-flags",
];

#[tokio::test(flavor = "multi_thread")]
async fn ti_31_no_key_is_touched_without_its_tenant_before_it() {
    let world = World::start().await;
    let mut monitors = JoinSet::new();
    let seen = [
        watch(&world.session_tier, &mut monitors).await,
        watch(&world.cache_tier, &mut monitors).await,
    ];
    let service = world.service().await;
    let tenants = world.simulator.tenant_ids();
    for tenant in &tenants[..2] {
        let mut client = Client::sign_in(&world, tenant, &json!({})).await;
        raise(&world, &client, "alr_1", "watched").await;
        until_listed(&service, &mut client, "alr_1").await;
        for wish in every_route(client.property()) {
            client.send(&service, &wish).await;
        }
        // One of the routes was the sign-out.
        let mut client = Client::sign_in(&world, tenant, &json!({})).await;
        world.cache_tier.command(&["FLUSHALL"]).await;
        until_listed(&service, &mut client, "alr_1").await;
        revoke(&world, (tenant, client.text("operatorId")), "admin").await;
        wait::until("the operator is out", async || {
            client.ask(&service, &Wish::get("/bootstrap")).await.status == 401
        })
        .await;
    }
    drop(service);
    for view in ["alert-inbox", "device-sync-status", "session-map"] {
        let _ = world.run(&["rebuild", view]);
    }

    let mut keys = BTreeSet::new();
    for (server, lines) in [&world.session_tier, &world.cache_tier].into_iter().zip(&seen) {
        let lines = std::mem::take(&mut *lines.lock().unwrap());
        assert!(lines.len() > 20, "{lines:?}");
        let mut connection = server.connect().await.shared();
        for words in BTreeSet::from_iter(lines) {
            keys.extend(keys_of(&mut connection, &words).await);
        }
        keys.extend(server.keys().await);
    }
    assert!(keys.len() > 10, "{keys:?}");
    let strays: Vec<&String> = keys.iter().filter(|key| !is_owned(key)).collect();
    assert_eq!(strays, Vec::<&String>::new());
}

/// Each route that there is, once.
fn every_route(property_id: &str) -> Vec<Wish> {
    let document: serde_json::Value =
        serde_json::from_str(include_str!("../../../schemas/openapi.json")).unwrap();
    let mut wishes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(path) = path.strip_prefix("/bff/backoffice/v1") else { continue };
        for method in methods.as_object().unwrap().keys() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace("{id}", "alr_1").replace("/live/poll", "/live/poll?waitMs=0");
            let is_mutation = method != Method::GET;
            let wish = Wish { method, path, ..Wish::default() };
            let mut wish = wish.with("x-property-id", property_id);
            if is_mutation {
                wish = wish.with("x-idempotency-key", Ulid::generate().to_string());
                wish.body = Some(json!({}));
            }
            wishes.push(wish);
        }
    }
    assert!(wishes.len() >= 5, "{wishes:?}");
    wishes
}

fn is_owned(key: &str) -> bool {
    let of_tenant = key.strip_prefix("{tnt_").is_some_and(|rest| {
        rest.len() > 28 && rest.is_char_boundary(26) && rest[26..].starts_with("}:")
    });
    of_tenant || GLOBAL.iter().any(|global| key == *global || is_below(key, global))
}

fn is_below(key: &str, global: &str) -> bool {
    global.ends_with(':') && key.starts_with(global)
}

/// Collects every command that the server gets from now on, scripts' own commands included.
async fn watch(server: &RedisServer, monitors: &mut JoinSet<()>) -> Arc<Mutex<Vec<Vec<String>>>> {
    let client = redis::Client::open(server.url()).unwrap();
    let monitor = client.get_async_monitor().await.unwrap();
    let seen: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
    let collected = Arc::clone(&seen);
    monitors.spawn(async move {
        let mut lines = Box::pin(monitor.into_on_message::<String>());
        while let Some(line) = lines.next().await {
            collected.lock().unwrap().push(words_of(&line));
        }
    });
    seen
}

/// The quoted words of a line of MONITOR: `1700000000.000001 [0 127.0.0.1:1] "GET" "key"`.
fn words_of(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (&mut word, character) {
            (None, '"') => word = Some(String::new()),
            (None, _) => (),
            (Some(text), '\\') => text.push(characters.next().unwrap_or('\\')),
            (Some(_), '"') => words.extend(word.take()),
            (Some(text), _) => text.push(character),
        }
    }
    words
}

/// The keys of a command, as the server itself finds them.
async fn keys_of(connection: &mut ConnectionManager, words: &[String]) -> Vec<String> {
    let mut command = redis::cmd("COMMAND");
    command.arg("GETKEYS").arg(words);
    // An error means a command without keys.
    command.query_async(connection).await.unwrap_or_default()
}

#[test]
fn ti_31_lines_of_the_monitor_are_read_word_by_word() {
    let line = r#"1700000000.1 [0 lua] "SET" "{tnt_1}:a" "say \"it\"""#;
    assert_eq!(words_of(line), ["SET", "{tnt_1}:a", "say \"it\""]);
    assert!(is_owned("{tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY}:fence:tenant"));
    for stray in [
        "session:1",
        "{tnt_1}:a",
        "g:other",
        "g:revocations2",
        "mfa:x",
        "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY:a",
    ] {
        assert!(!is_owned(stray), "{stray}");
    }
}
