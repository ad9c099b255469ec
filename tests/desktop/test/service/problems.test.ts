/** What is no success is one typed error. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { desktopOf, signIn } from "../support/operator.js";
import { ForeignAnswerError, ProblemError } from "../../src/problem.js";
import { newWish } from "../../src/wish.js";

test("a refusal says what programs and the operator need to know", async () => {
  const { desktop } = await signIn();
  const params = { path: { id: "alr_unknown" }, header: newWish() };

  const call = desktop.api.POST("/alerts/{id}/acknowledge", { params, body: {} });
  const refusal = await call.catch((error: unknown) => error);

  assert.ok(refusal instanceof ProblemError, String(refusal));
  assert.equal(refusal.status, 404);
  assert.equal(refusal.code, "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND");
  assert.equal(refusal.retriable, false);
  assert.equal(refusal.retryAfter, undefined);
  assert.ok(refusal.userMessage.length > 0);
  assert.ok(refusal.headers.has("Content-Language"));
});

test("a member that is not right is named", async () => {
  const { desktop } = await signIn();
  const body = { scope: "lock.revoke", factor: "pin", code: "000000" };

  const call = desktop.api.POST("/auth/mfa/step-up", { params: { header: newWish() }, body });
  const refusal = await call.catch((error: unknown) => error);

  assert.ok(refusal instanceof ProblemError, String(refusal));
  assert.equal(refusal.code, "MELMASTOON.GENERAL.VALIDATION_FAILED");
  assert.deepEqual(
    refusal.problem.errors.map(({ field }) => field),
    ["factor"],
  );
});

test("what something in between says is not taken for the service's word", async () => {
  const { desktop, key } = await signIn();
  const gateway = createServer((_request, response) => {
    response.writeHead(502, { "Content-Type": "text/html" }).end("<h1>Bad gateway</h1>");
  });
  await new Promise<void>((listening) => gateway.listen(0, "127.0.0.1", listening));
  const { port } = gateway.address() as AddressInfo;
  const behind = desktopOf({ key, tokens: desktop.tokens, origin: `http://127.0.0.1:${port}` });

  const answer = await behind.api.GET("/session").catch((error: unknown) => error);
  gateway.close();

  assert.ok(answer instanceof ForeignAnswerError, String(answer));
  assert.equal(answer.status, 502);
});
