/** Live events over a network that a test decides on. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Live, type LiveEnd, type LiveEvent } from "../../src/live.js";
import { FakeClock, settled } from "./fake-clock.js";
import { FakeService, refusal } from "./fake-service.js";

let clock: FakeClock;
let service: FakeService;
let live: Live;
let end: Promise<LiveEnd>;

beforeEach(async () => {
  clock = new FakeClock();
  service = new FakeService();
  live = new Live(service, clock, service);
});

afterEach(async () => {
  live.stop();
  await end;
});

async function start(): Promise<void> {
  end = live.run();
  await settled();
}

async function startPolling(): Promise<void> {
  service.isStreaming = false;
  await start();
  await clock.advance(15_000);
  assert.deepEqual(service.polled, [undefined]);
}

function alert(id: string): LiveEvent {
  return { event: "alerts", id, data: { kind: "alert.raised", id } };
}

test("what happens is heard in order, and the connection's own words are not passed on", async () => {
  await start();
  service.stream.hello();
  service.stream.alert("a1");
  service.stream.write(": heartbeat\n\n");
  service.stream.say("dashboard-refresh-hints", { kind: "refresh", id: "h1" });
  service.stream.alert("a2");
  await settled();

  assert.deepEqual(service.heard, ["a1", "h1", "a2"]);
  assert.deepEqual(service.states, ["connecting", "streaming"]);
  assert.deepEqual(service.refetched, []);
});

test("an event that comes in pieces is one event", async () => {
  await start();
  for (const piece of [
    "id: c1\nevent: al",
    'erts\ndata: {"kind":"alert.raised",',
    '"id":"a1"}\n\n',
  ])
    service.stream.write(piece);
  await settled();

  assert.deepEqual(service.heard, ["a1"]);
});

test("a stream that is cut off goes on from the last event, and screens are fetched again", async () => {
  await start();
  service.stream.hello();
  service.stream.alert("a1");
  service.stream.say("dashboard-refresh-hints", { kind: "refresh", id: "h1" });
  await settled();
  service.stream.end();
  await clock.advance(2_000);
  service.stream.hello("a1");
  service.stream.alert("a2");
  await settled();

  assert.deepEqual(service.opened, [undefined, "a1"]);
  assert.deepEqual(service.heard, ["a1", "h1", "a2"]);
  assert.deepEqual(service.refetched, ["screens"]);
});

test("a stream that has fallen silent is given up", async () => {
  await start();
  const first = service.stream;
  first.hello();
  await clock.advance(39_000);
  first.write(": heartbeat\n\n");
  await clock.advance(39_000);
  assert.equal(first.isClosed, false);

  await clock.advance(5_000);

  assert.equal(first.isClosed, true);
  assert.deepEqual(service.opened, [undefined, "c0"]);
});

test("asked to come back, it waits a part of the time that it was told and uses the nonce", async (t) => {
  t.mock.method(clock, "chance", () => 0.5);
  await start();
  service.stream.hello();
  service.stream.say("session", { kind: "reconnect", nonce: "n1" });
  await clock.advance(2_400);
  assert.equal(service.opened.length, 1);

  await clock.advance(200);

  assert.deepEqual(service.opened, [undefined, "c0"]);
  assert.deepEqual(service.nonces, ["n1"]);
});

test("before its token ends it gets another one and comes back at once", async () => {
  await start();
  service.stream.hello();
  service.stream.say("session", { kind: "reauth", nonce: "n1" });
  await settled();

  assert.equal(service.refreshes, 1);
  assert.deepEqual(service.opened, [undefined, "c0"]);
  assert.deepEqual(service.nonces, ["n1"]);
});

test("an operator who gets no other token has been signed out", async (t) => {
  const code = "MELMASTOON.IAM.INVALID_GRANT";
  t.mock.method(service, "refresh", () => Promise.reject(refusal(400, code)));
  await start();
  service.stream.hello();
  service.stream.say("session", { kind: "reauth" });

  assert.deepEqual(await end, { kind: "force-logout", reason: code });
});

test("a cursor that is too old is replaced, and everything is fetched again", async () => {
  await start();
  service.stream.hello();
  service.stream.say("session", { kind: "reset" }, "c9");
  await settled();
  service.stream.end();
  await clock.advance(2_000);

  assert.deepEqual(service.refetched, ["everything"]);
  assert.deepEqual(service.opened, [undefined, "c9"]);
});

test("a cursor that the service does not know is forgotten, and everything is fetched again", async () => {
  await start();
  service.stream.hello();
  await settled();
  service.openings.push(refusal(400, "MELMASTOON.GENERAL.VALIDATION_FAILED"));
  service.stream.end();
  await clock.advance(2_000);

  assert.deepEqual(service.opened, [undefined, "c0", undefined]);
  assert.deepEqual(service.refetched, ["everything"]);
});

test("after each goodbye for good nothing is opened any more", async (t) => {
  for (const kind of ["force-logout", "superseded", "version-blocked"]) {
    await t.test(kind, async () => {
      service = new FakeService();
      live = new Live(service, clock, service);
      await start();
      service.stream.hello();
      service.stream.say("session", { kind, reason: "why" });

      assert.deepEqual(await end, { kind, reason: "why" });
      await clock.advance(600_000);
      assert.equal(service.opened.length, 1);
      assert.equal(service.states.at(-1), "ended");
    });
  }
});

test("a revoked session ends it, and so does an app that is too old", async (t) => {
  const ends = [
    [401, "MELMASTOON.AUTH.SESSION_REVOKED", "force-logout"],
    [426, "MELMASTOON.SYNC.VERSION_BLOCKED", "version-blocked"],
    [404, "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND", "refused"],
  ] as const;
  for (const [status, code, kind] of ends) {
    await t.test(code, async () => {
      service = new FakeService();
      service.openings.push(refusal(status, code));
      live = new Live(service, clock, service);
      await start();

      assert.deepEqual(await end, { kind, reason: code });
    });
  }
});

test("three streams in vain are enough to poll, from the same cursor on", async () => {
  await start();
  service.stream.hello();
  service.stream.alert("a1");
  await settled();
  service.isStreaming = false;
  service.stream.end();
  await clock.advance(15_000);

  assert.deepEqual(service.opened, [undefined, "a1", "a1"]);
  assert.deepEqual(service.polled, ["a1"]);
  service.answer("c2", alert("a2"));
  await settled();
  assert.deepEqual(service.heard, ["a1", "a2"]);
  assert.deepEqual(service.polled, ["a1", "c2"]);
  assert.deepEqual(service.waits, [0, 10_000]);
  assert.equal(service.states.at(-1), "polling");
  assert.deepEqual(service.refetched, ["screens"]);
});

test("a stream that something in between keeps back counts as one in vain", async () => {
  await start();
  await clock.advance(40_000);

  assert.equal(service.opened.length, 3);
  assert.ok(service.streams.every(({ isClosed }) => isClosed));
  assert.deepEqual(service.polled, [undefined]);
});

test("after a minute of polls the stream is tried, and goes on where the polls were", async () => {
  await startPolling();
  service.isStreaming = true;
  await clock.advance(61_000);
  service.answer("c5", alert("a1"));
  await settled();
  assert.equal(service.opened.at(-1), "c5");
  service.stream.hello("c5");
  service.stream.alert("a2");
  await settled();

  assert.deepEqual(service.heard, ["a1", "a2"]);
  assert.equal(service.states.at(-1), "streaming");
  assert.deepEqual(service.refetched, ["screens", "screens"]);
});

test("each try in vain is followed by twice the time of polls", async () => {
  await startPolling();
  const triesAfter = async (ms: number): Promise<number> => {
    await clock.advance(ms);
    service.answer("c1");
    await settled();
    await clock.advance(10_000);
    return service.opened.length;
  };

  assert.equal(await triesAfter(61_000), 4);
  assert.equal(await triesAfter(61_000), 4);
  assert.equal(await triesAfter(61_000), 5);
});

test("advised to poll it does so at once from its cursor on, and tries a stream when it was told to", async () => {
  await start();
  service.stream.hello();
  service.stream.alert("a1");
  await settled();
  service.stream.end();
  await clock.advance(2_000);
  service.stream.say("session", { kind: "poll", retryAfter: 240, nonce: "n1" });
  service.stream.end();
  await settled();
  assert.deepEqual(service.polled, ["a1"]);
  assert.deepEqual(service.nonces, ["n1"]);

  service.answer("c2", alert("a2"));
  await clock.advance(239_000);
  assert.deepEqual(service.heard, ["a1", "a2"]);
  assert.equal(service.opened.length, 2);
  await clock.advance(2_000);
  service.answer("c3");
  await settled();

  assert.deepEqual(service.opened, [undefined, "a1", "c3"]);
  assert.deepEqual(service.refetched, ["screens"]);
});

test("where polls fail too, the next that is tried is a stream", async () => {
  await startPolling();
  service.isStreaming = true;
  service.failPoll();
  await clock.advance(9_000);
  service.stream.hello();
  await settled();

  assert.equal(service.states.at(-1), "streaming");
});

test("a poll says the same of the connection as a stream", async () => {
  await startPolling();
  service.answer("c1", {
    event: "session",
    data: { kind: "force-logout", reason: "security" },
  });

  assert.deepEqual(await end, { kind: "force-logout", reason: "security" });
});

test("an overloaded service is left alone for as long as it asks", async () => {
  const overloaded = { retriable: true, retryAfter: 30 };
  service.openings.push(refusal(503, "MELMASTOON.BFF.OVERLOADED", overloaded));
  await start();
  await clock.advance(30_000);
  assert.equal(service.opened.length, 1);

  await clock.advance(2_000);

  assert.equal(service.opened.length, 2);
});

test("when the network is back it does not wait any longer", async () => {
  service.openings.push(new TypeError("no network"));
  await start();
  assert.equal(service.opened.length, 1);

  live.wake();
  await settled();

  assert.equal(service.opened.length, 2);
});
