/** What the desktop relies on for the operator's own settings and for what was done at the desk. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf } from "../../src/desktop.js";
import { EXAMPLES, fact } from "./facts.js";
import { KEYED, POSITION, relyOn, relyOnRefusal, WISH } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { like, regex } = MatchersV3;
const { now, preferencesTag } = EXAMPLES;
const TAG = { ETag: regex('^(W/)?".+"$', preferencesTag) };
const REPLACE_PREFERENCES = {
  method: "PUT",
  path: "/preferences",
  headers: { ...KEYED, "If-Match": fact("preferencesTag") },
  body: { preferences: { density: "compact" } },
} as const;

test("the operator's preferences", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["the operator has preferences", { density: "wide" }]],
      receiving: "a look at the preferences",
      method: "GET",
      path: "/preferences",
    },
    { status: 200, headers: TAG, body: { preferences: { density: "wide" } } },
    (desktop) => answerOf(desktop.api.GET("/preferences")),
  );
  assert.equal(answer.headers.get("ETag"), preferencesTag);
});

test("preferences that replace those that were read", async () => {
  const answer = await relyOn(
    {
      ...REPLACE_PREFERENCES,
      given: [[SIGNED_IN], ["the operator has preferences", { density: "wide" }]],
      receiving: "other preferences",
    },
    {
      status: 200,
      headers: { ...TAG, ...POSITION },
      body: { preferences: { density: "compact" } },
    },
    (desktop) =>
      answerOf(
        desktop.api.PUT("/preferences", {
          params: { header: { ...WISH, "If-Match": preferencesTag } },
          body: { preferences: { density: "compact" } },
        }),
      ),
  );
  assert.deepEqual(answer.body.preferences, { density: "compact" });
});

test("preferences that somebody has changed since they were read", async () => {
  await relyOnRefusal(
    {
      ...REPLACE_PREFERENCES,
      given: [[SIGNED_IN], ["the operator has changed preferences since they were read"]],
      receiving: "preferences that replace what is no more",
    },
    { status: 412, code: "MELMASTOON.GENERAL.PRECONDITION_FAILED", retriable: false },
    (desktop) =>
      desktop.api.PUT("/preferences", {
        params: { header: { ...WISH, "If-Match": preferencesTag } },
        body: { preferences: { density: "compact" } },
      }),
  );
});

test("the keys of the desktop's actions", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a look at the shortcuts",
      method: "GET",
      path: "/shortcuts",
    },
    {
      status: 200,
      headers: TAG,
      body: { shortcuts: { "search.open": like("Ctrl+F") }, overrides: {} },
    },
    (desktop) => answerOf(desktop.api.GET("/shortcuts")),
  );
  assert.equal(answer.body.shortcuts["search.open"], "Ctrl+F");
});

test("an operator's own keys", async () => {
  const overrides = { "search.open": "Ctrl+J", "desktop.help": null };
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "a key for one action and none for another",
      method: "PUT",
      path: "/shortcuts",
      headers: KEYED,
      body: { overrides },
    },
    {
      status: 200,
      headers: { ...TAG, ...POSITION },
      body: { shortcuts: { "search.open": "Ctrl+J" }, overrides },
    },
    (desktop) =>
      answerOf(desktop.api.PUT("/shortcuts", { params: { header: WISH }, body: { overrides } })),
  );
  assert.equal(answer.body.overrides["desktop.help"], null);
});

test("what was done at the desk", async () => {
  const items = [{ verb: "help.opened" }, { verb: "board.opened" }];
  const answer = await relyOn(
    {
      given: [[SIGNED_IN]],
      receiving: "what was done at the desk",
      method: "POST",
      path: "/activity",
      headers: KEYED,
      body: { items: items.map((item) => ({ ...item, at: fact("now") })) },
    },
    { status: 200, headers: POSITION, body: { recorded: 2 } },
    (desktop) =>
      answerOf(
        desktop.api.POST("/activity", {
          params: { header: WISH },
          body: { items: items.map((item) => ({ ...item, at: now })) },
        }),
      ),
  );
  assert.equal(answer.body.recorded, 2);
});
