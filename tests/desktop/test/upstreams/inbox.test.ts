/** What the service relies on of those who raise alerts and make suggestions. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { proposedSuggestion, raisedAlert } from "../support/inbox.js";
import { signIn } from "../support/operator.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, OF_OPERATOR, OF_TENANT, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { regex } = MatchersV3;
const TIME = regex(String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, EXAMPLES.now);
const PROBLEM = {
  "Content-Type": regex("^application/problem\\+json", "application/problem+json"),
};

let desktop: Desktop;
before(async () => {
  ({ desktop } = await signIn());
});

const ACKNOWLEDGMENT = {
  service: "notification-service",
  method: "POST",
  path: "/api/v1/alerts/${alertId}/acknowledge",
  headers: { ...OF_OPERATOR, ...KEYED },
} as const;

async function acknowledged(comment: string): Promise<boolean> {
  const id = await raisedAlert(desktop);
  const params = { path: { id }, header: newWish() };
  const body = { comment };
  const call = desktop.api.POST("/alerts/{id}/acknowledge", { params, body });
  return (await answerOf(call)).body.forwarded;
}

test("an acknowledgment", async () => {
  const isForwarded = await relyOn(
    {
      ...ACKNOWLEDGMENT,
      given: [[SIGNED_IN], ["an alert has been raised"]],
      receiving: "an acknowledgment",
      body: { acknowledgedBy: fact("operatorId"), acknowledgedAt: TIME, comment: "On my way" },
    },
    { status: 200 },
    () => acknowledged("On my way"),
  );
  assert.equal(isForwarded, true);
});

test("an acknowledgment that comes second", async () => {
  const isForwarded = await relyOn(
    {
      ...ACKNOWLEDGMENT,
      given: [[SIGNED_IN], ["a colleague has acknowledged an alert"]],
      receiving: "an acknowledgment that comes second",
      body: { acknowledgedBy: fact("operatorId"), acknowledgedAt: TIME, comment: "Me too" },
    },
    {
      status: 409,
      headers: PROBLEM,
      body: {
        code: regex("^MELMASTOON\\.(?!.*IDEMPOTENCY)", "MELMASTOON.NOTIFICATION.ALERT_NOT_OPEN"),
      },
    },
    () => acknowledged("Me too"),
  );
  assert.equal(isForwarded, true);
});

test("a decision on a suggestion", async () => {
  await relyOn(
    {
      service: "ai-orchestrator-service",
      given: [[SIGNED_IN], ["a suggestion has been made"]],
      receiving: "a decision",
      method: "POST",
      path: "/api/v1/ai/suggestions/${suggestionId}/decision",
      // Nobody waits for it: the service tells it by itself.
      headers: { ...OF_TENANT, ...KEYED },
      body: {
        decision: "accept",
        decidedBy: fact("operatorId"),
        decidedAt: TIME,
        comment: "As it says",
      },
    },
    { status: 200 },
    async () => {
      const id = await proposedSuggestion(desktop);
      const params = { path: { id }, header: newWish() };
      const body = { decision: "accept", comment: "As it says" } as const;
      await desktop.api.POST("/ai/suggestions/{id}/decide", { params, body });
    },
  );
});
