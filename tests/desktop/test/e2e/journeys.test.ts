/** What an operator does in a day, from the page to the upstream services and back. */
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { found } from "../support/operator.js";
import { calls, effects, happen, heal, type Item, revoke, world } from "../support/simulator.js";
import { until } from "../support/wait.js";
import { House } from "./house.js";
import type { Seat } from "./seat.js";

const LOCKS = "lock-integration-service";
const RESERVATIONS = "reservation-service";
const WIDGETS_MIN = 10;
/** Until a page that was told to sign out has done so (SLO of force-logout). */
const FORCE_LOGOUT_MAX_MS = 5_000;

let house: House;
before(async () => {
  house = await House.open();
});
afterEach(async () => {
  await heal(LOCKS);
  await house.clear();
});
after(() => house.close());

test("refresh: before its token ends, the desk has another one and nobody notices", async () => {
  // A stream asks for a new token 30 s before the old one ends.
  const seat = await house.takeSeat({ ttlSeconds: 34 });
  const { operatorId, deviceId } = await seat.operator();
  await seat.live("streaming");

  await until("iam-service has given new tokens", async () => {
    return (await calls("iam-service", "/auth/refresh", deviceId))[0];
  });
  await heardAlert(seat, await raise(seat, "A door does not answer"));

  await seat.sees("session", `signed in as ${operatorId}`);
});

test("dashboard: every widget of the property is shown", async () => {
  const seat = await house.takeSeat();
  const widgets = seat.page.locator("#dashboard li");

  await seat.rowSays("dashboard", "arrivals", "Arrivals:");

  // On a busy machine an upstream may be late; then the operator looks once more.
  await until("every widget is there", async () => {
    const shown = await widgets.allTextContents();
    if (shown.length < WIDGETS_MIN || shown.some((widget) => widget.includes(": …")))
      return undefined;
    if (shown.every((widget) => widget.includes(": ok"))) return shown;
    await seat.open();
    return undefined;
  });
});

test("workbench: the boards list what the upstream services have", async () => {
  const seat = await house.takeSeat();
  const propertyId = await seat.propertyId();
  const isHere = (it: Item) => it.propertyId === propertyId;
  const { tasks, workOrders } = await world();
  const boards = [
    ["Housekeeping", found(tasks.find(isHere))],
    ["Maintenance", found(workOrders.find(isHere))],
  ] as const;

  for (const [board, { id, state }] of boards) {
    await until(`${board} shows what is to be done`, async () => {
      await seat.press(board);
      return (await seat.row("board", id, state).count()) || undefined;
    });
  }
});

test("mutations: a guest is checked in once, though the network fails and the desk restarts", async () => {
  const seat = await house.takeSeat();
  const guest = await expectedGuest(seat);
  await seat.press("Front desk");
  const path = `/reservations/${guest.id}/check-in`;

  seat.network.weather = "loses-answers";
  await seat.row("board", guest.id).getByRole("button", { name: "Check in" }).click();
  await until("the answer is lost", async () => 0 < seat.network.lost || undefined);
  await seat.sees("outbox", "1 waiting");
  assert.equal((await effects(RESERVATIONS, path)).length, 1);
  await seat.cutOff();
  await seat.reconnect();
  await seat.open();
  await seat.sees("outbox", "nothing waits");

  await seat.press("Front desk");
  await seat.rowSays("board", guest.id, "in_house");
  assert.equal((await effects(RESERVATIONS, path)).length, 1);
});

test("lock issue: a key is issued once, and the lock service is told who asked", async () => {
  const seat = await house.takeSeat();
  const { operatorId, deviceId } = await seat.operator();
  const before = (await effects(LOCKS, "/key-credentials")).length;

  await issueKey(seat);

  const issued = (await effects(LOCKS, "/key-credentials")).slice(before);
  assert.equal(issued.length, 1);
  const audit = JSON.stringify(issued[0]?.body);
  assert.ok(audit.includes(operatorId) && audit.includes(deviceId), audit);
});

test("lock revoke: a key is revoked once, after the operator has stepped up", async () => {
  const seat = await house.takeSeat();
  const key = await issueKey(seat);
  const path = `/key-credentials/${key}/revoke`;

  await seat.press("Revoke key");
  const code = seat.page.getByLabel("Code of your second factor");
  await until("the code is asked for", async () => (await code.isEnabled()) || undefined);
  assert.deepEqual(await effects(LOCKS, path), []);
  await code.fill("000000");
  await seat.press("Confirm");

  await seat.sees("notices", `revoked ${key}`);
  const revoked = await effects(LOCKS, path);
  assert.equal(revoked.length, 1);
  assert.match(JSON.stringify(revoked[0]?.body), /mfa_attestation/);
});

test("AI decide: a suggestion appears, is accepted and told to the orchestrator once", async () => {
  const seat = await house.takeSeat();
  await seat.live("streaming");
  const proposed = await told(seat, "melmastoon.ai_orchestrator.suggestion.proposed.v1", {
    category: "rate_change",
    title: "Raise the rate",
  });
  const id = found(proposed["suggestionId"]);

  await seat.row("suggestions", id).getByRole("button", { name: "Accept" }).click();

  await seat.rowSays("suggestions", id, "decided accept");
  const path = `/ai/suggestions/${id}/decision`;
  await until("the orchestrator is told", async () => {
    return (await effects("ai-orchestrator-service", path))[0];
  });
  assert.equal((await effects("ai-orchestrator-service", path)).length, 1);
});

