/** What the desktop relies on when it shows and answers alerts and suggestions. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf } from "../../src/desktop.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, POSITION, relyOn, relyOnRefusal, WISH } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, like, regex } = MatchersV3;
const { alertId, suggestionId } = EXAMPLES;
const PROPERTY_ID = "ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C";
const ACKNOWLEDGE = {
  method: "POST",
  path: "/alerts/${alertId}/acknowledge",
  headers: KEYED,
} as const;
const ACKNOWLEDGED = {
  id: fact("alertId"),
  state: "acknowledged",
  acknowledgedAt: TIME,
  acknowledgedBy: fact("operatorId"),
};
const DECIDE = {
  method: "POST",
  path: "/ai/suggestions/${suggestionId}/decide",
  headers: KEYED,
} as const;

test("the alerts of the inbox", async () => {
  const page = await relyOn(
    {
      given: [[SIGNED_IN], ["an alert has been raised"]],
      receiving: "a look at the alerts",
      method: "GET",
      path: "/alerts",
      query: { limit: "20" },
    },
    {
      status: 200,
      body: {
        items: eachLike({
          id: like(alertId),
          propertyId: like(PROPERTY_ID),
          severity: regex("^(info|low|medium|high|critical)$", "high"),
          category: like("lock"),
          title: like("A door does not answer"),
          state: regex("^(raised|acknowledged|resolved|expired)$", "raised"),
          raisedAt: TIME,
        }),
      },
    },
    (desktop) => answerOf(desktop.api.GET("/alerts", { params: { query: { limit: 20 } } })),
  );
  assert.equal(page.body.items[0]?.state, "raised");
});

test("an acknowledgment", async () => {
  const answer = await relyOn(
    {
      ...ACKNOWLEDGE,
      given: [[SIGNED_IN], ["an alert has been raised"]],
      receiving: "an acknowledgment",
      body: { comment: "On my way" },
    },
    { status: 200, headers: POSITION, body: ACKNOWLEDGED },
    (desktop) =>
      answerOf(
        desktop.api.POST("/alerts/{id}/acknowledge", {
          params: { path: { id: alertId }, header: WISH },
          body: { comment: "On my way" },
        }),
      ),
  );
  assert.equal(answer.body.state, "acknowledged");
});

test("an acknowledgment that is asked for again", async () => {
  const answer = await relyOn(
    {
      ...ACKNOWLEDGE,
      given: [[SIGNED_IN], ["this desktop has acknowledged an alert", { comment: "On my way" }]],
      receiving: "the same acknowledgment under the same key",
      body: { comment: "On my way" },
    },
    { status: 200, headers: { "Idempotency-Replayed": "true" }, body: ACKNOWLEDGED },
    (desktop) =>
      answerOf(
        desktop.api.POST("/alerts/{id}/acknowledge", {
          params: { path: { id: alertId }, header: WISH },
          body: { comment: "On my way" },
        }),
      ),
  );
  assert.equal(answer.headers.get("Idempotency-Replayed"), "true");
});

test("a key that was used for something else", async () => {
  await relyOnRefusal(
    {
      ...ACKNOWLEDGE,
      given: [[SIGNED_IN], ["this desktop has acknowledged an alert", { comment: "On my way" }]],
      receiving: "another acknowledgment under the same key",
      body: { comment: "I have changed my mind" },
    },
    { status: 422, code: "MELMASTOON.GENERAL.IDEMPOTENCY_KEY_REUSED", retriable: false },
    (desktop) =>
      desktop.api.POST("/alerts/{id}/acknowledge", {
        params: { path: { id: alertId }, header: WISH },
        body: { comment: "I have changed my mind" },
      }),
  );
});

test("the suggestions of the inbox", async () => {
  const page = await relyOn(
    {
      given: [[SIGNED_IN], ["a suggestion has been made"]],
      receiving: "a look at the suggestions",
      method: "GET",
      path: "/ai/suggestions",
      query: { limit: "20", state: "proposed" },
    },
    {
      status: 200,
      body: {
        items: eachLike({
          id: like(suggestionId),
          propertyId: like(PROPERTY_ID),
          category: like("rate_change"),
          title: like("Raise the rate"),
          confidence: MatchersV3.number(0.5),
          proposal: like({}),
          provenance: like({}),
          state: "proposed",
          proposedAt: TIME,
        }),
      },
    },
    (desktop) =>
      answerOf(
        desktop.api.GET("/ai/suggestions", {
          params: { query: { limit: 20, state: "proposed" } },
        }),
      ),
  );
  assert.equal(page.body.items[0]?.id, suggestionId);
});

test("a decision", async () => {
  const answer = await relyOn(
    {
      ...DECIDE,
      given: [[SIGNED_IN], ["a suggestion has been made"]],
      receiving: "a decision",
      body: { decision: "accept", reasonCode: "agreed" },
    },
    {
      status: 200,
      headers: POSITION,
      body: {
        id: fact("suggestionId"),
        state: "decided",
        decision: "accept",
        decidedAt: TIME,
        decidedBy: fact("operatorId"),
      },
    },
    (desktop) =>
      answerOf(
        desktop.api.POST("/ai/suggestions/{id}/decide", {
          params: { path: { id: suggestionId }, header: WISH },
          body: { decision: "accept", reasonCode: "agreed" },
        }),
      ),
  );
  assert.equal(answer.body.decision, "accept");
});

test("a suggestion that a colleague has decided", async () => {
  await relyOnRefusal(
    {
      ...DECIDE,
      given: [[SIGNED_IN], ["a colleague has rejected a suggestion"]],
      receiving: "a decision on what is decided",
      body: { decision: "accept" },
    },
    { status: 409, code: "MELMASTOON.AI.ALREADY_DECIDED", retriable: false },
    (desktop) =>
      desktop.api.POST("/ai/suggestions/{id}/decide", {
        params: { path: { id: suggestionId }, header: WISH },
        body: { decision: "accept" },
      }),
  );
});
