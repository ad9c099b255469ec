/** A wish is fulfilled once, however often it is asked for. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { doorFor, keyWish } from "../support/door.js";
import { alerts, raisedAlert } from "../support/inbox.js";
import { signIn } from "../support/operator.js";
import { effects, fault, heal } from "../support/simulator.js";
import { until } from "../support/wait.js";
import { Wire } from "../support/wire.js";
import { answerOf } from "../../src/desktop.js";
import { ProblemError } from "../../src/problem.js";
import { newWish } from "../../src/wish.js";

const LOCKS = "lock-integration-service";

afterEach(() => heal(LOCKS));

test("a repetition gets the first answer and notification-service is told once", async () => {
  const { desktop } = await signIn();
  const id = await raisedAlert(desktop);
  const params = { path: { id }, header: newWish() };
  const acknowledge = () => desktop.api.POST("/alerts/{id}/acknowledge", { params, body: {} });

  const first = await answerOf(acknowledge());
  const again = await answerOf(acknowledge());

  assert.deepEqual(again.body, first.body);
  assert.equal(first.body.acknowledgedBy, desktop.tokens.operatorId);
  assert.equal(again.headers.get("Idempotency-Replayed"), "true");
  const path = `/alerts/${id}/acknowledge`;
  await until("the acknowledgment is told", async () => {
    const told = await effects("notification-service", path);
    return told.length > 0 ? told : undefined;
  });
  assert.equal((await effects("notification-service", path)).length, 1);
});

test("another wish under the same key is refused", async () => {
  const { desktop } = await signIn();
  const header = newWish();
  const put = (pendingActions: number) =>
    desktop.api.PUT("/offline-queue/hint", { params: { header }, body: { pendingActions } });
  await put(1);

  const refusal = await put(2).catch((error: unknown) => error);

  assert.ok(refusal instanceof ProblemError, String(refusal));
  assert.deepEqual(
    [refusal.status, refusal.code, refusal.retriable],
    [422, "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED", false],
  );
});

test("a key whose answer was lost is asked for again under its wish and issued once", async () => {
  const { desktop } = await signIn();
  const door = await doorFor(desktop);
  const params = { path: { lockId: door.lockId }, header: newWish() };
  const body = keyWish(door);
  const issue = () => answerOf(desktop.api.POST("/locks/{lockId}/issue-key", { params, body }));
  const before = (await effects(LOCKS, "/key-credentials")).length;
  await fault(LOCKS, { dropAfterEffect: true });

  const lost = await issue().catch((error: unknown) => error);
  await heal(LOCKS);
  const issued = await until("the wish is fulfilled", () =>
    issue().catch((error: unknown) => {
      if (error instanceof ProblemError && error.retriable) return undefined;
      throw error;
    }),
  );

  assert.ok(lost instanceof ProblemError, String(lost));
  assert.deepEqual(
    [lost.status, lost.code, lost.retriable],
    [504, "MELMASTOON.BFF.OUTCOME_UNKNOWN", true],
  );
  assert.equal(issued.body.state, "issued");
  assert.equal((await effects(LOCKS, "/key-credentials")).length - before, 1);
});

test("a read knows of the write before it, because it says how far to wait", async () => {
  const wire = new Wire();
  const { desktop } = await signIn({}, { fetch: wire.fetch });
  const id = await raisedAlert(desktop);

  const params = { path: { id }, header: newWish() };
  const written = await answerOf(
    desktop.api.POST("/alerts/{id}/acknowledge", { params, body: {} }),
  );
  const seen = (await alerts(desktop)).find((alert) => alert.id === id);

  assert.equal(seen?.state, "acknowledged");
  assert.equal(wire.sent("X-Min-Position").at(-1), written.headers.get("X-Ledger-Position"));
});
