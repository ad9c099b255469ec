/** Wishes that outlive networks, restarts and days. */
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";

import { type Kept, Outbox, type OutboxSettings, type Outcome } from "../../src/outbox.js";
import { FileShelf } from "../../src/shelf-file.js";
import { FakeClock, settled } from "./fake-clock.js";
import { refusal } from "./fake-service.js";
import { FakeShelf } from "./fake-shelf.js";

const DAY_MS = 86_400_000;
const SOON = { retriable: true };

/** A service that says what a test has it say, and what was sent to it. */
class Desk {
  readonly clock = new FakeClock();
  readonly shelf = new FakeShelf();
  readonly sent: { operation: string; key: string; wasKept: boolean }[] = [];
  readonly settled: Outcome[] = [];
  counts: number[] = [];
  /** What comes of the next requests, in order; success when there is nothing. */
  readonly replies: Error[] = [];
  network: "up" | "down" = "up";

  async open(shelf: OutboxSettings["shelf"] = this.shelf): Promise<Outbox> {
    const outbox = await Outbox.open({
      shelf,
      clock: this.clock,
      send: (wish) => this.#answer(wish),
      changed: (wishes) => void (this.counts = wishes.map(({ number }) => number)),
      settled: (outcome) => void this.settled.push(outcome),
    });
    outbox.wake();
    return outbox;
  }

  async #answer({ operation, key, number }: Kept): Promise<unknown> {
    if (this.network === "down") throw new TypeError("no network");
    const wasKept = this.shelf.kept.get(number)?.isSent ?? false;
    this.sent.push({ operation, key, wasKept });
    const refusal = this.replies.shift();
    if (refusal !== undefined) throw refusal;
    return { did: operation };
  }
}

let desk: Desk;
let outbox: Outbox;

beforeEach(async () => {
  desk = new Desk();
  outbox = await desk.open();
});

afterEach(() => outbox.stop());

const want = (operation: string) => outbox.add({ operation, request: { id: operation } });
const shelf = () => desk.shelf.all();

test("a wish is on the shelf before it is sent, and leaves it with the answer", async () => {
  const outcome = await want("checkIn");

  assert.deepEqual(outcome, { state: "done", number: 1, body: { did: "checkIn" } });
  assert.deepEqual(
    desk.sent.map(({ wasKept }) => wasKept),
    [true],
  );
  assert.deepEqual(await shelf(), []);
});

test("without a network the operator is told that it waits, and it is done when there is one", async () => {
  desk.network = "down";
  assert.deepEqual(await want("checkIn"), { state: "waiting", number: 1 });
  assert.deepEqual(await want("checkOut"), { state: "waiting", number: 2 });
  assert.deepEqual(desk.counts, [1, 2]);

  desk.network = "up";
  await desk.clock.advance(60_000);

  assert.deepEqual(
    desk.sent.map(({ operation }) => operation),
    ["checkIn", "checkOut"],
  );
  assert.deepEqual(
    desk.settled.map(({ state, number }) => [state, number]),
    [
      ["done", 1],
      ["done", 2],
    ],
  );
  assert.deepEqual(await shelf(), []);
});

test("what may have been done already is asked for again under its key", async () => {
  desk.replies.push(new TypeError("the answer was lost"), refusal(504, "OUTCOME_UNKNOWN", SOON));
  assert.equal((await want("issueKey")).state, "waiting");

  await desk.clock.advance(60_000);

  assert.equal(desk.sent.length, 3);
  assert.equal(new Set(desk.sent.map(({ key }) => key)).size, 1);
  assert.equal(desk.settled.at(-1)?.state, "done");
});

test("no wish overtakes one that was before it", async () => {
  desk.replies.push(refusal(503, "UPSTREAM_UNAVAILABLE", SOON));
  await want("issueKey");
  await want("revokeKey");
  await desk.clock.advance(60_000);

  const order = desk.sent.map(({ operation }) => operation);
  assert.deepEqual(order.slice(-2), ["issueKey", "revokeKey"]);
  assert.ok(!order.slice(0, -1).includes("revokeKey"));
});

