//! How far a snapshot reflects what was heard of: its source position.

use std::time::Duration;

use backoffice::views::{
    Redis, outdated,
    snapshot::{self, Mark, Subject},
};
use chrono::DateTime;

use super::{freshness::open_work_order, *};
use crate::support::{platform::fault, redis::RedisServer};

/// Work orders opened one after the other, each while the one before is still being shown anew.
const OPENED: usize = 4;
/// Google's emulator delivers again, late, what a busy machine did not take at once.
const DELIVERED_WITHIN: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn what_says_that_it_is_beyond_an_event_shows_what_the_event_told_of() {
    let mut desk = Desk::start().await;
    let before = desk.whole_board("maintenance").await.body;
    let before = section(&before, "work-orders")["items"].as_array().unwrap().len();
    // Long enough that what is asked for is overtaken by events.
    fault(&desk.world, "maintenance-service", &json!({ "latencyMs": 300 })).await;
    let property_id = desk.desktop.property().to_owned();
    let area = |area: &str| {
        format!("{{{}}}:{area}:{property_id}:work-orders", desk.desktop.text("tenantId"))
    };
    let (mark, snapshot) = (area("changed"), area("snapshot"));

    let mut heard_of = None;
    for opened in 1..=OPENED {
        open_work_order(&desk, &property_id).await;
        let known = heard_of;
        let told = wait::within(DELIVERED_WITHIN, "the event is taken in", async || {
            let position = stored(&desk, &["GET", &mark]).await;
            position.filter(|position| known.is_none_or(|known| known < *position))
        })
        .await;
        heard_of = Some(told);
        let is_last = opened == OPENED;
        wait::until("it is composed anew", async || {
            desk.board("maintenance").await;
            let shown = stored(&desk, &["HGET", &snapshot, "m"]).await;
            let is_beyond = shown.is_some_and(|position| told <= position);
            if is_beyond {
                // It may be replaced between the two looks, but only by what was asked for later.
                let items = desk.world.cache_tier.command(&["HGET", &snapshot, "i"]).await;
                let items: String = redis::from_redis_value(items).unwrap();
                let items: Vec<Value> = serde_json::from_str(&items).unwrap();
                assert_eq!(items.len(), before + opened);
            }
            // The next one is opened while this one is asked for.
            is_beyond || !is_last
        })
        .await;
    }
}

#[tokio::test]
async fn a_position_grows_with_every_change_and_never_comes_twice() {
    let server = RedisServer::start().await;
    let redis = server.connect().await;
    let subject = Subject {
        tenant_id: "tnt_01HZX3V7Q8M4N5P6R7S8T9W0XY".parse().unwrap(),
        property_id: "ppt_1".parse().unwrap(),
        part: "work-orders",
        date: None,
    };
    assert_eq!(position(&redis, &subject).await, None, "nothing was heard of");
    let mut positions = Vec::new();
    // The clocks of instances differ; the same microsecond may come twice.
    for second in [10, 5, 5, 20, 20] {
        let now = DateTime::from_timestamp(second, 0).unwrap();
        outdated::changed(&redis, (std::slice::from_ref(&subject), None), (now, None))
            .await
            .unwrap();
        positions.push(position(&redis, &subject).await.unwrap());
    }
    assert_eq!(positions, [10_000_000, 10_000_001, 10_000_002, 20_000_000, 20_000_001]);

    // What was lost goes on at the time.
    server.command(&["FLUSHALL"]).await;
    server.command(&["SCRIPT", "FLUSH"]).await;
    let now = DateTime::from_timestamp(21, 0).unwrap();
    snapshot::await_change(&redis, std::slice::from_ref(&subject), now).await.unwrap();
    assert_eq!(position(&redis, &subject).await, Some(21_000_000));
}

async fn position(redis: &Redis, subject: &Subject) -> Option<u64> {
    let subjects = std::slice::from_ref(subject);
    let standing = snapshot::read(redis, subjects, (false, None)).await.unwrap().remove(0);
    standing.mark.map(Mark::position)
}

/// The position that a command answers, if there is one.
async fn stored(desk: &Desk, command: &[&str]) -> Option<i64> {
    let text: Option<String> =
        redis::from_redis_value(desk.world.cache_tier.command(command).await).unwrap();
    text?.parse().ok()
}
