/** What a renderer is told over the bridge. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import type { SessionEnd } from "../../../../schemas/desktop.js";
import { type OpenBridge, openBridge } from "../../src/bridge.js";
import { Desktop, type Tokens } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { until } from "../support/wait.js";
import { FakeClock } from "./fake-clock.js";
import { FakeShelf } from "./fake-shelf.js";

const HINT = "/offline-queue/hint";

let bridge: OpenBridge;
let shelf: FakeShelf;
let clock: FakeClock;
let asked: { path: string; body: string; headers: Headers }[];
/** What comes of a request, by its path; an empty success when there is nothing. */
let answers: Record<string, () => Response>;

beforeEach(async () => {
  [asked, answers, shelf, clock] = [[], {}, new FakeShelf(), new FakeClock()];
  const tokens = { accessToken: "token", deviceId: "dev_1", propertyIds: ["ppt_1"] } as Tokens;
  const desktop = new Desktop({
    origin: "https://service.example",
    key: await DeviceKey.generate(),
    tokens,
    app: { version: "1.4.2", platform: "linux" },
    networkMode: () => "good",
    fetch: async (input) => {
      const request = input as Request;
      const path = new URL(request.url).pathname.split("/v1")[1] ?? "";
      asked.push({ path, body: await request.text(), headers: request.headers });
      return answers[path]?.() ?? Response.json({});
    },
  });
  bridge = await openBridge({ desktop, shelf, clock });
});

function refusing(status: number, code: string): () => Response {
  const problem = { status, code, title: code, userMessage: code, retriable: false };
  const headers = { "Content-Type": "application/problem+json" };
  return () => new Response(JSON.stringify(problem), { status, headers });
}

function cutOff(): never {
  throw new TypeError("no network");
}

/** An answer of which so much comes, and then the network is gone. */
function cutAfter(text: string, init: ResponseInit = {}): () => Response {
  const bytes = new TextEncoder().encode(text);
  let isGiven = text === "";
  const pull = (controller: ReadableStreamDefaultController): void => {
    if (isGiven) controller.error(new TypeError("network error"));
    else controller.enqueue(bytes);
    isGiven = true;
  };
  return () => new Response(new ReadableStream({ pull }), init);
}

test("a success, a refusal and a silence of the service are values", async () => {
  const { reads } = bridge.melmastoon;
  answers["/session"] = () => Response.json({ id: "bos_1" });
  answers["/preferences"] = () => Response.json({ preferences: {} }, { headers: { ETag: '"1"' } });
  answers["/devices"] = refusing(403, "SCOPE_DENIED");
  answers["/bootstrap"] = cutOff;
  answers["/alerts"] = () => new Response("<h1>Please sign in to the Wi-Fi</h1>");

  assert.deepEqual(await reads.session(), { state: "ok", body: { id: "bos_1" } });
  const preferences = { state: "ok", body: { preferences: {} }, etag: '"1"' };
  assert.deepEqual(await reads.getPreferences(), preferences);
  const refused = await reads.listDevices();
  assert.ok(refused.state === "refused" && refused.problem.code === "SCOPE_DENIED");
  assert.deepEqual(await reads.bootstrap(), { state: "unreachable" });
  assert.deepEqual(await reads.listAlerts({}), { state: "unreachable" });
});

test("an answer that is cut in its middle is a silence of the service", async () => {
  const { reads, dashboard } = bridge.melmastoon;
  answers["/session"] = cutAfter('{"id":"bo');
  answers["/bootstrap"] = cutAfter("");
  const problem = { headers: { "Content-Type": "application/problem+json" }, status: 403 };
  answers["/devices"] = cutAfter('{"status":403,', problem);
  answers["/dashboard"] = cutAfter('{"frame":"skeleton"}\n{"frame":"wid');
  const frames: string[] = [];

  assert.deepEqual(await reads.session(), { state: "unreachable" });
  assert.deepEqual(await reads.bootstrap(), { state: "unreachable" });
  assert.deepEqual(await reads.listDevices(), { state: "unreachable" });
  const shown = dashboard({ propertyId: "ppt_1" }, ({ frame }) => void frames.push(frame));
  assert.deepEqual(await shown, { state: "unreachable" });
  assert.deepEqual(frames, ["skeleton"]);
});

test("a dashboard is whole when its last frame has come, whatever becomes of the network", async () => {
  answers["/dashboard"] = cutAfter('{"frame":"skeleton"}\n{"frame":"end"}\n');
  const frames: string[] = [];

  const shown = await bridge.melmastoon.dashboard({ propertyId: "ppt_1" }, ({ frame }) => {
    frames.push(frame);
  });

  assert.deepEqual(shown, { state: "ok", body: null });
  assert.deepEqual(frames, ["skeleton", "end"]);
});