test("a service that names a time is not asked before", async () => {
  desk.replies.push(refusal(503, "OVERLOADED", { retriable: true, retryAfter: 30 }));
  await want("checkIn");
  await desk.clock.advance(30_000);
  assert.equal(desk.sent.length, 1);

  await desk.clock.advance(2_000);

  assert.equal(desk.sent.length, 2);
});

test("a refusal is told, stays until it was seen and holds nobody up", async () => {
  desk.replies.push(refusal(409, "ALREADY_CHECKED_IN"));
  const refused = await want("checkIn");
  const next = await want("checkOut");

  assert.ok(refused.state === "refused" && refused.problem.code === "ALREADY_CHECKED_IN");
  assert.equal(next.state, "done");
  assert.deepEqual(
    (await shelf()).map((wish) => wish.refusal?.code),
    ["ALREADY_CHECKED_IN"],
  );
  await outbox.dismiss(1);
  assert.deepEqual(await shelf(), []);
});

test("what waits cannot be dismissed", async () => {
  desk.network = "down";
  await want("checkIn");

  await outbox.dismiss(1);

  assert.equal((await shelf()).length, 1);
});

test("a restart loses nothing and mints no new key", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "outbox-"));
  const file = path.join(folder, "wishes.json");
  await outbox.stop();
  outbox = await desk.open(await FileShelf.open(file));
  desk.replies.push(new TypeError("the answer was lost"));
  await want("issueKey");
  await outbox.stop();

  outbox = await desk.open(await FileShelf.open(file));
  const next = await want("revokeKey");

  assert.equal(next.state, "done");
  const [first, again, last] = desk.sent;
  assert.equal(again?.key, first?.key);
  assert.deepEqual(
    [first, again, last].map((request) => request?.operation),
    ["issueKey", "issueKey", "revokeKey"],
  );
  assert.deepEqual(await (await FileShelf.open(file)).all(), []);
  await rm(folder, { recursive: true });
});

test("a session that has ended keeps everything for the next one", async () => {
  for (const [status, code] of [
    [401, "SESSION_REVOKED"],
    [426, "VERSION_BLOCKED"],
  ] as const) {
    desk.replies.push(refusal(status, code));
    assert.equal((await want("checkIn")).state, "waiting");
    const asked = desk.sent.length;
    await desk.clock.advance(DAY_MS / 2);
    assert.equal(desk.sent.length, asked, "nobody is asked in vain");

    outbox.wake();
    await desk.clock.advance(0);

    assert.deepEqual(await shelf(), []);
  }
});

test("a key that grew old unsent is replaced, one that may have arrived never", async () => {
  desk.network = "down";
  await want("checkIn");
  const waiting = want("checkOut");
  await outbox.stop();
  await waiting;
  const [attempted, unsent] = (await shelf()).map(({ key }) => key);

  await desk.clock.advance(DAY_MS);
  desk.network = "up";
  outbox = await desk.open();
  await settled();

  const [first, second] = desk.sent;
  assert.equal(first?.key, attempted);
  assert.equal(second?.operation, "checkOut");
  assert.notEqual(second?.key, unsent);
});

test("what cannot be stored is not promised", async () => {
  desk.shelf.isBroken = true;
  await assert.rejects(want("checkIn"), /disk is full/);
  desk.shelf.isBroken = false;

  assert.equal((await want("checkOut")).state, "done");
  assert.deepEqual(
    desk.sent.map(({ operation }) => operation),
    ["checkOut"],
  );
});

test("an outbox holds no more than can be sent while its keys are good", async () => {
  desk.network = "down";
  for (let wishes = 0; wishes < 1_000; wishes += 1) await want("recordActivity");

  await assert.rejects(want("recordActivity"), /full/);
});
