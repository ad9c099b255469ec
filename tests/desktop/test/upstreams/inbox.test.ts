/** What the service relies on of those who raise alerts and make suggestions. */
import assert from "node:assert/strict";
import { before, test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { alerts, proposedSuggestion, raisedAlert } from "../support/inbox.js";
import { found, propertyOf, signIn, standardTenant } from "../support/operator.js";
import { TIME } from "../support/pact.js";
import { world } from "../support/simulator.js";
import { until } from "../support/wait.js";
import { EXAMPLES, fact } from "./facts.js";
import { CODE, KEYED, OF_OPERATOR, OF_TENANT, PROBLEM, relyOn } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, like, regex } = MatchersV3;

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
        code: regex(CODE, "MELMASTOON.NOTIFICATION.ALERT_NOT_OPEN"),
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

/** Of a tenant whose inboxes no other test reads: they are compared with a list once in a while. */
async function elsewhere(): Promise<Desktop> {
  const there = await world();
  const other = there.tenants.find((it) => it.id !== standardTenant(there).id);
  return (await signIn({ tenantId: found(other).id })).desktop;
}

/** The first reader of an inbox has it compared with what its upstream lists. */
const LIST = {
  method: "GET",
  headers: { ...OF_TENANT, "X-Property-Id": fact("propertyId") },
  query: { propertyId: fact("propertyId"), limit: "100" },
} as const;

test("the alerts of a property", async () => {
  const other = await elsewhere();
  const alert = await relyOn(
    {
      ...LIST,
      service: "notification-service",
      given: [[SIGNED_IN], ["an alert has been raised"]],
      receiving: "the alerts of a property",
      path: "/api/v1/alerts",
    },
    {
      status: 200,
      body: {
        items: eachLike({
          id: like("alr_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
          propertyId: regex("^ppt_[0-9A-Z]{26}$", propertyOf(other)),
          severity: regex("^(info|low|medium|high|critical)$", "high"),
          category: like("water"),
          title: like("The boiler is cold"),
          raisedAt: TIME,
        }),
      },
    },
    () =>
      until("the listed alert is in the inbox", async () =>
        (await alerts(other)).find(({ id }) => id === EXAMPLES.alertId),
      ),
  );
  assert.equal(alert.title, "The boiler is cold");
});

test("the suggestions for a property", async () => {
  const other = await elsewhere();
  const suggestions = () =>
    answerOf(other.api.GET("/ai/suggestions", { params: { query: { limit: 100 } } }));
  const suggestion = await relyOn(
    {
      ...LIST,
      service: "ai-orchestrator-service",
      given: [[SIGNED_IN], ["a suggestion has been made"]],
      receiving: "the suggestions for a property",
      path: "/api/v1/ai/suggestions",
    },
    {
      status: 200,
      body: {
        items: eachLike({
          id: like("sug_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
          propertyId: regex("^ppt_[0-9A-Z]{26}$", propertyOf(other)),
          category: like("rate_change"),
          title: like("Raise the rate"),
          confidence: like(0.8),
          complianceTags: like(["sharia_compliant"]),
          proposedAt: TIME,
        }),
      },
    },
    () =>
      until("the listed suggestion is in the inbox", async () =>
        (await suggestions()).body.items.find(({ id }) => id === EXAMPLES.suggestionId),
      ),
  );
  assert.equal(suggestion.title, "Raise the rate");
});
