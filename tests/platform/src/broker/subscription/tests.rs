use std::collections::BTreeMap;

use proptest::prelude::*;
use tokio::sync::Notify;

use super::{
    consumers::Window,
    settings::{Backoff, DeadLetterRule},
    *,
};

const ACK_DEADLINE: Duration = Duration::from_secs(10);
const UNLIMITED: Window = Window { messages_max: u64::MAX, bytes_max: u64::MAX };

/// A subscription under test, its clock and its consumers.
struct Bench {
    subscription: Subscription,
    now: Instant,
    dead: Vec<DeadLetter>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let subscription = Subscription::new(settings, 0);
        Self { subscription, now: Instant::now(), dead: Vec::new() }
    }

    fn ordered() -> Self {
        Self::new(Settings { is_ordered: true, ..unordered() })
    }

    fn publish(&mut self, sequence: u64, key: &str) {
        let message = PubsubMessage { ordering_key: key.into(), ..PubsubMessage::default() };
        self.subscription.enqueue(Arc::new(Published { sequence, message, size_bytes: 10 }));
        self.settle();
    }

    fn join(&mut self, consumer: u64, window: Window) {
        let consumer_state = Consumer::new(window, None, Arc::new(Notify::new()));
        self.subscription.join(ConsumerId(consumer), consumer_state);
        self.settle();
    }

    fn leave(&mut self, consumer: u64) {
        self.subscription.leave(ConsumerId(consumer));
        self.settle();
    }

    fn collect(&mut self, consumer: u64) -> Vec<Delivery> {
        let collected = self.subscription.collect(ConsumerId(consumer), u64::MAX);
        self.settle();
        collected
    }

    fn collect_sequences(&mut self, consumer: u64) -> Vec<u64> {
        sequences(&self.collect(consumer))
    }

    fn acknowledge(&mut self, delivery: &Delivery) {
        self.subscription.acknowledge(delivery.lease);
        self.settle();
    }

    fn modify(&mut self, delivery: &Delivery, ack_deadline: Duration) {
        self.subscription.modify_ack_deadline(delivery.lease, ack_deadline, self.now);
        self.settle();
    }

    fn nack(&mut self, delivery: &Delivery) {
        self.modify(delivery, Duration::ZERO);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn settle(&mut self) {
        self.dead.extend(self.subscription.advance(self.now));
    }
}

fn unordered() -> Settings {
    Settings {
        ack_deadline: ACK_DEADLINE,
        is_ordered: false,
        backoff: None,
        counts_attempts: false,
        dead_letter: None,
    }
}

fn sequences(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.message.sequence).collect()
}

fn window(messages_max: u64) -> Window {
    Window { messages_max, bytes_max: u64::MAX }
}

#[test]
fn an_acknowledged_message_is_gone() {
    let mut bench = Bench::new(unordered());
    bench.join(1, UNLIMITED);
    bench.publish(1, "");
    let delivered = bench.collect(1);

    bench.acknowledge(&delivered[0]);
    bench.pass(ACK_DEADLINE * 10);

    assert!(bench.collect(1).is_empty());
    assert_eq!(bench.subscription.message_count(), 0);
    assert_eq!(bench.subscription.size_bytes(), 0);
    assert_eq!(bench.subscription.next_wake(), None);
}

#[test]
fn an_expired_lease_redelivers_under_a_new_one() {
    let mut bench = Bench::new(unordered());
    bench.join(1, UNLIMITED);
    bench.publish(1, "");
    let first = bench.collect(1);

    bench.pass(ACK_DEADLINE.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(bench.collect(1).is_empty());
    bench.pass(Duration::from_millis(1));
    let second = bench.collect(1);

    assert_eq!(sequences(&second), [1]);
    assert_ne!(first[0].lease, second[0].lease);
    bench.acknowledge(&first[0]);
    assert_eq!(bench.subscription.message_count(), 1, "an expired lease acknowledges nothing");
}

#[test]
fn an_extended_lease_lasts_from_the_extension() {
    let mut bench = Bench::new(unordered());
    bench.join(1, UNLIMITED);
    bench.publish(1, "");
    let delivered = bench.collect(1);

    bench.pass(Duration::from_secs(9));
    bench.modify(&delivered[0], Duration::from_secs(30));

    bench.pass(Duration::from_secs(29));
    assert!(bench.collect(1).is_empty());
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.collect_sequences(1), [1]);
}

