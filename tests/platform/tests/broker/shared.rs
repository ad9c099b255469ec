//! Tests that every broker passes, over plain gRPC.

use std::collections::HashMap;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pubsub;
use tonic::Code;

use super::brokers::{Bench, benches, message, text, texts};

#[tokio::test]
async fn creating_again_already_exists_and_an_unknown_name_is_not_found() {
    for mut bench in benches().await {
        let again = bench.described();
        let topic = bench.create_topic().await.unwrap_err().code();
        let subscription = bench.create_subscription(again).await.unwrap_err().code();
        assert_eq!((topic, subscription), (Code::AlreadyExists, Code::AlreadyExists));

        let unknown = |name: &str| format!("{name}-unknown");
        let topic = pubsub::GetTopicRequest { topic: unknown(&bench.topic) };
        let topic = bench.publisher.get_topic(topic).await.unwrap_err().code();
        let request = pubsub::PublishRequest {
            topic: unknown(&bench.topic),
            messages: vec![message("lost", "")],
        };
        let publish = bench.publisher.publish(request).await.unwrap_err().code();
        let request = pubsub::GetSubscriptionRequest { subscription: unknown(&bench.subscription) };
        let subscription = bench.subscriber.get_subscription(request).await.unwrap_err().code();
        let request =
            pubsub::Subscription { name: unknown(&bench.subscription), ..bench.described() };
        let orphan = pubsub::Subscription { topic: unknown(&bench.topic), ..request };
        let orphan = bench.create_subscription(orphan).await.unwrap_err().code();
        assert_eq!([topic, publish, subscription, orphan], [Code::NotFound; 4]);
    }
}

#[tokio::test]
async fn a_created_subscription_is_described_with_its_defaults() {
    for mut bench in benches().await {
        let request = pubsub::GetSubscriptionRequest { subscription: bench.subscription.clone() };
        let described = bench.subscriber.get_subscription(request).await.unwrap().into_inner();

        assert_eq!(described.topic, bench.topic);
        assert_eq!(described.ack_deadline_seconds, 10);
        assert!(described.enable_message_ordering);
        let retention = described.message_retention_duration.map(|duration| duration.seconds);
        assert_eq!(retention, Some(604_800));
    }
}

#[tokio::test]
async fn topics_and_subscriptions_of_a_project_are_listed() {
    for mut bench in benches().await {
        let project = bench.topic.split("/topics").next().unwrap().to_owned();
        let request = pubsub::ListTopicsRequest { project: project.clone(), ..Default::default() };
        let topics = bench.publisher.list_topics(request).await.unwrap().into_inner().topics;
        let request = pubsub::ListSubscriptionsRequest { project, ..Default::default() };
        let listed = bench.subscriber.list_subscriptions(request).await.unwrap().into_inner();
        let request = pubsub::ListTopicSubscriptionsRequest {
            topic: bench.topic.clone(),
            ..Default::default()
        };
        let of_topic = bench.publisher.list_topic_subscriptions(request).await.unwrap();

        assert_eq!(topics.iter().map(|it| &it.name).collect::<Vec<_>>(), [&bench.topic]);
        let names: Vec<_> = listed.subscriptions.iter().map(|it| &it.name).collect();
        assert_eq!(names, [&bench.subscription]);
        assert_eq!(of_topic.into_inner().subscriptions, [bench.subscription.clone()]);
    }
}

#[tokio::test]
async fn a_message_arrives_as_published_with_an_id_and_a_time() {
    for mut bench in benches().await {
        let attributes = HashMap::from([("type".to_owned(), "ping".to_owned())]);
        let sent = pubsub::PubsubMessage { attributes, ..message("hello", "key") };
        let ids = bench.publish(vec![sent.clone()]).await;

        let received = bench.pull_and_acknowledge(1).await.remove(0).message.unwrap();

        assert_eq!(received.message_id, ids[0]);
        assert!(received.publish_time.is_some_and(|time| time.seconds > 1_700_000_000));
        assert_eq!(received.data, sent.data);
        assert_eq!(received.attributes, sent.attributes);
        assert_eq!(received.ordering_key, "key");
    }
}

#[tokio::test]
async fn messages_beyond_the_limits_are_refused() {
    for mut bench in benches().await {
        for messages in [vec![], vec![message("", "")], vec![message("x", ""); 1_001]] {
            let topic = bench.topic.clone();
            let request = pubsub::PublishRequest { topic, messages };
            let code = bench.publisher.publish(request).await.unwrap_err().code();
            assert_eq!(code, Code::InvalidArgument);
        }
    }
}

