use tokio::time::Duration;
use tonic::Code;

use super::*;

const TOPIC: &str = "projects/p/topics/orders";
const DEAD_TOPIC: &str = "projects/p/topics/dead-orders";
const SUBSCRIPTION: &str = "projects/p/subscriptions/orders";
const UNLIMITED: Window = Window { messages_max: u64::MAX, bytes_max: u64::MAX };

/// A catalogue with one topic and one subscription, at a fixed moment.
fn catalogue() -> (Catalogue, Instant) {
    let now = Instant::now();
    let mut catalogue = Catalogue::new(now, SystemTime::UNIX_EPOCH);
    create_topic(&mut catalogue, TOPIC);
    let subscription = described(SUBSCRIPTION);
    catalogue.create_subscription(subscription, now).unwrap();
    (catalogue, now)
}

fn create_topic(catalogue: &mut Catalogue, name: &str) {
    let topic = pubsub::Topic { name: name.into(), ..pubsub::Topic::default() };
    catalogue.create_topic(topic).unwrap();
}

fn described(name: &str) -> pubsub::Subscription {
    pubsub::Subscription { name: name.into(), topic: TOPIC.into(), ..Default::default() }
}

fn request(count: usize) -> pubsub::PublishRequest {
    let message = PubsubMessage { data: b"order".into(), ..PubsubMessage::default() };
    pubsub::PublishRequest { topic: TOPIC.into(), messages: vec![message; count] }
}

fn nack_all(catalogue: &mut Catalogue, consumer: ConsumerId, now: Instant) -> usize {
    let delivered = catalogue.collect(SUBSCRIPTION, consumer, u64::MAX, now).unwrap();
    let nack = |messages: &mut Subscription| {
        for delivery in &delivered {
            messages.modify_ack_deadline(delivery.lease, Duration::ZERO, now);
        }
    };
    catalogue.change(SUBSCRIPTION, now, nack).unwrap();
    delivered.len()
}

#[test]
fn a_full_broker_takes_nothing_of_a_request_until_messages_are_gone() {
    let (mut catalogue, now) = catalogue();
    catalogue.capacity.messages_max = 5;
    catalogue.publish(request(4), now).unwrap();

    let refused = catalogue.publish(request(2), now).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    catalogue.publish(request(1), now).unwrap();

    catalogue.delete_subscription(SUBSCRIPTION).unwrap();
    catalogue.publish(request(6), now).unwrap();
}

#[test]
fn bytes_fill_the_broker_too() {
    let (mut catalogue, now) = catalogue();
    catalogue.capacity.bytes_max = 1_000;

    let refused = catalogue.publish(request(1_000), now).unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted);
}

#[test]
fn message_ids_grow() {
    let (mut catalogue, now) = catalogue();
    let mut ids = catalogue.publish(request(3), now).unwrap();
    ids.extend(catalogue.publish(request(3), now).unwrap());

    let ids: Vec<u64> = ids.iter().map(|id| id.parse().unwrap()).collect();
    assert!(ids.is_sorted_by(|left, right| left < right), "{ids:?}");
}

#[test]
fn without_its_dead_letter_topic_a_message_stays_in_the_subscription() {
    let (mut catalogue, now) = catalogue();
    create_topic(&mut catalogue, DEAD_TOPIC);
    let policy =
        pubsub::DeadLetterPolicy { dead_letter_topic: DEAD_TOPIC.into(), max_delivery_attempts: 5 };
    let subscription =
        pubsub::Subscription { dead_letter_policy: Some(policy), ..described(SUBSCRIPTION) };
    let paths = vec!["dead_letter_policy".to_owned()];
    let update = pubsub::UpdateSubscriptionRequest {
        subscription: Some(subscription),
        update_mask: Some(prost_types::FieldMask { paths }),
    };
    catalogue.update_subscription(update, now).unwrap();
    catalogue.delete_topic(DEAD_TOPIC).unwrap();
    let (consumer, _) = catalogue.join(SUBSCRIPTION, UNLIMITED, None, now).unwrap();
    catalogue.publish(request(1), now).unwrap();

    for _ in 0..8 {
        assert_eq!(nack_all(&mut catalogue, consumer, now), 1);
    }
    create_topic(&mut catalogue, DEAD_TOPIC);

    assert_eq!(nack_all(&mut catalogue, consumer, now), 1);
    assert_eq!(nack_all(&mut catalogue, consumer, now), 0, "now it went to the dead letters");
}

#[test]
fn an_unknown_dead_letter_topic_is_refused() {
    let (mut catalogue, now) = catalogue();
    let policy =
        pubsub::DeadLetterPolicy { dead_letter_topic: DEAD_TOPIC.into(), ..Default::default() };
    let subscription = pubsub::Subscription {
        dead_letter_policy: Some(policy),
        ..described("projects/p/subscriptions/strict")
    };

    let refused = catalogue.create_subscription(subscription, now).unwrap_err();

    assert_eq!(refused.code(), Code::NotFound);
}

#[test]
fn pages_cover_every_topic_once() {
    let (mut catalogue, _) = catalogue();
    for number in 0..24 {
        create_topic(&mut catalogue, &format!("projects/p/topics/topic-{number}"));
    }
    create_topic(&mut catalogue, "projects/other/topics/orders");

    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request =
            pubsub::ListTopicsRequest { project: "projects/p".into(), page_size: 10, page_token };
        let (topics, next) = catalogue.list_topics(&request).unwrap();
        listed.extend(topics.into_iter().map(|topic| topic.name));
        page_token = next;
        if page_token.is_empty() {
            break;
        }
    }

    assert_eq!(listed.len(), 25);
    assert!(listed.is_sorted_by(|left, right| left < right));
}

#[test]
fn the_timekeeper_hears_of_an_earlier_lease_and_ends_it() {
    let (mut catalogue, now) = catalogue();
    assert_eq!(catalogue.advance_due(now), None);
    let (consumer, _) = catalogue.join(SUBSCRIPTION, UNLIMITED, None, now).unwrap();
    catalogue.publish(request(1), now).unwrap();
    assert!(catalogue.is_rescheduled());

    let due = now + Duration::from_secs(10);
    assert_eq!(catalogue.advance_due(now), Some(due));
    assert_eq!(catalogue.collect(SUBSCRIPTION, consumer, u64::MAX, now).unwrap().len(), 1);
    catalogue.advance_due(due);

    assert_eq!(catalogue.collect(SUBSCRIPTION, consumer, u64::MAX, due).unwrap().len(), 1);
}
