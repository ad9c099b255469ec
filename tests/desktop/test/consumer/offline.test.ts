/** What the desktop relies on to report its state and to work offline. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf } from "../../src/desktop.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, POSITION, relyOn, relyOnRefusal, WISH } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, integer, like, regex } = MatchersV3;
const { deviceId, now } = EXAMPLES;

test("the heartbeat of the device", async () => {
  const body = { appVersion: "1.4.2", networkMode: "flaky", pendingActions: 3 };
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a heartbeat",
      method: "POST",
      path: "/devices/${deviceId}/heartbeat",
      body: { ...body, clock: fact("now") },
    },
    { status: 200, body: { serverTime: TIME, hints: like([]) } },
    (desktop) =>
      answerOf(
        desktop.api.POST("/devices/{id}/heartbeat", {
          params: { path: { id: desktop.tokens.deviceId } },
          body: { ...body, clock: now },
        }),
      ),
  );
  assert.deepEqual(answer.body.hints, []);
});

test("the operator's devices", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["the device has reported itself"]],
      receiving: "a look at the operator's devices",
      method: "GET",
      path: "/devices",
    },
    {
      status: 200,
      body: {
        items: eachLike({
          deviceId: like(deviceId),
          appVersion: like("1.4.2"),
          appPlatform: regex("^(win32|darwin|linux)$", "linux"),
          networkMode: regex("^(good|flaky|offline-recently)$", "good"),
          pendingActions: integer(3),
        }),
      },
    },
    (desktop) => answerOf(desktop.api.GET("/devices")),
  );
  assert.equal(answer.body.items[0]?.pendingActions, 3);
});

test("the handshake with sync-service", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a handshake",
      method: "POST",
      path: "/sync/handshake",
      headers: KEYED,
      body: {},
    },
    {
      status: 200,
      headers: POSITION,
      body: {
        syncSessionToken: regex(String.raw`^[\w-]+\.[\w-]+\.[\w-]+$`, EXAMPLES.accessToken),
        expiresAt: TIME,
        cursors: {},
        syncEndpoint: regex("^https://.+$", "https://sync.example/v1"),
        serverTime: TIME,
      },
    },
    (desktop) =>
      answerOf(desktop.api.POST("/sync/handshake", { params: { header: WISH }, body: {} })),
  );
  assert.ok(answer.body.syncEndpoint.startsWith("https://"));
});

test("a cursor that moves on", async () => {
  const body = { stream: "reservations", expectedCursor: "c1", cursor: "c2" };
  const answer = await relyOn(
    {
      given: [
        [SIGNED_IN],
        ["the device has read a stream", { stream: "reservations", cursor: "c1" }],
      ],
      receiving: "a cursor that moves on",
      method: "POST",
      path: "/sync/cursor",
      headers: KEYED,
      body,
    },
    { status: 200, headers: POSITION, body: { cursors: { reservations: "c2" }, asOf: TIME } },
    (desktop) => answerOf(desktop.api.POST("/sync/cursor", { params: { header: WISH }, body })),
  );
  assert.equal(answer.body.cursors["reservations"], "c2");
});

test("a cursor that stands elsewhere", async () => {
  const body = { stream: "reservations", expectedCursor: "c1", cursor: "c3" };
  await relyOnRefusal(
    {
      given: [
        [SIGNED_IN],
        ["the device has read a stream", { stream: "reservations", cursor: "c2" }],
      ],
      receiving: "a cursor that moves on from where it does not stand",
      method: "POST",
      path: "/sync/cursor",
      headers: KEYED,
      body,
    },
    { status: 409, code: "MELMASTOON.SYNC.CURSOR_CONFLICT", retriable: false },
    (desktop) => desktop.api.POST("/sync/cursor", { params: { header: WISH }, body }),
  );
});

test("where the device stands", async () => {
  const answer = await relyOn(
    {
      given: [
        [SIGNED_IN],
        ["the device has read a stream", { stream: "reservations", cursor: "c1" }],
      ],
      receiving: "a look at the cursors",
      method: "GET",
      path: "/sync/cursor",
    },
    { status: 200, body: { cursors: { reservations: "c1" }, asOf: TIME } },
    (desktop) => answerOf(desktop.api.GET("/sync/cursor")),
  );
  assert.equal(answer.body.cursors["reservations"], "c1");
});

test("what the device has queued", async () => {
  const body = { pendingActions: 3, kinds: { "reservation.check-in": 3 } };
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a hint of the offline queue",
      method: "PUT",
      path: "/offline-queue/hint",
      headers: KEYED,
      body,
    },
    {
      status: 200,
      body: { ...body, deviceId: fact("deviceId"), hintedAt: TIME, expiresAt: TIME },
    },
    (desktop) =>
      answerOf(desktop.api.PUT("/offline-queue/hint", { params: { header: WISH }, body })),
  );
  assert.equal(answer.body.pendingActions, 3);
});

test("what the operator's other device has queued", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["the operator's other device has three actions queued"]],
      receiving: "a look at the hints of other devices",
      method: "GET",
      path: "/offline-queue/hints",
    },
    {
      status: 200,
      body: {
        items: eachLike({
          deviceId: like(deviceId),
          pendingActions: integer(3),
          hintedAt: TIME,
        }),
      },
    },
    (desktop) => answerOf(desktop.api.GET("/offline-queue/hints")),
  );
  assert.equal(answer.body.items[0]?.pendingActions, 3);
});
