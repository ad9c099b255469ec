/** What the service relies on of sync-service. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { signIn } from "../support/operator.js";
import { fact } from "./facts.js";
import { KEYED, OF_OPERATOR, PROBLEM, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { like } = MatchersV3;
const STREAM = { stream: "reservations", cursor: "c-1" };

let desktop: Desktop;
before(async () => {
  ({ desktop } = await signIn());
});

test("a device that comes back", async () => {
  const answer = await relyOn(
    {
      service: "sync-service",
      given: [[SIGNED_IN], ["the device has read a stream", STREAM]],
      receiving: "a device that comes back",
      method: "POST",
      path: "/api/v1/sync/handshake",
      headers: { ...OF_OPERATOR, ...KEYED },
      body: { deviceId: fact("deviceId") },
    },
    {
      status: 200,
      body: {
        data: { cursors: { reservations: "c-1" }, syncEndpoint: like("https://sync.example/v1") },
      },
    },
    () =>
      answerOf(desktop.api.POST("/sync/handshake", { params: { header: newWish() }, body: {} })),
  );
  assert.deepEqual(answer.body.cursors, { reservations: "c-1" });
  assert.equal(answer.body.syncEndpoint, "https://sync.example/v1");
});

test("where a device stands", async () => {
  const fresh = await signIn();
  const answer = await relyOn(
    {
      service: "sync-service",
      given: [[SIGNED_IN], ["the device has read a stream", STREAM]],
      receiving: "where a device stands",
      method: "GET",
      path: "/api/v1/sync/cursors",
      query: { deviceId: fact("deviceId") },
      headers: OF_OPERATOR,
    },
    { status: 200, body: { data: { cursors: { reservations: "c-1" } } } },
    () => answerOf(fresh.desktop.api.GET("/sync/cursor")),
  );
  assert.deepEqual(answer.body.cursors, { reservations: "c-1" });
});

const ADVANCE = {
  service: "sync-service",
  method: "POST",
  path: "/api/v1/sync/cursors",
  headers: { ...OF_OPERATOR, ...KEYED },
  body: {
    deviceId: fact("deviceId"),
    stream: "reservations",
    cursor: "c-2",
    expectedCursor: "c-1",
  },
} as const;

function advancing() {
  const params = { header: newWish() };
  const body = { stream: "reservations", cursor: "c-2", expectedCursor: "c-1" };
  return answerOf(desktop.api.POST("/sync/cursor", { params, body }));
}

test("a cursor that moves on", async () => {
  const answer = await relyOn(
    {
      ...ADVANCE,
      given: [[SIGNED_IN], ["the device has read a stream", STREAM]],
      receiving: "a cursor that moves on",
    },
    { status: 200, body: { data: { cursors: { reservations: "c-2" } } } },
    advancing,
  );
  assert.deepEqual(answer.body.cursors, { reservations: "c-2" });
});

test("a cursor that stands elsewhere", async () => {
  await relyOn(
    {
      ...ADVANCE,
      given: [
        [SIGNED_IN],
        ["the device has read a stream", { stream: "reservations", cursor: "c-9" }],
      ],
      receiving: "a cursor that stands elsewhere",
    },
    {
      status: 409,
      headers: PROBLEM,
      body: { code: "MELMASTOON.SYNC.CURSOR_CONFLICT" },
    },
    () => assert.rejects(advancing(), { status: 409, code: "MELMASTOON.SYNC.CURSOR_CONFLICT" }),
  );
});