#[tokio::test]
async fn the_messages_of_a_key_come_in_publish_order() {
    for mut bench in benches().await {
        for number in 0..40 {
            let key = if number % 2 == 0 { "even" } else { "odd" };
            bench.publish(vec![message(&number.to_string(), key)]).await;
        }

        let received = texts(&bench.pull_and_acknowledge(40).await);

        let numbers: Vec<u32> = received.iter().map(|text| text.parse().unwrap()).collect();
        for remainder in [0, 1] {
            let of_key: Vec<u32> = numbers.iter().copied().filter(|n| n % 2 == remainder).collect();
            assert_eq!(of_key, (0..40).filter(|n| n % 2 == remainder).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_nack_redelivers() {
    for mut bench in benches().await {
        bench.publish(vec![message("1", "")]).await;
        let first = bench.pull(1).await.remove(0);

        bench.modify(&first, 0).await;

        assert_eq!(texts(&bench.pull_and_acknowledge(1).await), ["1"]);
        assert!(bench.pull_now().await.is_empty());
    }
}

#[tokio::test]
async fn an_expired_lease_redelivers() {
    for mut bench in benches().await {
        bench.publish(vec![message("1", "")]).await;
        let first = bench.pull(1).await.remove(0);

        bench.modify(&first, 1).await;
        let second = bench.pull_and_acknowledge(1).await.remove(0);

        let id = |received: &pubsub::ReceivedMessage| received.message.clone().unwrap().message_id;
        assert_eq!(id(&first), id(&second));
        assert_ne!(first.ack_id, second.ack_id);
    }
}

#[tokio::test]
async fn an_acknowledged_message_does_not_come_back() {
    for mut bench in benches().await {
        bench.publish(vec![message("kept", ""), message("done", "")]).await;
        let received = bench.pull(2).await;
        let (done, kept): (Vec<_>, Vec<_>) =
            received.into_iter().partition(|received| text(received) == "done");

        bench.acknowledge(&done).await;
        bench.modify(&kept[0], 0).await;

        assert_eq!(texts(&bench.pull_and_acknowledge(1).await), ["kept"]);
        assert!(bench.pull_now().await.is_empty());
    }
}

#[tokio::test]
async fn every_subscription_of_a_topic_gets_every_message() {
    for mut bench in benches().await {
        let other = format!("{}-other", bench.subscription);
        let described = pubsub::Subscription { name: other.clone(), ..bench.described() };
        bench.create_subscription(described).await.unwrap();
        bench.publish((0..20).map(|number| message(&number.to_string(), "")).collect()).await;

        let mut first = texts(&bench.pull_and_acknowledge(20).await);
        let mut second = texts(&pull_of(&mut bench, other).await);

        first.sort();
        second.sort();
        assert_eq!(first.len(), 20);
        assert_eq!(first, second);
    }
}

async fn pull_of(bench: &mut Bench, subscription: String) -> Vec<pubsub::ReceivedMessage> {
    let own = std::mem::replace(&mut bench.subscription, subscription);
    let received = bench.pull_and_acknowledge(20).await;
    bench.subscription = own;
    received
}

#[tokio::test]
async fn a_subscription_outlives_its_topic_and_can_be_deleted() {
    for mut bench in benches().await {
        bench.publish(vec![message("last", "")]).await;
        let request = pubsub::DeleteTopicRequest { topic: bench.topic.clone() };
        bench.publisher.delete_topic(request).await.unwrap();

        let request = pubsub::GetSubscriptionRequest { subscription: bench.subscription.clone() };
        let described = bench.subscriber.get_subscription(request).await.unwrap().into_inner();
        assert_eq!(described.topic, "_deleted-topic_");
        assert_eq!(texts(&bench.pull_and_acknowledge(1).await), ["last"]);

        let subscription = bench.subscription.clone();
        let request = pubsub::DeleteSubscriptionRequest { subscription: subscription.clone() };
        bench.subscriber.delete_subscription(request).await.unwrap();
        let request = pubsub::PullRequest { subscription, max_messages: 1, ..Default::default() };
        assert_eq!(bench.subscriber.pull(request).await.unwrap_err().code(), Code::NotFound);
    }
}
