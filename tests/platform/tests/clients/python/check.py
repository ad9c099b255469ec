"""Google's Python client against the broker PUBSUB_EMULATOR_HOST names: one line "ok" a check."""

import queue
import time
import uuid

from google.api_core.exceptions import AlreadyExists, NotFound
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.types import PublisherOptions

# Google's emulator leases to a stream for 60 s after the client cancelled it.
PATIENCE_SECONDS = 90
# Longer than the ack deadline of 10 s, so that only an extended lease survives it.
HELD_SECONDS = 12

PROJECT = f"python-{uuid.uuid4().hex[:8]}"
publisher = pubsub_v1.PublisherClient(
    publisher_options=PublisherOptions(enable_message_ordering=True)
)
subscriber = pubsub_v1.SubscriberClient()


def passed(what):
    print(f"ok - python: {what}", flush=True)


def created_pair(name, **options):
    topic = publisher.topic_path(PROJECT, name)
    subscription = subscriber.subscription_path(PROJECT, name)
    publisher.create_topic(request={"name": topic})
    subscriber.create_subscription(
        request={"name": subscription, "topic": topic, **options}
    )
    return topic, subscription


class Stream:
    """A streaming pull whose messages wait in a queue until a check takes them."""

    def __init__(self, subscription):
        self.messages = queue.Queue()
        self.pull = subscriber.subscribe(subscription, callback=self.messages.put)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pull.cancel()
        self.pull.result(timeout=PATIENCE_SECONDS)

    def next(self):
        return self.messages.get(timeout=PATIENCE_SECONDS)


def publish(topic, text, key=""):
    published = publisher.publish(topic, text.encode(), ordering_key=key, number=text)
    return published.result(timeout=PATIENCE_SECONDS)


def check_creation():
    topic, _ = created_pair("creation")
    try:
        publisher.create_topic(request={"name": topic})
        raise AssertionError("the topic was created twice")
    except AlreadyExists:
        pass
    try:
        publisher.get_topic(request={"topic": topic + "-missing"})
        raise AssertionError("an unknown topic was found")
    except NotFound:
        pass
    listed = publisher.list_topics(request={"project": f"projects/{PROJECT}"})
    assert topic in [it.name for it in listed]
    passed("a topic is created once and listed")


def check_order():
    topic, subscription = created_pair("order", enable_message_ordering=True)
    keys = ["a", "b", "c"]
    pending = [
        publisher.publish(topic, str(number).encode(), ordering_key=keys[number % 3])
        for number in range(60)
    ]
    ids = {published.result(timeout=PATIENCE_SECONDS) for published in pending}
    assert len(ids) == 60
    passed("messages with ordering keys are published")

    by_key = {key: [] for key in keys}
    with Stream(subscription) as stream:
        for _ in range(60):
            message = stream.next()
            by_key[message.ordering_key].append(int(message.data))
            message.ack()
    for numbers in by_key.values():
        assert numbers == sorted(numbers) and len(numbers) == 20, by_key
    passed("a streaming pull brings each key in order")

    with Stream(subscription) as stream:
        publish(topic, "after")
        message = stream.next()
        message.ack()
        assert message.data == b"after" and message.attributes["number"] == "after"
    passed("acknowledged messages do not come back")


def check_nack():
    topic, subscription = created_pair("nack")
    message_id = publish(topic, "again")
    with Stream(subscription) as stream:
        first = stream.next()
        first.nack()
        second = stream.next()
        second.ack()
    assert first.message_id == second.message_id == message_id
    passed("a nack redelivers")


def check_extension():
    topic, subscription = created_pair("extension", ack_deadline_seconds=10)
    publish(topic, "slow")
    with Stream(subscription) as stream:
        message = stream.next()
        time.sleep(HELD_SECONDS)
        assert stream.messages.empty()
        passed("a lease the client extends outlasts its deadline")
        message.modify_ack_deadline(0)
        again = stream.next()
        again.ack()
        assert again.message_id == message.message_id
    passed("a deadline of zero gives the message back")


def check_pull():
    topic, subscription = created_pair("pull")
    publish(topic, "one")
    pulled = subscriber.pull(request={"subscription": subscription, "max_messages": 10})
    ack_ids = [it.ack_id for it in pulled.received_messages]
    assert len(ack_ids) == 1
    subscriber.modify_ack_deadline(
        request={
            "subscription": subscription,
            "ack_ids": ack_ids,
            "ack_deadline_seconds": 1,
        }
    )
    pulled = subscriber.pull(request={"subscription": subscription, "max_messages": 10})
    ack_ids = [it.ack_id for it in pulled.received_messages]
    assert len(ack_ids) == 1
    subscriber.acknowledge(request={"subscription": subscription, "ack_ids": ack_ids})
    passed("a pulled message comes back when its deadline passes")


check_creation()
check_order()
check_nack()
check_extension()
check_pull()
publisher.stop()
subscriber.close()
