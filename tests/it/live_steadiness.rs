//! Networks that let no stream live: which devices are told to poll, for how long, and which are not.

use std::time::Duration;

use backoffice::live::Subscription;
use chrono::TimeDelta;
use events::TenantId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    live::{TestHub, subscriber},
    support::{
        desktop::{Desktop, Live},
        facts::tenant,
        redis::RedisServer,
        service::{Service, World},
        wait,
    },
};

#[tokio::test]
async fn a_device_whose_streams_break_again_and_again_is_told_to_poll_for_a_while() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let hubs = [TestHub::start(&server).await, TestHub::start(&server).await];
    let advice = async |device: &str| hubs[1].hub.polls_for(&subscriber(&tenant, device)).await;
    for (number, broken) in (1..=3).enumerate() {
        assert_eq!(advice("d1").await, None);
        drop(hubs[number % 2].subscribe(&tenant, "d1", None).await);
        are_broken(&server, &tenant, "d1", broken).await;
        for hub in &hubs {
            hub.clock.advance(TimeDelta::seconds(10));
        }
    }

    assert_eq!(advice("d1").await, Some(Duration::from_secs(5 * 60 - 30)));
    assert_eq!(advice("d2").await, None, "another device");
    hubs[1].clock.advance(TimeDelta::seconds(5 * 60 - 31));
    assert_eq!(advice("d1").await, Some(Duration::from_secs(1)));
    hubs[1].clock.advance(TimeDelta::seconds(1));
    assert_eq!(advice("d1").await, None);
}

#[tokio::test]
async fn a_stream_that_lived_or_that_was_ended_here_is_no_sign_of_a_bad_network() {
    let (server, tenant) = (RedisServer::start().await, tenant());
    let mut hub = TestHub::start(&server).await;
    for _ in 0..3 {
        let mut ended: Subscription = hub.subscribe(&tenant, "d1", None).await;
        ended.ends_in_time();
        drop(ended);
        let lived = hub.subscribe(&tenant, "d1", None).await;
        hub.clock.advance(TimeDelta::minutes(1));
        drop(lived);
    }
    for _ in 0..2 {
        drop(hub.subscribe(&tenant, "d1", None).await);
    }
    are_broken(&server, &tenant, "d1", 2).await;
    assert_eq!(hub.hub.polls_for(&subscriber(&tenant, "d1")).await, None);

    let last = hub.subscribe(&tenant, "d1", None).await;
    hub.shut_down();
    drop(last);
    let second = TestHub::start(&server).await;
    drop(second.subscribe(&tenant, "d2", None).await);
    are_broken(&server, &tenant, "d2", 1).await;
    are_broken(&server, &tenant, "d1", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_three_times_hears_at_once_that_polls_are_better_and_they_are() {
    let world = World::start().await;
    let (first, second) = (world.service().await, world.service().await);
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
    let device = desktop.text("deviceId").to_owned();
    for broken in 1..=3 {
        drop(desktop.live(&first, "").await);
        are_broken(&world.session_tier, &tenant.parse().unwrap(), &device, broken).await;
    }

    for service in [&first, &second] {
        let told = whole_stream(&desktop, service).await;
        assert_eq!(told["kind"], "poll");
        let retry_after = told["retryAfter"].as_u64().unwrap();
        assert!((1..=300).contains(&retry_after), "{told}");
        assert!(told["nonce"].is_string(), "{told}");
    }
    let polled = desktop.get(&second, "/live/poll?waitMs=0").await;
    assert_eq!(polled.body["events"], json!([]), "{}", polled.body);
    let counted = first.metrics().await;
    assert!(counted.contains("bff_backoffice_live_broken_total 3"), "{counted}");
    assert!(counted.contains("bff_backoffice_live_polls_advised_total 1"), "{counted}");
    let mut colleague = Desktop::sign_in(&world, &tenant, json!({})).await;
    colleague.live(&first, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_something_in_between_holds_back_count_as_broken_when_newer_ones_come() {
    let world = World::start().await;
    let service = world.service().await;
    let tenant = world.simulator.tenant_ids()[0].clone();
    let mut desktop = Desktop::sign_in(&world, &tenant, json!({})).await;
    let device = desktop.text("deviceId").to_owned();
    let mut held_back: Vec<Live> = Vec::new();
    for _ in 0..4 {
        held_back.push(desktop.live(&service, "").await);
    }
    are_broken(&world.session_tier, &tenant.parse().unwrap(), &device, 3).await;

    assert_eq!(whole_stream(&desktop, &service).await["kind"], "poll");
}

/// The data of the only event of a stream that is there and over at once.
async fn whole_stream(desktop: &Desktop, service: &Service) -> Value {
    let answer = desktop.bare(service, &Method::GET, "/live").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    let data = text.strip_prefix("event: session\ndata: ").and_then(|it| it.strip_suffix("\n\n"));
    serde_json::from_str(data.unwrap()).unwrap()
}

/// Waits until so many of a device's last streams are known to have broken.
async fn are_broken(server: &RedisServer, tenant: &TenantId, device: &str, expected: usize) {
    let key = format!("{{{tenant}}}:live:broken:{device}");
    wait::until("the broken streams are noted", async || {
        let known = server.command(&["ZCARD", &key]).await;
        redis::from_redis_value::<usize>(known).unwrap() == expected
    })
    .await;
}