#[test]
fn a_streams_ack_deadline_replaces_the_subscriptions() {
    let mut bench = Bench::new(unordered());
    bench.join(1, UNLIMITED);
    bench.subscription.set_ack_deadline(ConsumerId(1), Duration::from_mins(1));
    bench.publish(1, "");
    bench.collect(1);

    assert_eq!(bench.subscription.next_wake(), Some(bench.now + Duration::from_mins(1)));
}

#[test]
fn a_nack_redelivers_at_once() {
    let mut bench = Bench::new(unordered());
    bench.join(1, UNLIMITED);
    bench.publish(1, "");
    let delivered = bench.collect(1);

    bench.nack(&delivered[0]);

    assert_eq!(bench.collect_sequences(1), [1]);
}

#[test]
fn a_retry_policy_delays_redelivery_and_doubles_the_wait() {
    let seconds = Duration::from_secs;
    let backoff = Backoff { min: seconds(2), max: seconds(5) };
    let mut bench = Bench::new(Settings { backoff: Some(backoff), ..unordered() });
    bench.join(1, UNLIMITED);
    bench.publish(1, "");

    for wait in [2, 4, 5, 5] {
        let delivered = bench.collect(1);
        assert_eq!(sequences(&delivered), [1]);
        bench.nack(&delivered[0]);
        bench.pass(seconds(wait).checked_sub(Duration::from_millis(1)).unwrap());
        assert!(bench.collect(1).is_empty(), "before {wait} s");
        bench.pass(Duration::from_millis(1));
    }
}

#[test]
fn a_message_out_of_attempts_goes_to_the_dead_letter_topic() {
    let rule = DeadLetterRule { topic: "graveyard".into(), attempts_max: 3 };
    let settings = Settings {
        counts_attempts: true,
        dead_letter: Some(rule),
        is_ordered: true,
        ..unordered()
    };
    let mut bench = Bench::new(settings);
    bench.join(1, UNLIMITED);
    bench.publish(1, "key");
    bench.publish(2, "key");

    let mut attempts = Vec::new();
    for _ in 0..3 {
        let delivered = bench.collect(1);
        attempts.push(delivered[0].attempt);
        bench.nack(&delivered[0]);
    }

    assert_eq!(attempts, [1, 2, 3]);
    assert_eq!(bench.dead.len(), 1);
    assert_eq!(bench.dead[0].message.sequence, 1);
    assert_eq!((bench.dead[0].topic.as_str(), bench.dead[0].attempts), ("graveyard", 3));
    assert_eq!(bench.subscription.message_count(), 1, "the next message of the key stays");
}

#[test]
fn a_nack_redelivers_the_later_messages_of_its_key_after_it_even_acknowledged_ones() {
    let mut bench = Bench::ordered();
    bench.join(1, UNLIMITED);
    for sequence in 1..=4 {
        bench.publish(sequence, "key");
    }
    let delivered = bench.collect(1);
    assert_eq!(sequences(&delivered), [1, 2, 3, 4]);

    bench.acknowledge(&delivered[0]);
    bench.acknowledge(&delivered[2]);
    bench.nack(&delivered[1]);

    assert_eq!(bench.collect_sequences(1), [2, 3, 4]);
}

#[test]
fn an_expired_lease_holds_its_key_back_and_no_other() {
    let backoff = Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) };
    let settings = Settings { backoff: Some(backoff), is_ordered: true, ..unordered() };
    let mut bench = Bench::new(settings);
    bench.join(1, UNLIMITED);
    bench.publish(1, "slow");
    bench.collect(1);
    bench.pass(ACK_DEADLINE);

    bench.publish(2, "slow");
    bench.publish(3, "quick");

    assert_eq!(bench.collect_sequences(1), [3]);
    bench.pass(Duration::from_mins(1));
    assert_eq!(bench.collect_sequences(1), [1, 2]);
}

