use std::{collections::BTreeMap, process::Command, time::Duration};

use backoffice::views::{
    Applied, Building, Redis, SwapOutcome, View,
    view::{self, Checkpoints},
    wait_for_replica,
};
use events::TenantId;
use projections::{AlertInbox, Fact, Projection, alert_inbox::Alert};

use crate::support::{
    facts::{acknowledged, property, raised, tenant},
    redis::RedisServer,
};

#[tokio::test]
async fn live_facts_never_create_a_view() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;

    let applied = apply(&redis, &tenant, &[raised(&tenant, 1, "p1", "a1")]).await;

    assert_eq!(applied, Applied::Missing);
    assert!(server.keys().await.is_empty());
    assert!(alerts(&redis, &tenant).await.is_none());
}

#[tokio::test]
async fn an_empty_view_is_a_view() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;

    build(&redis, &tenant, &[]).await;

    assert_eq!(alerts(&redis, &tenant).await, Some(Vec::new()));
}

#[tokio::test]
async fn facts_are_folded_into_a_view_once_however_often_they_are_applied() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    build(&redis, &tenant, &[]).await;
    let inbox = [raised(&tenant, 3, "p1", "a1"), raised(&tenant, 5, "p1", "a2")];
    let ledger = [acknowledged(&tenant, 9, "p1", "a1")];

    assert_eq!(apply(&redis, &tenant, &inbox).await, Applied::Folded);
    assert_eq!(apply(&redis, &tenant, &ledger).await, Applied::Folded);
    assert_eq!(apply(&redis, &tenant, &inbox).await, Applied::Already);
    assert_eq!(apply(&redis, &tenant, &inbox[..1]).await, Applied::Already);

    let found = alerts(&redis, &tenant).await.unwrap();
    assert_eq!(found, fold(inbox.iter().chain(&ledger)));
    let content = view(&redis, &tenant).read(&mut redis.shared()).await.unwrap().unwrap();
    assert_eq!(content.checkpoints, Checkpoints { ledger: 9, inbox: 5 });
}

#[tokio::test]
async fn a_view_is_missing_after_a_flush_and_after_the_server_started_again() {
    let (mut server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;

    build(&redis, &tenant, &[raised(&tenant, 1, "p1", "a1")]).await;
    server.command(&["FLUSHALL"]).await;
    assert!(alerts(&redis, &tenant).await.is_none());

    build(&redis, &tenant, &[raised(&tenant, 1, "p1", "a1")]).await;
    server.kill();
    server.start_again().await;
    let redis = server.connect().await;
    assert!(!server.keys().await.is_empty(), "the server kept what it had on disk");
    assert!(alerts(&redis, &tenant).await.is_none());
    let applied = apply(&redis, &tenant, &[raised(&tenant, 2, "p1", "a2")]).await;
    assert_eq!(applied, Applied::Missing);
}

#[tokio::test]
async fn a_view_of_another_recovery_epoch_is_missing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    build(&redis, &tenant, &[]).await;

    assert!(alerts(&redis.clone().with_recovery_epoch(1), &tenant).await.is_none());
    assert!(alerts(&redis, &tenant).await.is_some());
}

#[tokio::test]
async fn a_build_waits_for_what_the_lane_passed_while_the_view_was_missing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    let mut building = start_building(&redis, &tenant).await.unwrap();

    let passed = [raised(&tenant, 7, "p1", "a1")];
    assert_eq!(apply(&redis, &tenant, &passed).await, Applied::Missing);

    building.fill(&mut redis.shared(), &BTreeMap::new()).await.unwrap();
    let early = building.swap(&mut redis.shared(), Checkpoints::default()).await.unwrap();
    assert_eq!(early, SwapOutcome::Behind);
    assert!(alerts(&redis, &tenant).await.is_none(), "nobody sees a view that is behind");
    building.fill(&mut redis.shared(), &items(&passed)).await.unwrap();
    let checkpoints = Checkpoints { ledger: 0, inbox: 7 };
    let late = building.swap(&mut redis.shared(), checkpoints).await.unwrap();
    assert_eq!(late, SwapOutcome::Swapped);
    assert_eq!(alerts(&redis, &tenant).await, Some(fold(&passed)));
}

#[tokio::test]
async fn a_build_never_puts_an_older_view_in_the_place_of_a_newer_one() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    build(&redis, &tenant, &[raised(&tenant, 1, "p1", "a1")]).await;
    let mut building = start_building(&redis, &tenant).await.unwrap();
    building.fill(&mut redis.shared(), &BTreeMap::new()).await.unwrap();

    apply(&redis, &tenant, &[raised(&tenant, 2, "p1", "a2")]).await;

    let checkpoints = Checkpoints { ledger: 0, inbox: 1 };
    let outcome = building.swap(&mut redis.shared(), checkpoints).await.unwrap();
    assert_eq!(outcome, SwapOutcome::Behind);
    assert_eq!(alerts(&redis, &tenant).await.unwrap().len(), 2);
}

