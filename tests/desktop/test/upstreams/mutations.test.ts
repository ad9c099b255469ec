/** What the service relies on where it passes a mutation on: every row of its table. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import type { Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { steppedUp } from "../support/door.js";
import { propertyOf, signIn, standardTenant } from "../support/operator.js";
import { world } from "../support/simulator.js";
import { EXAMPLES, example, fact } from "./facts.js";
import { CODE, KEYED, OF_OPERATOR, post, PROBLEM, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { like, regex } = MatchersV3;
const AMOUNT = { amountMicro: "1000000", currency: fact("currency") };
const NOTE = { note: "A quiet room" };
const VERSION = { ETag: regex('^".+"$', '"v2"') };

interface Row {
  /** What the operator wants, in words. */
  wish: string;
  service: string;
  /** At the service below /api/v1; ours is the same but for rooms. */
  path: string;
  ours?: string;
  given: string;
  body: Record<string, unknown>;
  status?: 201;
  isUnversioned?: true;
  /** Scope of the second factor that goes along. */
  stepUp?: string;
}

const RESERVATION = { service: "reservation-service", given: "a guest is expected" };
const FOLIO = {
  service: "billing-service",
  given: "a folio has a balance",
  status: 201,
  isUnversioned: true,
} as const;
const TASK = { service: "housekeeping-service", body: {} };
const ORDER = { service: "maintenance-service", given: "a work order is open" };

const ROWS: Row[] = [
  {
    ...RESERVATION,
    wish: "a check-in",
    path: "/reservations/${reservationId}/check-in",
    body: NOTE,
  },
  {
    ...RESERVATION,
    wish: "a check-out",
    path: "/reservations/${reservationId}/check-out",
    given: "a guest is in the house",
    body: NOTE,
  },
  {
    ...RESERVATION,
    wish: "a cancellation",
    path: "/reservations/${reservationId}/cancel",
    body: { reasonCode: "guest_request" },
  },
  {
    ...RESERVATION,
    wish: "a no-show",
    path: "/reservations/${reservationId}/no-show",
    body: NOTE,
  },
  {
    ...RESERVATION,
    wish: "another room",
    path: "/reservations/${reservationId}/assign-room",
    body: { roomId: fact("roomId") },
  },
  {
    ...RESERVATION,
    wish: "a longer stay",
    path: "/reservations/${reservationId}/extend-stay",
    given: "a guest is in the house",
    body: { departureDate: "2099-12-31" },
  },
  {
    ...FOLIO,
    wish: "a charge",
    path: "/folios/${folioId}/charges",
    body: { amount: AMOUNT, description: "Minibar" },
  },
  {
    ...FOLIO,
    wish: "a payment",
    path: "/folios/${folioId}/payments",
    body: { amount: AMOUNT, method: "cash" },
  },
  {
    service: "billing-service",
    wish: "the end of a folio",
    path: "/folios/${folioId}/close",
    given: "nothing is due on a folio",
    body: {},
    isUnversioned: true,
  },
  {
    ...FOLIO,
    wish: "a refund",
    path: "/folios/${folioId}/refunds",
    body: { amount: AMOUNT, reasonCode: "overcharge" },
    stepUp: "folio.refund",
  },
  {
    ...TASK,
    wish: "the beginning of a task",
    path: "/housekeeping/tasks/${taskId}/start",
    given: "nobody has begun a task",
  },
  {
    ...TASK,
    wish: "the end of a task",
    path: "/housekeeping/tasks/${taskId}/complete",
    given: "a task is under way",
  },
  {
    ...TASK,
    wish: "an inspection",
    path: "/housekeeping/tasks/${taskId}/inspect",
    given: "a task is done",
  },
  {
    ...TASK,
    wish: "the state of a room",
    path: "/housekeeping/rooms/${roomId}/status",
    ours: "/rooms/${roomId}/status",
    given: "a guest is in the house",
    body: { status: "dirty" },
    isUnversioned: true,
  },
  {
    ...ORDER,
    wish: "a new work order",
    path: "/maintenance/work-orders",
    given: "a guest is in the house",
    body: {
      propertyId: fact("propertyId"),
      title: "Shower leaks",
      category: "plumbing",
      severity: "high",
      roomId: fact("roomId"),
    },
    status: 201,
    isUnversioned: true,
  },
  {
    ...ORDER,
    wish: "somebody for a work order",
    path: "/maintenance/work-orders/${workOrderId}/assign",
    body: { assigneeId: fact("operatorId") },
  },
  {
    ...ORDER,
    wish: "a work order that has to wait",
    path: "/maintenance/work-orders/${workOrderId}/block",
    body: { reasonCode: "parts" },
  },
  {
    ...ORDER,
    wish: "a work order that is mended",
    path: "/maintenance/work-orders/${workOrderId}/resolve",
    body: {},
  },
  {
    ...ORDER,
    wish: "a mended work order that was looked at",
    path: "/maintenance/work-orders/${workOrderId}/verify",
    given: "a work order is resolved",
    body: {},
  },
];

