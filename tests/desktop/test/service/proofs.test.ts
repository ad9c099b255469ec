/** Every request carries a proof of the device's key, with the service's own nonce. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { decodeJwt } from "../support/jwt.js";
import { desktopOf, signIn } from "../support/operator.js";
import { Wire } from "../support/wire.js";
import { answerOf } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { ProblemError } from "../../src/problem.js";
import { newWish } from "../../src/wish.js";

const NONCE_REQUIRED = "MELMASTOON.AUTH.NONCE_REQUIRED";

test("the first request is repeated with the nonce, and later ones bring it along", async () => {
  const wire = new Wire();
  const { desktop } = await signIn({}, { fetch: wire.fetch });

  const session = await answerOf(desktop.api.GET("/session"));
  await desktop.api.GET("/devices");

  assert.equal(session.body.deviceId, desktop.tokens.deviceId);
  const outcomes = wire.exchanges.map(({ status, code }) => [status, code]);
  assert.deepEqual(outcomes, [
    [401, NONCE_REQUIRED],
    [200, undefined],
    [200, undefined],
  ]);
  const proofs = wire.sent("DPoP").map((proof) => decodeJwt(proof));
  assert.equal(proofs[0]?.["nonce"], undefined);
  assert.equal(typeof proofs[1]?.["nonce"], "string");
  assert.equal(new Set(proofs.map((proof) => proof["jti"])).size, 3, "a proof is used once");
});

test("a mutation that is repeated for its nonce keeps its key and its body", async () => {
  const wire = new Wire();
  const { desktop } = await signIn({}, { fetch: wire.fetch });
  const header = newWish();
  const body = { pendingActions: 2, kinds: { "reservation.check-in": 2 } };

  const hint = await answerOf(desktop.api.PUT("/offline-queue/hint", { params: { header }, body }));

  assert.deepEqual(hint.body.kinds, body.kinds);
  assert.deepEqual(
    wire.exchanges.map(({ status }) => status),
    [401, 200],
  );
  const [first, second] = wire.sent("X-Idempotency-Key");
  assert.equal(first, header["X-Idempotency-Key"]);
  assert.equal(second, first);
});

test("a proof of another key is refused, and nothing is repeated for it", async () => {
  const { desktop } = await signIn();
  const wire = new Wire();
  const key = await DeviceKey.generate();
  const thief = desktopOf({ key, tokens: desktop.tokens, fetch: wire.fetch });

  const refusal = await thief.api.GET("/session").catch((error: unknown) => error);

  assert.ok(refusal instanceof ProblemError, String(refusal));
  assert.deepEqual([refusal.status, refusal.code], [401, "MELMASTOON.AUTH.KEY_MISMATCH"]);
  assert.equal(refusal.retriable, false);
  assert.notEqual(wire.exchanges.at(-1)?.code, NONCE_REQUIRED);
  assert.ok(wire.exchanges.length <= 2, "at most the nonce was asked for");
});

test("the private part of a device's key is handed to nobody", async () => {
  const key = await DeviceKey.generate();

  await assert.rejects(crypto.subtle.exportKey("jwk", key.pair.privateKey), /not extractable/);
  const jwk = await key.publicJwk();
  assert.deepEqual(Object.keys(jwk).sort(), ["crv", "kty", "x", "y"]);
});

test("a refresh gives new tokens of the same key, under nonces of its own", async () => {
  const wire = new Wire();
  const { desktop } = await signIn({}, { fetch: wire.fetch });
  const before = (await answerOf(desktop.api.GET("/session"))).body;
  const { accessToken, refreshToken } = desktop.tokens;
  wire.exchanges.length = 0;

  await desktop.refresh();

  assert.deepEqual(
    wire.exchanges.map(({ status }) => status),
    [401, 200],
  );
  assert.deepEqual(wire.sent("Authorization"), [null, null]);
  assert.ok(wire.sent("DPoP").every((proof) => decodeJwt(proof)["ath"] === undefined));
  assert.notEqual(desktop.tokens.accessToken, accessToken);
  assert.notEqual(desktop.tokens.refreshToken, refreshToken);
  const after = (await answerOf(desktop.api.GET("/session"))).body;
  assert.equal(after.id, before.id);
});
