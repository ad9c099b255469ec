/** What the desktop relies on for keys of doors, stays and folios. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf } from "../../src/desktop.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, POSITION, relyOn, relyOnRefusal, WISH } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { like, regex } = MatchersV3;
const { amountMicro, attestationId, currency, folioId, keyCredentialId } = EXAMPLES;
const { lockId, now, propertyId, reservationId, roomId, tomorrow } = EXAMPLES;
const PLACED = { ...KEYED, "X-Property-Id": fact("propertyId") };
/** For `params.header` of what is `PLACED`. */
const WISH_HERE = { ...WISH, "X-Property-Id": propertyId };
const LOCK_ACTION = regex("^lap_[0-9A-Z]{26}$", "lap_01JD3Q5Z8W6M4K2T0V9X7R5B3C");
const REVOKE = {
  method: "POST",
  path: "/locks/${lockId}/revoke-key",
  body: { keyCredentialId: fact("keyCredentialId"), reason: "lost" },
} as const;
const CHECK_IN = {
  method: "POST",
  path: "/reservations/${reservationId}/check-in",
  headers: PLACED,
  body: { note: "A quiet room" },
} as const;
const CHARGE = {
  method: "POST",
  path: "/folios/${folioId}/charges",
  headers: PLACED,
  body: {
    amount: { amountMicro: fact("amountMicro"), currency: fact("currency") },
    description: "Minibar",
  },
} as const;

test("a key for a door", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["a guest is to have a key"]],
      receiving: "a wish for a key",
      method: "POST",
      path: "/locks/${lockId}/issue-key",
      headers: KEYED,
      body: {
        reservationId: fact("reservationId"),
        rooms: [fact("roomId")],
        validFrom: fact("now"),
        validUntil: fact("tomorrow"),
        preferredKinds: ["rfid_card", "pin_code"],
      },
    },
    {
      status: 200,
      headers: POSITION,
      body: {
        actionId: LOCK_ACTION,
        lockId: fact("lockId"),
        keyCredentialId: like(keyCredentialId),
        state: "issued",
        at: TIME,
      },
    },
    (desktop) =>
      answerOf(
        desktop.api.POST("/locks/{lockId}/issue-key", {
          params: { path: { lockId }, header: WISH },
          body: {
            reservationId,
            rooms: [roomId],
            validFrom: now,
            validUntil: tomorrow,
            preferredKinds: ["rfid_card", "pin_code"],
          },
        }),
      ),
  );
  assert.equal(answer.body.keyCredentialId, keyCredentialId);
});

test("a second factor", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["a guest has lost the key of a door"]],
      receiving: "a step-up",
      method: "POST",
      path: "/auth/mfa/step-up",
      headers: KEYED,
      body: { scope: "lock.revoke", factor: "totp", code: "000000", resource: fact("lockId") },
    },
    {
      status: 200,
      body: {
        attestationId: regex("^mfa_[0-9A-Z]{26}$", attestationId),
        scope: "lock.revoke",
        expiresAt: TIME,
      },
    },
    (desktop) =>
      answerOf(
        desktop.api.POST("/auth/mfa/step-up", {
          params: { header: WISH },
          body: { scope: "lock.revoke", factor: "totp", code: "000000", resource: lockId },
        }),
      ),
  );
  assert.equal(answer.body.attestationId, attestationId);
});

test("a key that is taken back without a second factor", async () => {
  await relyOnRefusal(
    {
      ...REVOKE,
      given: [[SIGNED_IN], ["a guest has lost the key of a door"]],
      receiving: "a wish to take a key back, without a step-up",
      headers: KEYED,
    },
    { status: 403, code: "MELMASTOON.AUTH.MFA_REQUIRED", retriable: false },
    (desktop) =>
      desktop.api.POST("/locks/{lockId}/revoke-key", {
        params: { path: { lockId }, header: WISH },
        body: { keyCredentialId, reason: "lost" },
      }),
  );
});

test("a key that is taken back", async () => {
  const answer = await relyOn(
    {
      ...REVOKE,
      given: [
        [SIGNED_IN],
        ["a guest has lost the key of a door"],
        ["the operator has stepped up for that door"],
      ],
      receiving: "a wish to take a key back",
      headers: { ...KEYED, "X-Mfa-Attestation": fact("attestationId") },
    },
    {
      status: 200,
      headers: POSITION,
      body: {
        actionId: LOCK_ACTION,
        lockId: fact("lockId"),
        keyCredentialId: fact("keyCredentialId"),
        state: "revoked",
        at: TIME,
      },
    },
    (desktop) =>
      answerOf(
        desktop.api.POST("/locks/{lockId}/revoke-key", {
          params: {
            path: { lockId },
            header: { ...WISH, "X-Mfa-Attestation": attestationId },
          },
          body: { keyCredentialId, reason: "lost" },
        }),
      ),
  );
  assert.equal(answer.body.state, "revoked");
});

test("an arrival", async () => {
  const answer = await relyOn(
    {
      ...CHECK_IN,
      given: [[SIGNED_IN], ["a guest is expected"]],
      receiving: "a check-in",
    },
    {
      status: 200,
      headers: POSITION,
      body: { data: like({ id: reservationId, state: "in_house" }) },
    },
    (desktop) =>
      answerOf(
        desktop.api.POST("/reservations/{id}/check-in", {
          params: { path: { id: reservationId }, header: WISH_HERE },
          body: { note: "A quiet room" },
        }),
      ),
  );
  assert.ok(answer.headers.has("X-Ledger-Position"));
});

test("an arrival of somebody who is there already", async () => {
  const error = await relyOnRefusal(
    {
      ...CHECK_IN,
      given: [[SIGNED_IN], ["a guest is in the house"]],
      receiving: "a check-in of somebody who is there",
    },
    {
      status: 409,
      code: "MELMASTOON.RESERVATION.INVALID_STATUS_TRANSITION",
      retriable: false,
      body: { source: "reservation-service" },
    },
    (desktop) =>
      desktop.api.POST("/reservations/{id}/check-in", {
        params: { path: { id: reservationId }, header: WISH_HERE },
        body: { note: "A quiet room" },
      }),
  );
  assert.equal(error.problem.source, "reservation-service");
});

test("a charge", async () => {
  await relyOn(
    {
      ...CHARGE,
      given: [[SIGNED_IN], ["a folio is open and a small amount is to go on it"]],
      receiving: "a charge",
    },
    { status: 201, headers: POSITION, body: { data: like({ id: folioId }) } },
    (desktop) =>
      answerOf(
        desktop.api.POST("/folios/{id}/charges", {
          params: { path: { id: folioId }, header: WISH_HERE },
          body: { amount: { amountMicro, currency }, description: "Minibar" },
        }),
      ),
  );
});

test("a charge that is large for the tenant", async () => {
  await relyOnRefusal(
    {
      ...CHARGE,
      given: [[SIGNED_IN], ["a folio is open and a large amount is to go on it"]],
      receiving: "a large charge without a step-up",
    },
    { status: 403, code: "MELMASTOON.AUTH.MFA_REQUIRED", retriable: false },
    (desktop) =>
      desktop.api.POST("/folios/{id}/charges", {
        params: { path: { id: folioId }, header: WISH_HERE },
        body: { amount: { amountMicro, currency }, description: "Minibar" },
      }),
  );
});
