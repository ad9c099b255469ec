//! What the embedded broker keeps to beyond the emulator: order after a nack, dead letters, flow
//! control, and how its streams end.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    self as pubsub, StreamingPullRequest, StreamingPullResponse,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::brokers::{Bench, Embedded, PATIENCE, message, text, texts};

/// A raw stream, with both its sides in the test's hands.
struct RawStream {
    requests: mpsc::Sender<StreamingPullRequest>,
    responses: Streaming<StreamingPullResponse>,
}

impl RawStream {
    /// Opens a stream and takes the first response, which says what subscription it is.
    async fn open(bench: &mut Bench, max_outstanding_messages: i64) -> Self {
        let (requests, outbound) = mpsc::channel(10);
        let first = StreamingPullRequest {
            subscription: bench.subscription.clone(),
            stream_ack_deadline_seconds: 10,
            client_id: "test".into(),
            max_outstanding_messages,
            protocol_version: 1,
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let outbound = ReceiverStream::new(outbound);
        let responses = bench.subscriber.streaming_pull(outbound).await.unwrap().into_inner();
        let mut stream = Self { requests, responses };
        let greeting = stream.next().await.unwrap();
        assert!(greeting.subscription_properties.unwrap().message_ordering_enabled);
        assert!(!greeting.subscription_properties.unwrap().exactly_once_delivery_enabled);
        assert!(greeting.received_messages.is_empty());
        stream
    }

    async fn next(&mut self) -> Result<StreamingPullResponse, Status> {
        let next = timeout(PATIENCE, self.responses.message()).await;
        next.expect("the stream answers in time").map(|response| response.expect("it goes on"))
    }

    async fn receive(&mut self, wanted: usize) -> Vec<pubsub::ReceivedMessage> {
        let mut received = Vec::new();
        while received.len() < wanted {
            received.extend(self.next().await.unwrap().received_messages);
        }
        received
    }

    async fn acknowledge(&self, received: &[pubsub::ReceivedMessage]) {
        let ack_ids = received.iter().map(|it| it.ack_id.clone()).collect();
        let request = StreamingPullRequest { ack_ids, ..Default::default() };
        self.requests.send(request).await.unwrap();
    }

    async fn nack(&self, received: &pubsub::ReceivedMessage) {
        let request = StreamingPullRequest {
            modify_deadline_ack_ids: vec![received.ack_id.clone()],
            modify_deadline_seconds: vec![0],
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }
}

async fn start() -> (Embedded, Bench) {
    let embedded = Embedded::start().await;
    let bench = Bench::ready_at(&embedded.address.to_string()).await;
    (embedded, bench)
}

fn numbered(count: usize, key: &str) -> Vec<pubsub::PubsubMessage> {
    (0..count).map(|number| message(&number.to_string(), key)).collect()
}

/// Google's emulator delivers 2 and 3 before 1 here; Pub/Sub promises this.
#[tokio::test]
async fn a_nack_redelivers_the_message_and_then_those_after_it() {
    let (_embedded, mut bench) = start().await;
    bench.publish(["1", "2", "3"].map(|text| message(text, "key")).to_vec()).await;
    let first = bench.pull(1).await.remove(0);
    assert_eq!(text(&first), "1");

    bench.modify(&first, 0).await;

    assert_eq!(texts(&bench.pull_and_acknowledge(3).await), ["1", "2", "3"]);
    assert!(bench.pull_now().await.is_empty());
}

#[tokio::test]
async fn a_stream_gets_no_more_than_its_flow_control_allows() {
    let (_embedded, mut bench) = start().await;
    let mut stream = RawStream::open(&mut bench, 3).await;
    bench.publish(numbered(5, "")).await;

    let first = stream.receive(3).await;
    assert_eq!(first.len(), 3);
    let rest = bench.pull_now().await;
    assert_eq!(rest.len(), 2, "the others are not held for the stream");
    for received in &rest {
        bench.modify(received, 0).await;
    }
    stream.acknowledge(&first[..1]).await;
    assert_eq!(stream.receive(1).await.len(), 1);
    stream.nack(&first[1]).await;
    assert_eq!(stream.receive(1).await.len(), 1);
}

#[tokio::test]
async fn a_stream_gets_acknowledgements_and_nacks_in() {
    let (_embedded, mut bench) = start().await;
    let mut stream = RawStream::open(&mut bench, 0).await;
    bench.publish(numbered(2, "key")).await;
    let received = stream.receive(2).await;

    stream.nack(&received[0]).await;
    let again = stream.receive(2).await;
    stream.acknowledge(&again).await;
    bench.publish(vec![message("2", "key")]).await;

    assert_eq!(texts(&again), ["0", "1"]);
    assert_eq!(texts(&stream.receive(1).await), ["2"]);
}

#[tokio::test]
async fn two_streams_share_the_messages_and_keep_each_key_together() {
    let (_embedded, mut bench) = start().await;
    let mut one = RawStream::open(&mut bench, 0).await;
    let mut two = RawStream::open(&mut bench, 0).await;
    for number in 0..40 {
        let keyed = ["a", "b", "c", "d"].map(|key| message(&number.to_string(), key));
        bench.publish(keyed.to_vec()).await;
        bench.publish(vec![message("loose", "")]).await;
    }

    let mut received = Vec::new();
    while received.len() < 200 {
        let (stream, response) = tokio::select! {
            response = one.next() => (1, response),
            response = two.next() => (2, response),
        };
        let messages = response.unwrap().received_messages;
        received.extend(messages.into_iter().map(|it| (stream, it.message.unwrap())));
    }

    let of = |stream, key: &str| {
        received.iter().filter(|(s, message)| *s == stream && message.ordering_key == key).count()
    };
    assert_eq!((of(1, ""), of(2, "")), (20, 20), "loose messages go round");
    for key in ["a", "b", "c", "d"] {
        assert!(of(1, key) == 40 || of(2, key) == 40, "{key} is split");
    }
}

#[tokio::test]
async fn a_message_nacked_too_often_arrives_on_the_dead_letter_topic() {
    let (_embedded, mut bench) = start().await;
    let topic = bench.topic.clone();
    bench.topic = format!("{topic}-dead");
    bench.create_topic().await.unwrap();
    let dead = format!("{}-dead", bench.subscription);
    let described = pubsub::Subscription { name: dead.clone(), ..bench.described() };
    bench.create_subscription(described).await.unwrap();
    let policy = pubsub::DeadLetterPolicy {
        dead_letter_topic: bench.topic.clone(),
        max_delivery_attempts: 5,
    };
    let live = format!("{}-live", bench.subscription);
    let described = pubsub::Subscription {
        name: live.clone(),
        topic: topic.clone(),
        dead_letter_policy: Some(policy),
        ..bench.described()
    };
    bench.create_subscription(described).await.unwrap();
    bench.topic = topic;
    bench.publish(vec![message("poison", "key")]).await;

    bench.subscription = live;
    let mut attempts = Vec::new();
    for _ in 0..5 {
        let received = bench.pull(1).await.remove(0);
        attempts.push(received.delivery_attempt);
        bench.modify(&received, 0).await;
    }

    assert_eq!(attempts, [1, 2, 3, 4, 5]);
    assert!(bench.pull_now().await.is_empty());
    bench.subscription = dead;
    let buried = bench.pull(1).await.remove(0);
    let attributes = buried.message.clone().unwrap().attributes;
    assert_eq!(text(&buried), "poison");
    assert_eq!(attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
    assert_eq!(attributes["CloudPubSubDeadLetterSourceSubscription"], "orders-live");
}

#[tokio::test]
async fn a_change_of_the_subscription_is_kept_and_an_immutable_field_refused() {
    let (_embedded, mut bench) = start().await;
    let update = |ack_deadline_seconds, path: &str| pubsub::UpdateSubscriptionRequest {
        subscription: Some(pubsub::Subscription { ack_deadline_seconds, ..bench.described() }),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
    };
    let (changed, topic, short) = (
        update(60, "ack_deadline_seconds"),
        update(60, "topic"),
        update(9, "ack_deadline_seconds"),
    );

    let changed = bench.subscriber.update_subscription(changed).await.unwrap().into_inner();
    assert_eq!(changed.ack_deadline_seconds, 60);
    for refused in [topic, short] {
        let code = bench.subscriber.update_subscription(refused).await.unwrap_err().code();
        assert_eq!(code, Code::InvalidArgument);
    }
    let request = pubsub::GetSubscriptionRequest { subscription: bench.subscription.clone() };
    let kept = bench.subscriber.get_subscription(request).await.unwrap().into_inner();
    assert_eq!(kept, changed);
}

#[tokio::test]
async fn what_it_cannot_do_it_says_instead_of_ignoring_it() {
    let (_embedded, mut bench) = start().await;
    let plain = pubsub::Subscription {
        name: format!("{}-special", bench.subscription),
        ..bench.described()
    };
    let filtered = pubsub::Subscription { filter: "attributes:type".into(), ..plain.clone() };
    let exact = pubsub::Subscription { enable_exactly_once_delivery: true, ..plain.clone() };
    for unserved in [filtered, exact] {
        let code = bench.create_subscription(unserved).await.unwrap_err().code();
        assert_eq!(code, Code::Unimplemented);
    }

    let seek = pubsub::SeekRequest { subscription: bench.subscription.clone(), target: None };
    assert_eq!(bench.subscriber.seek(seek).await.unwrap_err().code(), Code::Unimplemented);
    let malformed = pubsub::AcknowledgeRequest {
        subscription: bench.subscription.clone(),
        ack_ids: vec!["nonsense".into()],
    };
    let code = bench.subscriber.acknowledge(malformed).await.unwrap_err().code();
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn streams_and_pulls_end_cleanly_when_the_broker_stops() {
    let (embedded, mut bench) = start().await;
    let mut stream = RawStream::open(&mut bench, 0).await;

    let broker = embedded.stop().await;
    let status = stream.next().await.unwrap_err();

    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "the broker is shutting down")
    );
    drop(broker);
}

#[tokio::test]
async fn a_stream_ends_when_its_subscription_is_deleted() {
    let (_embedded, mut bench) = start().await;
    let mut stream = RawStream::open(&mut bench, 0).await;

    let subscription = bench.subscription.clone();
    let request = pubsub::DeleteSubscriptionRequest { subscription };
    bench.subscriber.delete_subscription(request).await.unwrap();

    assert_eq!(stream.next().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_stream_that_goes_away_leaves_its_messages_to_the_others() {
    let (_embedded, mut bench) = start().await;
    let stream = RawStream::open(&mut bench, 0).await;
    let RawStream { requests, responses } = stream;
    drop((requests, responses));
    bench.publish(numbered(3, "key")).await;

    assert_eq!(texts(&bench.pull_and_acknowledge(3).await), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_large_backlog_is_streamed_in_order_and_acknowledged_away() {
    let (_embedded, mut bench) = start().await;
    let mut stream = RawStream::open(&mut bench, 1_000).await;
    for _ in 0..10 {
        bench.publish(vec![message(&"x".repeat(1_000), "key"); 1_000]).await;
    }

    let mut ids: Vec<u64> = Vec::new();
    while ids.len() < 10_000 {
        let received = stream.receive(1).await;
        stream.acknowledge(&received).await;
        let id = |it: &pubsub::ReceivedMessage| it.message.clone().unwrap().message_id;
        ids.extend(received.iter().map(|it| id(it).parse::<u64>().unwrap()));
    }

    assert!(ids.is_sorted());
    assert_eq!(ids.len(), 10_000);
}
