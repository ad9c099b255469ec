/** What the service relies on of those who know operators: iam and tenant. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { signIn } from "../support/operator.js";
import { signInAt } from "../support/simulator.js";
import { EXAMPLES, fact } from "./facts.js";
import { CODE, KEYED, OF_OPERATOR, OF_TENANT, PROBLEM, type Reliance, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, like, regex } = MatchersV3;
const PREFERENCES = "/api/v1/tenants/${tenantId}/operators/${operatorId}/preferences";

let desktop: Desktop;
before(async () => {
  ({ desktop } = await signIn());
});

test("whether a session stands", async () => {
  const session = await relyOn(
    {
      service: "iam-service",
      given: [[SIGNED_IN]],
      receiving: "whether a session stands",
      method: "GET",
      path: "/api/v1/sessions/${sessionId}",
      headers: OF_TENANT,
    },
    { status: 200, body: { active: true } },
    async () => {
      const fresh = await signIn();
      return answerOf(fresh.desktop.api.GET("/session"));
    },
  );
  assert.match(session.body.id, /^bos_/);
});

test("a session that iam has ended", async () => {
  await relyOn(
    {
      service: "iam-service",
      given: [[SIGNED_IN], ["the session has been revoked"]],
      receiving: "whether a session stands that does not",
      method: "GET",
      path: "/api/v1/sessions/${sessionId}",
      headers: OF_TENANT,
    },
    { status: 200, body: { active: false } },
    async () => {
      const fresh = await signIn();
      await assert.rejects(async () => fresh.desktop.api.GET("/session"), { status: 401 });
    },
  );
});

test("the end of a session", async () => {
  await relyOn(
    {
      service: "iam-service",
      given: [[SIGNED_IN]],
      receiving: "the end of a session",
      method: "POST",
      path: "/api/v1/sessions/${sessionId}/revoke",
      headers: { ...OF_OPERATOR, ...KEYED },
      body: { reason: "user" },
    },
    { status: 200 },
    async () => {
      const fresh = await signIn();
      await answerOf(fresh.desktop.api.GET("/session"));
      await fresh.desktop.api.POST("/auth/sign-out", { params: { header: newWish() } });
    },
  );
});

test("new tokens", async () => {
  const { desktop: device, key } = await signIn();
  const { tenantId, operatorId, deviceId } = device.tokens;
  const granted = await signInAt({ tenantId, operatorId, deviceId }, key);
  const tokens = await relyOn(
    {
      service: "iam-service",
      given: [[SIGNED_IN]],
      receiving: "a refresh token",
      method: "POST",
      path: "/api/v1/auth/refresh",
      headers: KEYED,
      body: { refreshToken: fact("refreshToken"), jkt: fact("jkt"), deviceId: fact("deviceId") },
    },
    {
      status: 200,
      body: {
        accessToken: regex(String.raw`^[\w-]+\.[\w-]+\.[\w-]+$`, granted.accessToken),
        refreshToken: like("rft_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
      },
      // Good for this run only, so it stands in no pact.
      secrets: { [granted.accessToken]: "header.claims.signature" },
    },
    () => device.refresh(),
  );
  assert.equal(tokens.accessToken, granted.accessToken);
});

test("a refresh token that buys nothing", async () => {
  await relyOn(
    {
      service: "iam-service",
      given: [],
      receiving: "a refresh token that buys nothing",
      method: "POST",
      path: "/api/v1/auth/refresh",
      headers: KEYED,
      body: {
        refreshToken: like("unknown"),
        jkt: regex("^[A-Za-z0-9_-]{43}$", "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"),
        deviceId: like("dev_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
      },
    },
    { status: 400, headers: PROBLEM, body: { code: "MELMASTOON.IAM.INVALID_GRANT" } },
    async () => {
      const params = { header: newWish() };
      const body = { refreshToken: "unknown" };
      const call = desktop.api.POST("/auth/refresh", { params, body });
      await assert.rejects(call, { status: 400, code: "MELMASTOON.IAM.INVALID_GRANT" });
    },
  );
});

test("a code that is right", async () => {
  const { operatorId, deviceId } = EXAMPLES;
  const { desktop: device } = await signIn({ operatorId, deviceId });
  const step = { scope: "folio.refund", factor: "totp", code: "000000", resource: "fol_1" };
  const { body } = await relyOn(
    stepUp("a code that is right", step),
    {
      status: 200,
      body: {
        attestationId: like("iat_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
        sub: fact("operatorId"),
        tenantId: regex("^tnt_[0-9A-HJKMNP-TV-Z]{26}$", device.tokens.tenantId),
        deviceId: fact("deviceId"),
        scope: "folio.refund",
        resource: "fol_1",
      },
    },
    () => answerOf(stepped(device, step)),
  );
  assert.equal(body.resource, "fol_1");
});

test("a code that is not right", async () => {
  const step = { scope: "folio.refund", factor: "totp", code: "123456" };
  await relyOn(
    stepUp("a code that is not right", step),
    {
      status: 403,
      headers: PROBLEM,
      body: { code: regex(CODE, "MELMASTOON.IAM.STEP_UP_REFUSED") },
    },
    async () => {
      const refused = { status: 403, code: "MELMASTOON.AUTH.MFA_INVALID" };
      await assert.rejects(stepped(desktop, step), refused);
    },
  );
});

interface Step {
  scope: string;
  factor: string;
  code: string;
  resource?: string;
}

/** What iam is asked when an operator takes the step. */
function stepUp(receiving: string, step: Step): Reliance {
  return {
    service: "iam-service",
    given: [[SIGNED_IN]],
    receiving,
    method: "POST",
    path: "/api/v1/auth/step-up",
    headers: { ...OF_OPERATOR, ...KEYED },
    body: { operatorId: fact("operatorId"), deviceId: fact("deviceId"), ...step },
  };
}

