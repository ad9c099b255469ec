/** The bridge beside the contract. That their types are the same, `bridge-types.ts` compiles. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { ACTIONS, CALLS, READS } from "../../src/bridge.js";
import { ROUTES } from "../../src/generated/routes.js";
import { DIFFERENCES } from "./bridge-types.js";

/** What the desktop does by itself, or nobody at a desk does. */
const NOT_ASKED_BY_NAME = {
  dashboard: "told frame by frame: `melmastoon.dashboard`",
  live: "`melmastoon.live`",
  pollLive: "`melmastoon.live`",
  signOut: "`melmastoon.signOut`",
  refresh: "tokens stay on the other side of the bridge",
  putOfflineQueueHint: "the outbox tells how much waits",
  listOpenLockActions: "for auditors",
};

test("every operation of the contract is on the bridge, or it is said why not", () => {
  const named = [...READS, ...CALLS, ...ACTIONS, ...Object.keys(NOT_ASKED_BY_NAME)];

  assert.deepEqual(named.sort(), Object.keys(ROUTES).sort());
  assert.deepEqual(DIFFERENCES, []);
});

test("reads change nothing, and what changes something does not pass for a read", () => {
  const methods = (names: readonly (keyof typeof ROUTES)[]) =>
    new Set(names.map((name) => ROUTES[name].method));

  assert.deepEqual(methods(READS), new Set(["get"]));
  assert.ok(!methods([...CALLS, ...ACTIONS]).has("get"));
});