#[tokio::test]
async fn one_builder_at_a_time_and_an_evicted_build_is_lost_as_a_whole() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    let mut building = start_building(&redis, &tenant).await.unwrap();
    assert!(start_building(&redis, &tenant).await.is_none());
    let facts: Vec<Fact> = (1..=600).map(|n| raised(&tenant, n, "p1", &format!("a{n}"))).collect();
    assert!(building.fill(&mut redis.shared(), &items(&facts[..550])).await.unwrap());

    server.command(&["FLUSHALL"]).await;

    assert!(!building.fill(&mut redis.shared(), &items(&facts[550..])).await.unwrap());
    let checkpoints = Checkpoints { ledger: 0, inbox: 600 };
    let outcome = building.swap(&mut redis.shared(), checkpoints).await.unwrap();
    assert_eq!(outcome, SwapOutcome::Lost);
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn an_abandoned_build_leaves_nothing_behind() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    let mut building = start_building(&redis, &tenant).await.unwrap();
    building.fill(&mut redis.shared(), &BTreeMap::new()).await.unwrap();

    building.abandon(&mut redis.shared()).await.unwrap();

    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn tenants_with_the_same_property_and_alert_do_not_mix() {
    let (server, one, other) = (RedisServer::start().await, tenant(), tenant());
    let redis = server.connect().await;
    build(&redis, &one, &[]).await;
    build(&redis, &other, &[]).await;

    apply(&redis, &one, &[raised(&one, 1, "p1", "a1")]).await;

    assert_eq!(alerts(&redis, &one).await.unwrap().len(), 1);
    assert_eq!(alerts(&redis, &other).await, Some(Vec::new()));
    for key in server.keys().await {
        assert!(
            key.starts_with(&format!("{{{one}}}:")) || key.starts_with(&format!("{{{other}}}:")),
            "{key}"
        );
    }
}

#[tokio::test]
async fn an_unreadable_view_is_dropped_and_counts_as_missing() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let redis = server.connect().await;
    build(&redis, &tenant, &[]).await;
    let key = view(&redis, &tenant).key().as_str().to_owned();
    server.command(&["HSET", &key, "a1", "not json"]).await;

    assert!(alerts(&redis, &tenant).await.is_none());

    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn where_there_is_a_replica_a_write_counts_when_the_replica_has_it() {
    let primary = RedisServer::start().await;
    let redis = primary.connect().await;
    let mut connection = redis.blocking(Duration::from_secs(5)).await.unwrap();
    wait_for_replica(&mut connection, Duration::from_millis(50)).await.unwrap();

    let replica = primary.start_replica().await;
    crate::support::wait::until("the replica follows", async || {
        let info = primary.command(&["INFO", "replication"]).await;
        redis::from_redis_value::<String>(info).unwrap().contains("state=online")
    })
    .await;
    redis::cmd("SET").arg("k").arg(1).exec_async(&mut connection).await.unwrap();
    wait_for_replica(&mut connection, Duration::from_secs(5)).await.unwrap();
    assert_eq!(replica.keys().await, ["k"]);

    let stopped = Command::new("kill").args(["-STOP", &replica.process_id().to_string()]).status();
    assert!(stopped.unwrap().success());
    redis::cmd("SET").arg("k").arg(2).exec_async(&mut connection).await.unwrap();
    let confirmed = wait_for_replica(&mut connection, Duration::from_millis(100)).await;
    assert!(confirmed.is_err());
}

async fn alerts(redis: &Redis, tenant: &TenantId) -> Option<Vec<Alert>> {
    view::list::<AlertInbox>(redis, tenant, &property("p1")).await.unwrap()
}

async fn apply(redis: &Redis, tenant: &TenantId, facts: &[Fact]) -> Applied {
    let facts: Vec<&Fact> = facts.iter().collect();
    view(redis, tenant).apply(&mut redis.shared(), &facts).await.unwrap()
}

async fn build(redis: &Redis, tenant: &TenantId, facts: &[Fact]) {
    let mut building = start_building(redis, tenant).await.unwrap();
    let mut checkpoints = Checkpoints::default();
    for fact in facts {
        checkpoints.advance(fact.log, fact.position);
    }
    assert!(building.fill(&mut redis.shared(), &items(facts)).await.unwrap());
    let outcome = building.swap(&mut redis.shared(), checkpoints).await.unwrap();
    assert_eq!(outcome, SwapOutcome::Swapped);
}

async fn start_building(redis: &Redis, tenant: &TenantId) -> Option<Building<AlertInbox>> {
    Building::try_start(&mut redis.shared(), view(redis, tenant)).await.unwrap()
}

fn view(redis: &Redis, tenant: &TenantId) -> View<AlertInbox> {
    View::of(redis, tenant, &property("p1"))
}

fn fold<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> Vec<Alert> {
    items(facts).into_values().collect()
}

fn items<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> BTreeMap<String, Alert> {
    facts.into_iter().fold(BTreeMap::new(), |mut items, fact| {
        let route = AlertInbox::route(fact).unwrap();
        let item = AlertInbox::evolve(items.remove(&route.item_id), fact);
        items.insert(route.item_id, item);
        items
    })
}