#[test]
fn a_key_with_messages_out_stays_with_its_consumer() {
    let mut bench = Bench::ordered();
    bench.join(1, UNLIMITED);
    bench.publish(1, "key");
    let first = bench.collect(1);
    for consumer in 2..20 {
        bench.join(consumer, UNLIMITED);
    }

    bench.publish(2, "key");
    let second = bench.collect(1);
    assert_eq!(sequences(&second), [2]);

    bench.leave(1);
    bench.publish(3, "key");
    assert!((2..20).all(|consumer| bench.collect(consumer).is_empty()), "1 and 2 are still out");
    bench.acknowledge(&first[0]);
    bench.acknowledge(&second[0]);
    let third = (2..20).flat_map(|consumer| bench.collect(consumer)).collect::<Vec<_>>();
    assert_eq!(sequences(&third), [3]);
}

#[test]
fn a_key_returns_to_the_same_consumer_and_keys_spread_over_consumers() {
    let mut bench = Bench::ordered();
    let mut held: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    (1..=3).for_each(|consumer| bench.join(consumer, UNLIMITED));

    for sequence in 1..=600 {
        bench.publish(sequence, &format!("key-{}", sequence % 60));
        for consumer in 1..=3 {
            for delivery in bench.collect(consumer) {
                held.entry(delivery.message.sequence % 60).or_default().push(consumer);
                bench.acknowledge(&delivery);
            }
        }
    }

    assert!(held.values().all(|consumers| consumers.iter().all(|it| *it == consumers[0])));
    for consumer in 1..=3 {
        let keys = held.values().filter(|consumers| consumers[0] == consumer).count();
        assert!(keys >= 8, "consumer {consumer} has {keys} of 60 keys");
    }
}

#[test]
fn unordered_messages_go_round_the_consumers() {
    let mut bench = Bench::new(unordered());
    (1..=3).for_each(|consumer| bench.join(consumer, UNLIMITED));

    (1..=9).for_each(|sequence| bench.publish(sequence, "ignored"));

    assert_eq!(bench.collect_sequences(1), [1, 4, 7]);
    assert_eq!(bench.collect_sequences(2), [2, 5, 8]);
    assert_eq!(bench.collect_sequences(3), [3, 6, 9]);
}

#[test]
fn flow_control_limits_what_a_consumer_holds() {
    let mut bench = Bench::new(unordered());
    bench.join(1, window(2));
    bench.join(2, Window { messages_max: u64::MAX, bytes_max: 15 });
    (1..=9).for_each(|sequence| bench.publish(sequence, ""));
    let by_messages = bench.collect(1);
    let by_bytes = bench.collect(2);

    assert_eq!((by_messages.len(), by_bytes.len()), (2, 2), "10 bytes leave room for one more");
    assert!(bench.collect(1).is_empty() && bench.collect(2).is_empty());
    bench.acknowledge(&by_messages[0]);
    assert_eq!(bench.collect(1).len(), 1);
    bench.nack(&by_bytes[0]);
    assert_eq!(bench.collect(2).len(), 1);
}

#[test]
fn a_consumer_that_leaves_gives_back_what_it_did_not_collect() {
    let rule = DeadLetterRule { topic: "graveyard".into(), attempts_max: 5 };
    let settings = Settings {
        counts_attempts: true,
        dead_letter: Some(rule),
        is_ordered: true,
        ..unordered()
    };
    let mut bench = Bench::new(settings);
    bench.join(1, UNLIMITED);
    (1..=3).for_each(|sequence| bench.publish(sequence, "key"));

    bench.leave(1);
    bench.join(2, UNLIMITED);

    let delivered = bench.collect(2);
    assert_eq!(sequences(&delivered), [1, 2, 3]);
    assert!(delivered.iter().all(|delivery| delivery.attempt == 1), "no attempt was made before");
}

#[test]
fn a_changed_subscription_keeps_its_order_guarantee() {
    let mut bench = Bench::ordered();
    bench.join(1, UNLIMITED);

    bench.subscription.configure(Settings { ack_deadline: ACK_DEADLINE * 2, ..unordered() });
    (1..=2).for_each(|sequence| bench.publish(sequence, "key"));
    let delivered = bench.collect(1);
    bench.nack(&delivered[0]);

    assert_eq!(bench.collect_sequences(1), [1, 2]);
    assert_eq!(bench.subscription.next_wake(), Some(bench.now + ACK_DEADLINE * 2));
}

