/** What the service relies on of lock-integration. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { type Door, doorFor, issuedKey, keyWish, steppedUp } from "../support/door.js";
import { propertyOf, signIn } from "../support/operator.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, OF_OPERATOR, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, like, regex } = MatchersV3;
const SERVICE = "lock-integration-service";

let desktop: Desktop;
let door: Door;
before(async () => {
  ({ desktop } = await signIn());
  door = await doorFor(desktop);
});

function issue() {
  const params = { path: { lockId: door.lockId }, header: newWish() };
  return answerOf(desktop.api.POST("/locks/{lockId}/issue-key", { params, body: keyWish(door) }));
}

async function revoke(keyCredentialId: string) {
  const header = {
    ...newWish(),
    "X-Mfa-Attestation": await steppedUp(desktop, "lock.revoke", door.lockId),
  };
  const params = { path: { lockId: door.lockId }, header };
  const body = { keyCredentialId, reason: "lost" } as const;
  return answerOf(desktop.api.POST("/locks/{lockId}/revoke-key", { params, body }));
}

test("where a lock is", async () => {
  await relyOn(
    {
      service: SERVICE,
      given: [[SIGNED_IN], ["a door has a lock"]],
      receiving: "where a lock is",
      method: "GET",
      path: "/api/v1/locks/${lockId}",
      headers: OF_OPERATOR,
    },
    {
      status: 200,
      body: {
        data: {
          propertyId: regex("^ppt_[0-9A-Z]{26}$", propertyOf(desktop)),
          roomId: regex("^rmu_[0-9A-Z]{26}$", door.roomId),
          vendor: like("salto"),
        },
      },
    },
    issue,
  );
});

test("a key for a stay", async () => {
  const answer = await relyOn(
    {
      service: SERVICE,
      given: [[SIGNED_IN], ["a door has a lock"]],
      receiving: "a key for a stay",
      method: "POST",
      path: "/api/v1/key-credentials",
      headers: { ...OF_OPERATOR, ...KEYED, "X-Property-Id": fact("propertyId") },
      body: {
        reservationId: fact("reservationId"),
        rooms: [fact("roomId")],
        validFrom: TIME,
        validUntil: TIME,
        preferredKinds: ["rfid_card"],
        auditEnvelope: {
          operator_id: fact("operatorId"),
          device_id: fact("deviceId"),
          mfa_attestation: null,
        },
      },
    },
    { status: 201, body: { data: { id: like(EXAMPLES.keyCredentialId) } } },
    issue,
  );
  assert.equal(answer.body.keyCredentialId, EXAMPLES.keyCredentialId);
});

test("a key that is there", async () => {
  const id = await issuedKey(desktop, door);
  await relyOn(
    {
      service: SERVICE,
      given: [[SIGNED_IN], ["a guest has a key"]],
      receiving: "a key that is there",
      method: "GET",
      path: "/api/v1/key-credentials/${keyCredentialId}",
      headers: OF_OPERATOR,
    },
    {
      status: 200,
      body: {
        data: {
          id: like(EXAMPLES.keyCredentialId),
          propertyId: regex("^ppt_[0-9A-Z]{26}$", propertyOf(desktop)),
          state: regex("^(requested|pending|active|suspended|revoked|failed)$", "active"),
          rooms: eachLike(door.roomId),
        },
      },
    },
    () => revoke(id),
  );
});

test("a key that is lost", async () => {
  const id = await issuedKey(desktop, door);
  const answer = await relyOn(
    {
      service: SERVICE,
      given: [[SIGNED_IN], ["a guest has a key"]],
      receiving: "a key that is lost",
      method: "POST",
      path: "/api/v1/key-credentials/${keyCredentialId}/revoke",
      headers: { ...OF_OPERATOR, ...KEYED, "X-Property-Id": fact("propertyId") },
      body: {
        reason: "lost",
        auditEnvelope: {
          operator_id: fact("operatorId"),
          device_id: fact("deviceId"),
          mfa_attestation: like("iat_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
        },
      },
    },
    { status: 200 },
    () => revoke(id),
  );
  assert.equal(answer.body.keyCredentialId, id);
});