test("an action whose answer is cut in its middle waits, and is asked for again under its key", async () => {
  const path = "/reservations/rsv_1/check-in";
  answers[path] = cutAfter('{"state":"in_ho');
  const outcome = await bridge.melmastoon.actions.checkIn({ id: "rsv_1", body: {} });
  assert.equal(outcome.state, "waiting");
  assert.equal((await bridge.melmastoon.outbox.pending()).length, 1);

  answers[path] = () => Response.json({ state: "in_house" });
  bridge.wake();

  await until("nothing waits", async () => (await shelf.all()).length === 0 || undefined);
  const hints = () => asked.filter((request) => request.path === HINT);
  await until("nobody is told that it does", async () => hints().length === 2 || undefined);
  const keys = asked
    .filter((request) => request.path === path)
    .map(({ headers }) => headers.get("X-Idempotency-Key"));
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

test("path, property and version of an action stand where the contract has them", async () => {
  const { checkIn } = bridge.melmastoon.actions;
  await checkIn({ id: "rsv 1", propertyId: "ppt_1", ifMatch: '"3"', body: { note: "late" } });

  const [request] = asked;
  assert.equal(request?.path, "/reservations/rsv%201/check-in");
  assert.equal(request.body, '{"note":"late"}');
  assert.equal(request.headers.get("X-Property-Id"), "ppt_1");
  assert.equal(request.headers.get("If-Match"), '"3"');
});

test("the end of the session is told once, and what waits stays", async () => {
  const ends: SessionEnd[] = [];
  bridge.melmastoon.onSessionEnd((end) => ends.push(end));
  answers["/session"] = refusing(401, "SESSION_REVOKED");
  answers["/reservations/rsv_1/check-in"] = refusing(401, "SESSION_REVOKED");

  const outcome = await bridge.melmastoon.actions.checkIn({ id: "rsv_1", body: {} });
  await bridge.melmastoon.reads.session();

  assert.equal(outcome.state, "waiting");
  assert.deepEqual(ends, [{ kind: "force-logout", reason: "SESSION_REVOKED" }]);
  assert.equal((await shelf.all()).length, 1);
});

test("the operator's other devices are told what waits, and when nothing does any more", async () => {
  const hints = () => asked.filter(({ path }) => path === HINT).map(({ body }) => body);
  const told = (body: string) => async () => hints().includes(body) || undefined;
  answers["/reservations/rsv_1/check-in"] = cutOff;
  const outcome = await bridge.melmastoon.actions.checkIn({ id: "rsv_1", body: {} });
  assert.equal(outcome.state, "waiting");
  await until("the hint is told", told('{"pendingActions":1}'));

  delete answers["/reservations/rsv_1/check-in"];
  bridge.wake();

  await until("the hint is taken back", told('{"pendingActions":0}'));
  assert.deepEqual(await bridge.melmastoon.outbox.pending(), []);
});

test("the desktop reports itself at once and every minute, until its session has ended", async () => {
  const path = "/devices/dev_1/heartbeat";
  const reports = () => asked.filter((request) => request.path === path);
  const reported = (times: number) =>
    until("the desktop reports", async () => times === reports().length || undefined);
  const started = new Date(clock.now()).toISOString();
  bridge.start();
  await reported(1);
  const self = { appVersion: "1.4.2", networkMode: "good" };
  const first = { ...self, pendingActions: 0, lastSyncAt: null, clock: started };
  assert.deepEqual(JSON.parse(reports()[0]?.body ?? ""), first);

  answers[path] = cutOff;
  answers["/reservations/rsv_1/check-in"] = cutOff;
  await bridge.melmastoon.actions.checkIn({ id: "rsv_1", body: {} });
  await bridge.melmastoon.calls.advanceSyncCursor({
    body: { stream: "reservations", expectedCursor: null, cursor: "c1" },
  });
  await clock.advance(59_000);
  assert.equal(reports().length, 1);
  await clock.advance(1_000);
  await reported(2);
  const second = JSON.parse(reports()[1]?.body ?? "") as Record<string, unknown>;
  assert.equal(second["pendingActions"], 1);
  assert.equal(second["lastSyncAt"], started);

  answers[path] = refusing(401, "SESSION_REVOKED");
  await clock.advance(60_000);
  await reported(3);
  await clock.advance(600_000);
  assert.equal(reports().length, 3);
});
