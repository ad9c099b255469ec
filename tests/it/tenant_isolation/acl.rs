//! The service runs under the Redis user of `ops/redis/users.acl`, which reaches nothing it has no
//! business with.

use std::collections::BTreeMap;

use redis::Client as RedisClient;
use serde_json::json;
use ulid::Ulid;

use super::client::{Client, Wish, raise, until_listed};
use crate::support::{redis::RedisServer, service::World};

/// Shipped with the service; passwords are set by who runs it.
const USERS: &str = include_str!("../../../ops/redis/users.acl");
const PASSWORD: &str = "of-this-test";

/// Puts the shipped rules in force and answers a URL of the service's user.
async fn restrict(server: &RedisServer) -> String {
    let rules = USERS.lines().find_map(|line| line.strip_prefix("user backoffice ")).unwrap();
    let mut command = vec!["ACL", "SETUSER", "backoffice"];
    command.extend(rules.split_whitespace());
    let password = format!(">{PASSWORD}");
    command.extend(["on", &password]);
    server.command(&command).await;
    server.url().replace("redis://", &format!("redis://backoffice:{PASSWORD}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ti_35_the_service_does_its_work_under_the_shipped_rules() {
    let world = World::start().await;
    let session_url = restrict(&world.session_tier).await;
    let cache_url = restrict(&world.cache_tier).await;
    let service = world
        .service_changed(|command| {
            command.env("REDIS_SESSION_URL", session_url).env("REDIS_CACHE_URL", cache_url);
        })
        .await;
    let mut client = Client::sign_in(&world, &world.simulator.tenant_ids()[0], &json!({})).await;

    raise(&world, &client, "alr_1", "under the rules").await;
    until_listed(&service, &mut client, "alr_1").await;
    let wish = Wish::post("/alerts/alr_1/acknowledge", Ulid::generate().to_string(), json!({}));
    let answer = client.ask(&service, &wish).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let bootstrap = client.ask(&service, &Wish::get("/bootstrap")).await.body;
    let property = bootstrap["propertyIds"][0].as_str().unwrap();
    let (dashboard, board) =
        (format!("/dashboard?propertyId={property}"), format!("/today?propertyId={property}"));
    for path in
        ["/alerts", "/live/poll?waitMs=0", "/alerts?state=acknowledged", &dashboard, &board, &board]
    {
        let answer = client.ask(&service, &Wish::get(path)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
    // Lost views and streams are built again, which needs every script.
    for server in [&world.cache_tier, &world.session_tier] {
        server.command(&["FLUSHALL"]).await;
        server.command(&["SCRIPT", "FLUSH"]).await;
    }
    until_listed(&service, &mut client, "alr_1").await;
    let live = client.send(&service, &Wish::get("/live")).await;
    assert_eq!(live.status(), 200);
    for server in [&world.session_tier, &world.cache_tier] {
        assert_eq!(refusals(server).await, Vec::<String>::new());
    }
}

/// What the server refused by its rules: each is a command the service would miss.
async fn refusals(server: &RedisServer) -> Vec<String> {
    let log = server.command(&["ACL", "LOG"]).await;
    let entries: Vec<BTreeMap<String, redis::Value>> = redis::from_redis_value(log).unwrap();
    let text = |entry: &BTreeMap<String, redis::Value>, name: &str| {
        entry.get(name).map(|value| format!("{value:?}")).unwrap_or_default()
    };
    entries
        .iter()
        .map(|entry| format!("{} {}", text(entry, "reason"), text(entry, "object")))
        // Newer servers have it, older ones say it is unknown; the client goes on either way.
        .filter(|refusal| !refusal.contains("client|setinfo"))
        .collect()
}

#[tokio::test]
async fn ti_35_what_shows_or_reaches_beyond_a_tenants_keys_is_denied() {
    let server = RedisServer::start().await;
    let url = restrict(&server).await;
    let own = format!("{{tnt_{}}}:session:x", Ulid::generate());
    server.command(&["SET", &own, "1"]).await;
    server.command(&["SET", "elsewhere", "1"]).await;
    server.command(&["SET", "bff-backoffice-flags", "{}"]).await;
    let sha = server.command(&["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]).await;
    let sha: String = redis::from_redis_value(sha).unwrap();
    let mut connection =
        RedisClient::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();

    for allowed in [
        format!("GET {own}"),
        "GET bff-backoffice-flags".to_owned(),
        "XADD g:revocations * a b".to_owned(),
        format!("EVALSHA {sha} 1 {own}"),
        "INFO memory".to_owned(),
        "TIME".to_owned(),
    ] {
        let done = words(&allowed).query_async::<redis::Value>(&mut connection).await;
        assert!(done.is_ok(), "{allowed}: {done:?}");
    }
    for denied in [
        "GET elsewhere".to_owned(),
        "SET elsewhere 2".to_owned(),
        "SET tnt_x:a 1".to_owned(),
        "SET bff-backoffice-flags 1".to_owned(),
        format!("EVALSHA {sha} 1 elsewhere"),
        format!("RENAME {own} elsewhere"),
        format!("COPY {own} elsewhere"),
        "KEYS *".to_owned(),
        "SCAN 0".to_owned(),
        "RANDOMKEY".to_owned(),
        "DBSIZE".to_owned(),
        "FLUSHDB".to_owned(),
        "FLUSHALL".to_owned(),
        "SWAPDB 0 1".to_owned(),
        "SELECT 1".to_owned(),
        format!("MOVE {own} 1"),
        "EVAL return 0".to_owned(),
        "FUNCTION LIST".to_owned(),
        "FCALL f 0".to_owned(),
        "SCRIPT FLUSH".to_owned(),
        "CONFIG GET requirepass".to_owned(),
        "MONITOR".to_owned(),
        "ACL LIST".to_owned(),
        "CLIENT LIST".to_owned(),
        "CLIENT KILL TYPE normal".to_owned(),
        "REPLICAOF NO ONE".to_owned(),
        "SHUTDOWN NOSAVE".to_owned(),
        "SAVE".to_owned(),
        format!("SORT {own}"),
        format!("MIGRATE 127.0.0.1 1 {own} 0 1"),
        "SUBSCRIBE *".to_owned(),
        "PSUBSCRIBE *".to_owned(),
        "PUBLISH any 1".to_owned(),
    ] {
        let done = words(&denied).query_async::<redis::Value>(&mut connection).await;
        let Err(error) = done else { panic!("{denied} was allowed") };
        assert_eq!(error.code(), Some("NOPERM"), "{denied}: {error}");
    }
    let kept = server.command(&["GET", "elsewhere"]).await;
    assert_eq!(redis::from_redis_value::<String>(kept).unwrap(), "1");
}

fn words(line: &str) -> redis::Cmd {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command
}
