// Google's Node client against the broker that PUBSUB_EMULATOR_HOST names: one line "ok" a check.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';

import { PubSub } from '@google-cloud/pubsub';

const PATIENCE_MS = 30_000;
// Longer than the ack deadline of 10 s, so that only an extended lease survives it.
const HELD_MS = 12_000;

const pubsub = new PubSub({ projectId: `node-${randomUUID().slice(0, 8)}` });

function passed(what) {
  console.log(`ok - node: ${what}`);
}

/** Rejects when `promise` takes too long, so that a silent broker fails the check. */
function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`too late: ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function createdPair(name, options = {}) {
  const [topic] = await pubsub.createTopic(name);
  const [subscription] = await topic.createSubscription(`${name}-subscription`, options);
  return { topic, subscription };
}

/** Streams until `wanted` messages came; `take` decides what becomes of each. */
function received(subscription, wanted, take) {
  const messages = [];
  return inTime(
    new Promise((resolve, reject) => {
      subscription.on('error', reject);
      subscription.on('message', (message) => {
        messages.push(message);
        take(message, messages.length);
        if (messages.length === wanted) resolve(messages);
      });
    }),
    `${wanted} messages`,
  );
}

async function checkCreation() {
  const { topic } = await createdPair('creation');
  assert.deepEqual(await topic.exists(), [true]);
  assert.deepEqual(await pubsub.topic('missing').exists(), [false]);
  await assert.rejects(pubsub.createTopic('creation'), { code: 6 });
  const [topics] = await pubsub.getTopics();
  assert.ok(topics.some((listed) => listed.name === topic.name));
  passed('a topic is created once and listed');
}

async function checkOrder() {
  const { topic, subscription } = await createdPair('order', { enableMessageOrdering: true });
  const publisher = pubsub.topic('order', { messageOrdering: true });
  const keys = ['a', 'b', 'c'];
  const ids = await Promise.all(
    Array.from({ length: 60 }, (_, number) =>
      publisher.publishMessage({
        data: Buffer.from(String(number)),
        orderingKey: keys[number % 3],
        attributes: { number: String(number) },
      }),
    ),
  );
  assert.equal(new Set(ids).size, 60);
  passed('messages with ordering keys are published');

  const messages = await received(subscription, 60, (message) => message.ack());
  for (const key of keys) {
    const numbers = messages.filter((it) => it.orderingKey === key).map((it) => Number(it.data));
    assert.deepEqual(numbers, [...numbers].sort((left, right) => left - right));
    assert.equal(numbers.length, 20);
  }
  assert.equal(messages[0].attributes.number, String(messages[0].data));
  passed('a streaming pull brings each key in order');
  await subscription.close();

  const later = pubsub.subscription(subscription.name);
  const next = received(later, 1, (message) => message.ack());
  await topic.publishMessage({ data: Buffer.from('after') });
  assert.equal(String((await next)[0].data), 'after');
  passed('acknowledged messages do not come back');
  await later.close();
}

async function checkNack() {
  const { topic, subscription } = await createdPair('nack');
  await topic.publishMessage({ data: Buffer.from('again') });
  const messages = await received(subscription, 2, (message, count) =>
    count === 1 ? message.nack() : message.ack(),
  );
  assert.equal(messages[0].id, messages[1].id);
  passed('a nack redelivers');
  await subscription.close();
}

async function checkExtension() {
  const { topic, subscription } = await createdPair('extension', { ackDeadlineSeconds: 10 });
  let deliveries = 0;
  const first = received(subscription, 1, () => {});
  subscription.on('message', () => (deliveries += 1));
  await topic.publishMessage({ data: Buffer.from('slow') });
  const [message] = await first;
  await new Promise((resolve) => setTimeout(resolve, HELD_MS));
  assert.equal(deliveries, 1);
  passed('a lease the client extends outlasts its deadline');

  const again = received(subscription, 1, (redelivered) => redelivered.ack());
  message.modAck(0);
  assert.equal((await again)[0].id, message.id);
  passed('a deadline of zero gives the message back');
  await subscription.close();
}

await checkCreation();
await checkOrder();
await checkNack();
await checkExtension();
await pubsub.close();
