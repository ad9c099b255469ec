/** What the desktop relies on to open, keep and end a session. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf } from "../../src/desktop.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, relyOn, relyOnRefusal, relyOnSilence, WISH } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, integer, like, regex } = MatchersV3;
const SESSION_ID = regex("^bos_[0-9A-Z]{26}$", "bos_01JD3Q5Z8W6M4K2T0V9X7R5B3C");

test("the start of the app", async () => {
  const answer = await relyOn(
    { given: [[SIGNED_IN]], receiving: "the call after start", method: "GET", path: "/bootstrap" },
    {
      status: 200,
      body: {
        session: { id: SESSION_ID, deviceId: fact("deviceId"), tokenExpiresAt: TIME },
        operator: { id: fact("operatorId"), roles: eachLike("front_desk") },
        propertyIds: eachLike("ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
        locale: { tag: like("fa-AF"), direction: regex("^(ltr|rtl)$", "rtl") },
        flags: like({}),
        app: like({}),
        live: { channels: eachLike("alerts"), heartbeatSeconds: integer(15) },
        queueHints: like([]),
        shortcuts: like({ "search.open": "Ctrl+F" }),
        preferences: like({}),
        serverTime: TIME,
      },
    },
    (desktop) => answerOf(desktop.api.GET("/bootstrap")),
  );
  assert.equal(answer.body.locale.direction, "rtl");
});

test("the session", async () => {
  const answer = await relyOn(
    { given: [[SIGNED_IN]], receiving: "a look at the session", method: "GET", path: "/session" },
    {
      status: 200,
      body: {
        id: SESSION_ID,
        operatorId: fact("operatorId"),
        deviceId: fact("deviceId"),
        roles: eachLike("front_desk"),
        propertyIds: eachLike("ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
        tokenExpiresAt: TIME,
      },
    },
    (desktop) => answerOf(desktop.api.GET("/session")),
  );
  assert.equal(answer.body.deviceId, EXAMPLES.deviceId);
});

test("a proof without a nonce", async () => {
  const error = await relyOnRefusal(
    {
      given: [[SIGNED_IN], ["the desktop knows no nonce yet"]],
      receiving: "a request whose proof has no nonce",
      method: "GET",
      path: "/session",
    },
    {
      status: 401,
      code: "MELMASTOON.AUTH.NONCE_REQUIRED",
      retriable: true,
      headers: {
        "WWW-Authenticate": regex(
          '^DPoP .*error="use_dpop_nonce".*$',
          'DPoP error="use_dpop_nonce"',
        ),
        "DPoP-Nonce": like("a-nonce"),
      },
    },
    (desktop) => desktop.api.GET("/session"),
  );
  assert.equal(error.headers.get("DPoP-Nonce"), "a-nonce");
});

test("a request without a token", async () => {
  await relyOnRefusal(
    {
      given: [[SIGNED_IN]],
      receiving: "a request without a token",
      method: "GET",
      path: "/session",
      isAnonymous: true,
    },
    {
      status: 401,
      code: "MELMASTOON.AUTH.TOKEN_MISSING",
      retriable: false,
      headers: { "WWW-Authenticate": regex("^DPoP .+$", 'DPoP algs="ES256"') },
    },
    (desktop) => desktop.api.GET("/session"),
  );
});

test("a token that has expired", async () => {
  await relyOnRefusal(
    {
      given: [["the operator's access token has expired"]],
      receiving: "a request with an expired token",
      method: "GET",
      path: "/session",
    },
    { status: 401, code: "MELMASTOON.AUTH.TOKEN_EXPIRED", retriable: false },
    (desktop) => desktop.api.GET("/session"),
  );
});

test("an app under the version floor", async () => {
  const error = await relyOnRefusal(
    {
      given: [[SIGNED_IN], ["apps for a Mac must be newer", { versionFloor: "999.0.0" }]],
      receiving: "a request of an app that is too old",
      method: "GET",
      path: "/bootstrap",
      app: { version: "1.4.2", platform: "darwin" },
    },
    {
      status: 426,
      code: "MELMASTOON.SYNC.VERSION_BLOCKED",
      retriable: false,
      body: {
        versionFloor: "999.0.0",
        updateUrl: regex("^https://.+$", "https://updates.example/"),
      },
    },
    (desktop) => desktop.api.GET("/bootstrap"),
  );
  assert.equal(error.problem.versionFloor, "999.0.0");
});

test("new tokens for the refresh token", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a refresh",
      method: "POST",
      path: "/auth/refresh",
      headers: KEYED,
      body: { refreshToken: fact("refreshToken") },
      isAnonymous: true,
    },
    {
      status: 200,
      body: {
        accessToken: like("header.claims.signature"),
        refreshToken: like("rft_01JD3Q5Z8W6M4K2T0V9X7R5B3D"),
        tokenType: "DPoP",
        expiresIn: integer(900),
        tenantId: like("tnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
        operatorId: fact("operatorId"),
        deviceId: fact("deviceId"),
        propertyIds: eachLike("ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
      },
    },
    async (desktop) => ({ body: await desktop.refresh(WISH), headers: new Headers() }),
  );
  assert.notEqual(answer.body.refreshToken, EXAMPLES.refreshToken);
});

test("the end of the session", async () => {
  await relyOnSilence(
    {
      given: [[SIGNED_IN]],
      receiving: "a sign-out",
      method: "POST",
      path: "/auth/sign-out",
      headers: KEYED,
    },
    (desktop) => desktop.api.POST("/auth/sign-out", { params: { header: WISH } }),
  );
});