let desktop: Desktop;
let property: Record<string, string>;
/** Of the tenant's threshold, below which a charge needs no second factor. */
let currency: string;
before(async () => {
  ({ desktop } = await signIn({ roles: ["front_desk", "property_manager"] }));
  currency = standardTenant(await world()).largeChargeThreshold.currency;
  property = { "X-Property-Id": propertyOf(desktop) };
});

for (const row of ROWS) {
  test(row.wish, async () => {
    const { path, ours = path, status = 200, stepUp } = row;
    const attestation = stepUp === undefined ? {} : await attested(row, stepUp);
    const answer = await relyOn(
      {
        service: row.service,
        given: [[SIGNED_IN], [row.given]],
        receiving: row.wish,
        method: "POST",
        path: `/api/v1${path}`,
        headers: {
          ...OF_OPERATOR,
          ...KEYED,
          "X-Operator-Roles": regex("^[a-z_,]+$", "front_desk,property_manager"),
          "X-Property-Id": fact("propertyId"),
          ...(stepUp === undefined ? {} : { "X-Mfa-Attestation": fact("attestationId") }),
        },
        body: row.body,
      },
      {
        status,
        ...(row.isUnversioned ? {} : { headers: VERSION }),
        body: { data: like({}) },
      },
      () =>
        post(desktop, example(ours), {
          headers: { ...newWish(), ...property, ...attestation },
          body: driven(row.body),
        }),
    );
    assert.equal(answer.response.status, status);
    assert.deepEqual(answer.data, { data: {} });
    assert.equal(answer.response.headers.get("ETag"), row.isUnversioned ? null : '"v2"');
  });
}

test("a check-in that comes too late", async () => {
  await relyOn(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest is in the house"]],
      receiving: "a check-in that comes too late",
      method: "POST",
      path: "/api/v1/reservations/${reservationId}/check-in",
      headers: { ...OF_OPERATOR, ...KEYED, "X-Property-Id": fact("propertyId") },
      body: {},
    },
    {
      status: 409,
      headers: PROBLEM,
      body: { code: regex(CODE, "MELMASTOON.RESERVATION.INVALID_STATUS_TRANSITION") },
    },
    async () => {
      const path = example("/reservations/${reservationId}/check-in");
      const call = post(desktop, path, { headers: { ...newWish(), ...property }, body: {} });
      await assert.rejects(call, {
        status: 409,
        code: "MELMASTOON.RESERVATION.INVALID_STATUS_TRANSITION",
      });
    },
  );
});

async function attested(row: Row, scope: string): Promise<Record<string, string>> {
  const folioId = row.path.includes("folioId") ? EXAMPLES.folioId : "";
  return { "X-Mfa-Attestation": await steppedUp(desktop, scope, folioId) };
}

/** The examples in place of the rules, and in place of them what the service itself looks at. */
function driven(body: Record<string, unknown>): unknown {
  const plain = MatchersV3.reify(body as Parameters<typeof MatchersV3.reify>[0]);
  const { propertyId, amount, ...others } = plain as Record<string, unknown>;
  return {
    ...others,
    ...(propertyId === undefined ? {} : { propertyId: propertyOf(desktop) }),
    ...(amount === undefined ? {} : { amount: { ...(amount as object), currency } }),
  };
}