test("alert ack: an alert is acknowledged at one desk, and every other desk sees it", async () => {
  const seat = await house.takeSeat();
  const colleague = await house.takeSeat();
  await Promise.all([seat.live("streaming"), colleague.live("streaming")]);
  const id = await raise(seat, "The safe is open");

  await seat.row("alerts", id).getByRole("button", { name: "Acknowledge" }).click();

  await seat.rowSays("alerts", id, "acknowledged");
  await colleague.rowSays("alerts", id, "acknowledged");
  const path = `/alerts/${id}/acknowledge`;
  await until("notification-service is told", async () => {
    return (await effects("notification-service", path))[0];
  });
  assert.equal((await effects("notification-service", path)).length, 1);
});

test("sync handshake: the desk learns where to synchronise, and its cursor is kept", async () => {
  const seat = await house.takeSeat();
  const { deviceId } = await seat.operator();

  await seat.press("Synchronise");

  await seat.sees("sync", /^https:.*"reservations":"c1"/);
  assert.equal((await calls("sync-service", "/sync/handshake", deviceId)).length, 1);
  const advanced = await effects("sync-service", "/sync/cursors");
  assert.equal(advanced.filter(({ body }) => JSON.stringify(body).includes(deviceId)).length, 1);
});

test("SSE channel: each alert is heard once, also over a cut of the network", async () => {
  const seat = await house.takeSeat();
  await seat.live("streaming");
  const first = await raise(seat, "The first");
  await heardAlert(seat, first);

  await seat.cutOff();
  const missed = await raise(seat, "While nobody listened");
  await seat.reconnect();
  await heardAlert(seat, missed);
  const last = await raise(seat, "The last");
  await heardAlert(seat, last);

  await seat.live("streaming");
  assert.deepEqual(await heardOf(seat, [first, missed, last]), [first, missed, last]);
});

test("force-logout: a revoked session is shown as ended within five seconds", async () => {
  const seat = await house.takeSeat();
  await seat.live("streaming");
  const { tenantId, deviceId } = await seat.operator();

  const revokedAt = performance.now();
  await revoke({ tenantId, deviceId });
  await seat.sees("session", "signed out: force-logout");

  assert.ok(performance.now() - revokedAt < FORCE_LOGOUT_MAX_MS);
  const answer = await seat.page.evaluate(() => window.melmastoon.reads.session());
  assert.ok(answer.state === "refused" && answer.problem.status === 401, JSON.stringify(answer));
});

test("SSE to polling: where streams are cut off, each alert is heard once by polls", async () => {
  const seat = await house.takeSeat();
  await seat.live("streaming");
  const first = await raise(seat, "By the stream");
  await heardAlert(seat, first);

  seat.network.weather = "breaks-streams";
  seat.network.cut();
  const between = await raise(seat, "Between stream and polls");
  await seat.live("polling");
  const polled = await raise(seat, "By a poll");
  await heardAlert(seat, polled);

  assert.equal(seat.network.broken, 2, "beside the one that stood");
  assert.deepEqual(await heardOf(seat, [first, between, polled]), [first, between, polled]);
});

/** Something happens at the property of a seat. */
async function told(seat: Seat, subject: string, payload: Record<string, unknown>) {
  const { tenantId } = await seat.operator();
  return happen(subject, tenantId, { propertyId: await seat.propertyId(), ...payload });
}

async function raise(seat: Seat, title: string): Promise<string> {
  const subject = "melmastoon.notification.alert.raised.v1";
  const raised = await told(seat, subject, { severity: "high", category: "lock", title });
  return found(raised["alertId"]);
}

async function heardAlert(seat: Seat, id: string): Promise<void> {
  await seat.sees("heard", `alert.raised ${id}`);
}

/** Those of the alerts that were heard, in the order and as often as they were. */
async function heardOf(seat: Seat, ids: string[]): Promise<string[]> {
  const heard = await seat.heard("alert.raised");
  return heard.map((text) => text.split(" ")[1] ?? "").filter((id) => ids.includes(id));
}

async function expectedGuest(seat: Seat): Promise<Item> {
  const propertyId = await seat.propertyId();
  const { reservations } = await world();
  const today = new Date().toISOString().slice(0, 10);
  return found(
    reservations.find((it) => {
      const isHere = it.propertyId === propertyId && it.state === "confirmed";
      return isHere && it.arrivalDate <= today;
    }),
  );
}

/** Has a key issued for a door of the property; answers its id. */
async function issueKey(seat: Seat): Promise<string> {
  const propertyId = await seat.propertyId();
  const { locks, reservations } = await world();
  const lock = found(locks.find((it) => it.propertyId === propertyId));
  await seat.fill("Lock", lock.id);
  await seat.fill("Room", lock.roomId);
  await seat.fill("Reservation", found(reservations.find((it) => it.propertyId === propertyId)).id);

  await seat.press("Issue key");

  await seat.sees("notices", "issued ");
  return seat.page.getByLabel("Key", { exact: true }).inputValue();
}