function stepped(device: Desktop, step: Step) {
  return device.api.POST("/auth/mfa/step-up", { params: { header: newWish() }, body: step });
}

test("what somebody is in a tenant", async () => {
  const fresh = await signIn();
  const propertyId = fresh.desktop.tokens.propertyIds[0] ?? "";
  const session = await relyOn(
    {
      service: "tenant-service",
      given: [[SIGNED_IN]],
      receiving: "what somebody is in a tenant",
      method: "GET",
      path: "/api/v1/tenants/${tenantId}/memberships/${operatorId}",
      headers: OF_TENANT,
    },
    {
      status: 200,
      body: {
        data: {
          roles: eachLike("front_desk"),
          propertyIds: eachLike("ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
          status: "active",
        },
      },
    },
    () => answerOf(fresh.desktop.api.GET("/session")),
  );
  // Roles are those of the token that the operator holds; properties are tenant-service's word.
  assert.deepEqual(session.body.roles, ["front_desk"]);
  assert.notDeepEqual(session.body.propertyIds, [propertyId]);
});

test("the profile of a tenant", async () => {
  const bootstrap = await relyOn(
    {
      service: "tenant-service",
      given: [[SIGNED_IN]],
      receiving: "the profile of a tenant",
      method: "GET",
      path: "/api/v1/tenants/${tenantId}",
      headers: OF_TENANT,
    },
    {
      status: 200,
      body: {
        data: {
          id: regex("^tnt_[0-9A-HJKMNP-TV-Z]{26}$", "tnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
          complianceProfile: regex("^(standard|sharia)$", "standard"),
          locale: like("fa-AF"),
          themeBundleUrl: like("https://themes.example/bundle"),
          themeVersion: like("7"),
          largeChargeThreshold: {
            amountMicro: regex("^[1-9][0-9]*$", "3000000000"),
            currency: regex("^[A-Z]{3}$", "AFN"),
          },
        },
      },
    },
    () => answerOf(desktop.api.GET("/bootstrap")),
  );
  assert.deepEqual(bootstrap.body.theme, {
    bundleUrl: "https://themes.example/bundle",
    version: "7",
  });
});

test("what an operator prefers", async () => {
  const answer = await relyOn(
    {
      service: "tenant-service",
      given: [[SIGNED_IN], ["the operator prefers something", { density: "wide" }]],
      receiving: "what an operator prefers",
      method: "GET",
      path: PREFERENCES,
      headers: OF_OPERATOR,
    },
    {
      status: 200,
      headers: { ETag: regex('^".+"$', '"v1"') },
      body: { data: { density: "wide" } },
    },
    () => answerOf(desktop.api.GET("/preferences")),
  );
  assert.deepEqual(answer.body.preferences, { density: "wide" });
  assert.equal(answer.headers.get("ETag"), '"v1"');
});

test("what an operator prefers from now on", async () => {
  const answer = await relyOn(
    {
      service: "tenant-service",
      given: [[SIGNED_IN], ["the operator prefers something", { density: "wide" }]],
      receiving: "what an operator prefers from now on",
      method: "PUT",
      path: PREFERENCES,
      headers: { ...OF_OPERATOR, ...KEYED, "If-Match": fact("preferencesTag") },
      body: { density: "narrow" },
    },
    {
      status: 200,
      headers: { ETag: regex('^".+"$', '"v2"') },
      body: { data: { density: "narrow" } },
    },
    () => preferring("narrow", '"v1"'),
  );
  assert.equal(answer.headers.get("ETag"), '"v2"');
});

test("preferences that have changed since", async () => {
  await relyOn(
    {
      service: "tenant-service",
      given: [[SIGNED_IN], ["the operator prefers something", { density: "wide" }]],
      receiving: "preferences in place of others than there are",
      method: "PUT",
      path: PREFERENCES,
      headers: { ...OF_OPERATOR, ...KEYED, "If-Match": '"v0"' },
      body: { density: "narrow" },
    },
    { status: 412, headers: PROBLEM, body: { code: "MELMASTOON.GENERAL.PRECONDITION_FAILED" } },
    () => assert.rejects(preferring("narrow", '"v0"'), { status: 412 }),
  );
});

function preferring(density: string, tag: string) {
  const params = { header: { ...newWish(), "If-Match": tag } };
  return answerOf(desktop.api.PUT("/preferences", { params, body: { preferences: { density } } }));
}