/// One thing that can happen to a subscription.
#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    /// By the consumer in this slot.
    Collect(usize),
    Acknowledge(prop::sample::Index),
    Nack(prop::sample::Index),
    Extend(prop::sample::Index),
    Pass(u8),
    /// The consumer in this slot leaves and another comes.
    Rejoin(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Publish),
        4 => (0..3_usize).prop_map(Step::Collect),
        4 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        1 => any::<prop::sample::Index>().prop_map(Step::Nack),
        1 => any::<prop::sample::Index>().prop_map(Step::Extend),
        1 => (1..8_u8).prop_map(Step::Pass),
        1 => (0..3_usize).prop_map(Step::Rejoin),
    ]
}

fn run_steps(steps: Vec<Step>, settings: Settings) -> Bench {
    let mut bench = Bench::new(settings);
    (1..=3).for_each(|consumer| bench.join(consumer, window(3)));
    let mut out: Vec<Delivery> = Vec::new();
    let mut published = 0;
    // A consumer that comes back is a new one.
    let mut consumers = [1, 2, 3];
    for step in steps {
        match step {
            Step::Publish(key) => {
                published += 1;
                bench.publish(published, ["", "a", "b", "c"][usize::from(key)]);
            }
            Step::Collect(slot) => out.extend(bench.collect(consumers[slot])),
            Step::Acknowledge(index) if !out.is_empty() => {
                let delivery = out.remove(index.index(out.len()));
                bench.acknowledge(&delivery);
            }
            Step::Nack(index) if !out.is_empty() => {
                let delivery = out.remove(index.index(out.len()));
                bench.nack(&delivery);
            }
            Step::Extend(index) if !out.is_empty() => {
                let delivery = out[index.index(out.len())].clone();
                bench.modify(&delivery, ACK_DEADLINE);
            }
            Step::Acknowledge(_) | Step::Nack(_) | Step::Extend(_) => {}
            Step::Pass(seconds) => bench.pass(Duration::from_secs(seconds.into())),
            Step::Rejoin(slot) => {
                bench.leave(consumers[slot]);
                consumers[slot] += 10;
                bench.join(consumers[slot], window(3));
            }
        }
    }
    for consumer in consumers {
        bench.leave(consumer);
    }
    bench
}

proptest! {
    /// Whatever happened, consumers that acknowledge everything empty the subscription, and see
    /// the messages of a key in publish order.
    #[test]
    fn no_message_is_lost_and_keys_stay_in_order(
        steps in prop::collection::vec(step(), 0..120),
        is_ordered: bool,
        has_backoff: bool,
    ) {
        let second = Duration::from_secs(1);
        let backoff = has_backoff.then_some(Backoff { min: second, max: second * 4 });
        let mut bench = run_steps(steps, Settings { is_ordered, backoff, ..unordered() });
        let kept = bench.subscription.message_count();
        bench.pass(ACK_DEADLINE * 2);
        bench.pass(ACK_DEADLINE * 2);

        bench.join(9_999, window(2));
        let mut delivered = Vec::new();
        loop {
            let batch = bench.collect(9_999);
            if batch.is_empty() {
                break;
            }
            for delivery in &batch {
                bench.acknowledge(delivery);
            }
            delivered.extend(batch);
        }

        prop_assert_eq!(bench.subscription.message_count(), 0);
        prop_assert_eq!(bench.subscription.size_bytes(), 0);
        prop_assert_eq!(bench.subscription.next_wake(), None);
        prop_assert_eq!(delivered.len(), kept);
        for key in ["a", "b", "c"] {
            let of_key = delivered.iter().filter(|it| it.message.message.ordering_key == key);
            let of_key: Vec<u64> = of_key.map(|it| it.message.sequence).collect();
            prop_assert!(!is_ordered || of_key.is_sorted(), "{:?}", of_key);
        }
    }
}
