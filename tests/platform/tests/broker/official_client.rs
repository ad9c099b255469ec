//! Google's Rust client against every broker: the client the service itself uses.

use std::collections::HashMap;

use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::{
    client::{Publisher, Subscriber, SubscriptionAdmin, TopicAdmin},
    model::{DeadLetterPolicy, Message},
    subscriber::{MessageStream, handler::Handler},
};
use tokio::time::timeout;

use super::brokers::{Bench, Embedded, PATIENCE, benches};

async fn publisher(bench: &Bench) -> Publisher {
    let builder = Publisher::builder(bench.topic.clone());
    let credentials = anonymous::Builder::new().build();
    builder.with_endpoint(bench.url.clone()).with_credentials(credentials).build().await.unwrap()
}

async fn stream(bench: &Bench) -> MessageStream {
    let credentials = anonymous::Builder::new().build();
    let builder = Subscriber::builder().with_endpoint(bench.url.clone());
    let subscriber = builder.with_credentials(credentials).build().await.unwrap();
    subscriber.subscribe(bench.subscription.clone()).build()
}

async fn publish(publisher: &Publisher, text: &str, key: &str) {
    let message = Message::new().set_data(text.to_owned()).set_ordering_key(key);
    timeout(PATIENCE, publisher.publish(message)).await.expect("accepted in time").unwrap();
}

async fn next(stream: &mut MessageStream) -> (String, String, Handler) {
    let next = timeout(PATIENCE, stream.next()).await.expect("a message comes in time");
    let (message, handler) = next.expect("the stream goes on").unwrap();
    let text = String::from_utf8(message.data.to_vec()).unwrap();
    (message.ordering_key, text, handler)
}

#[tokio::test]
async fn the_client_streams_the_messages_of_each_key_in_order() {
    for bench in benches().await {
        let publisher = publisher(&bench).await;
        let mut stream = stream(&bench).await;
        let pending: Vec<_> = (0..200)
            .map(|number| {
                let key = format!("key-{}", number % 7);
                publisher.publish(Message::new().set_data(number.to_string()).set_ordering_key(key))
            })
            .collect();
        for published in pending {
            timeout(PATIENCE, published).await.expect("accepted in time").unwrap();
        }

        let mut by_key: HashMap<String, Vec<u32>> = HashMap::new();
        for _ in 0..200 {
            let (key, text, handler) = next(&mut stream).await;
            by_key.entry(key).or_default().push(text.parse().unwrap());
            handler.ack();
        }

        assert_eq!(by_key.len(), 7);
        assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
    }
}

#[tokio::test]
async fn a_nack_of_the_client_redelivers() {
    for bench in benches().await {
        let publisher = publisher(&bench).await;
        let mut stream = stream(&bench).await;
        publish(&publisher, "again", "").await;

        let (_, first, handler) = next(&mut stream).await;
        handler.nack();
        let (_, second, handler) = next(&mut stream).await;
        handler.ack();

        assert_eq!((first.as_str(), second.as_str()), ("again", "again"));
    }
}

#[tokio::test]
async fn the_client_comes_back_after_the_broker_ended_its_stream() {
    let embedded = Embedded::start().await;
    let bench = Bench::ready_at(&embedded.address.to_string()).await;
    let publisher = publisher(&bench).await;
    let mut stream = stream(&bench).await;
    publish(&publisher, "before", "key").await;
    let (_, text, handler) = next(&mut stream).await;
    assert_eq!(text, "before");
    handler.ack();

    embedded.broker.end_streams();
    publish(&publisher, "after", "key").await;

    let (_, text, handler) = next(&mut stream).await;
    assert_eq!(text, "after");
    handler.ack();
}

#[tokio::test]
async fn the_client_comes_back_after_the_broker_restarted() {
    let embedded = Embedded::start().await;
    let address = embedded.address;
    let bench = Bench::ready_at(&address.to_string()).await;
    let publisher = publisher(&bench).await;
    let mut stream = stream(&bench).await;
    publish(&publisher, "before", "key").await;
    let (_, _, handler) = next(&mut stream).await;
    handler.ack();

    let broker = embedded.stop().await;
    let _restarted = Embedded::start_at(broker, address).await;
    publish(&publisher, "after", "key").await;

    let (_, text, handler) = next(&mut stream).await;
    assert_eq!(text, "after");
    handler.ack();
}

#[tokio::test]
async fn the_client_makes_and_finds_topics_and_subscriptions() {
    for bench in benches().await {
        let topics = TopicAdmin::builder()
            .with_endpoint(bench.url.clone())
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        let subscriptions = SubscriptionAdmin::builder()
            .with_endpoint(bench.url.clone())
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        let topic = format!("{}-made-by-the-client", bench.topic);
        let subscription = format!("{}-made-by-the-client", bench.subscription);

        topics.create_topic().set_name(&topic).send().await.unwrap();
        let again = topics.create_topic().set_name(&topic).send().await.unwrap_err();
        let dead_letters = DeadLetterPolicy::new()
            .set_dead_letter_topic(&bench.topic)
            .set_max_delivery_attempts(7);
        let made = subscriptions
            .create_subscription()
            .set_name(&subscription)
            .set_topic(&topic)
            .set_ack_deadline_seconds(30)
            .set_enable_message_ordering(true)
            .set_dead_letter_policy(dead_letters)
            .send()
            .await
            .unwrap();
        let nowhere = subscriptions
            .get_subscription()
            .set_subscription(format!("{subscription}-not"))
            .send()
            .await
            .unwrap_err();

        assert_eq!(again.http_status_code(), Some(409));
        assert_eq!(nowhere.http_status_code(), Some(404));
        assert_eq!((made.name, made.ack_deadline_seconds), (subscription, 30));
        assert!(made.enable_message_ordering);
        assert_eq!(made.dead_letter_policy.unwrap().max_delivery_attempts, 7);
    }
}
