/** What the desktop relies on when it shows the dashboard and the boards. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";

import { answerOf, type BoardPath, type DashboardFrame } from "../../src/desktop.js";
import { FOLIO, MONEY, ROOM, ROOM_TYPE_ID, STAY, TASK, WORK_ORDER } from "../support/hotel.js";
import { TIME } from "../support/pact.js";
import { EXAMPLES, fact } from "./facts.js";
import { relyOn, relyOnLines, relyOnRefusal } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { boolean, eachLike, eachValueMatches, integer, like, regex } = MatchersV3;
const { cursor, propertyId } = EXAMPLES;

const HERE = { propertyId: fact("propertyId") };
const CACHE = { "X-Cache": regex("^(hit|stale|miss)$", "hit") };
const ID = "01JD3Q5Z8W6M4K2T0V9X7R5B3C";

const ARRIVALS = { expected: integer(9), arrived: integer(3), toCome: integer(6) };
const DEPARTURES = { due: integer(7), departed: integer(2), toGo: integer(5) };
const IN_HOUSE = { stays: integer(41), guests: integer(70) };
const TASKS = { due: integer(12), urgent: integer(1), started: integer(2) };
const WORK_ORDERS = { open: integer(4), critical: integer(0), blocked: integer(1) };
const FOLIOS = { toSettle: integer(3) };
const OCCUPANCY = {
  rooms: integer(60),
  occupied: integer(41),
  outOfOrder: integer(2),
  available: integer(17),
};
const LOCK_HEALTH = {
  locks: integer(60),
  offline: integer(2),
  batteryLow: eachLike("lck_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
};

/** Every widget's data, in the order of the dashboard. */
const WIDGETS: [id: string, data: Record<string, unknown>][] = [
  [
    "property",
    {
      name: like("Kabul Inn"),
      city: like("Kabul"),
      timezone: like("Asia/Kabul"),
      checkInTime: like("14:00"),
      checkOutTime: like("11:00"),
      photoUrl: regex("^https://.+$", "https://pictures.example/kabul-inn.jpg"),
    },
  ],
  ["occupancy", { occupancyPercent: integer(68) }],
  ["adr", { adr: MONEY }],
  ["revpar", { revpar: MONEY }],
  ["arrivals", ARRIVALS],
  ["departures", DEPARTURES],
  ["in-house", IN_HOUSE],
  ["rooms", { byStatus: eachValueMatches({ clean: 12 }, integer(12)), ...OCCUPANCY }],
  ["tasks", TASKS],
  ["work-orders", WORK_ORDERS],
  ["rates", { rates: eachLike({ roomTypeId: like(ROOM_TYPE_ID), rate: MONEY }) }],
  ["folios", FOLIOS],
  ["cash-drawer", { expected: MONEY }],
  ["lock-health", LOCK_HEALTH],
  ["alerts", { bySeverity: eachValueMatches({ high: 1 }, integer(1)) }],
  ["suggestions", { byCategory: eachValueMatches({ rate_change: 1 }, integer(1)) }],
  ["sync-health", { devices: integer(3), disturbed: integer(1), pendingActions: integer(4) }],
];

const STATUS = regex("^(ok|stale|timeout|error|forbidden)$", "ok");

test("the dashboard in one piece", async () => {
  const answer = await relyOn(
    {
      given: [[SIGNED_IN], ["the dashboard has been seen as a whole"]],
      receiving: "a look at the dashboard in one piece",
      method: "GET",
      path: "/dashboard",
      query: HERE,
      headers: { Accept: "application/json" },
    },
    {
      status: 200,
      headers: CACHE,
      body: {
        dashboardId: regex("^dsh_[0-9A-Z]{26}$", `dsh_${ID}`),
        propertyId: HERE.propertyId,
        widgets: WIDGETS.map(([id, data]) => ({ id, status: STATUS, asOf: TIME, data })),
        complete: boolean(true),
        partial: like([]),
        elapsedMs: integer(12),
      },
    },
    (desktop) => answerOf(desktop.api.GET("/dashboard", { params: { query: { propertyId } } })),
  );
  assert.deepEqual(
    answer.body.widgets.map(({ id }) => id),
    WIDGETS.map(([id]) => id),
  );
});

test("the dashboard piece by piece", async () => {
  const skeleton = {
    frame: "skeleton",
    dashboardId: `dsh_${ID}`,
    propertyId,
    widgets: [{ id: "in-house", title: "In house", kind: "counter", deadlineMs: 800 }],
  };
  const widget = {
    frame: "widget",
    id: "in-house",
    status: "ok",
    asOf: EXAMPLES.now,
    source: "live",
    data: { stays: 41, guests: 70 },
  };
  const end = { frame: "end", complete: true, partial: [], elapsedMs: 12 };
  const frames = await relyOnLines(
    {
      given: [[SIGNED_IN], ["the dashboard has been seen as a whole"]],
      receiving: "a look at the dashboard piece by piece",
      method: "GET",
      path: "/dashboard",
      query: HERE,
      headers: { Accept: "application/x-ndjson" },
    },
    {
      contentType: "application/x-ndjson",
      example: [skeleton, widget, end].map((frame) => JSON.stringify(frame)),
      pattern: [
        String.raw`^\{"frame":"skeleton",.*"widgets":\[.+\].*\}\n`,
        String.raw`(\{"frame":"widget","id":"[a-z-]+","status":"[a-z]+".*\}\n)+`,
        String.raw`\{"frame":"end","complete":(true|false),"partial":\[.*\].*\}\n$`,
      ].join(""),
    },
    async (desktop) => {
      const frames: DashboardFrame[] = [];
      for await (const frame of desktop.dashboard(propertyId)) frames.push(frame);
      return frames;
    },
  );
  assert.deepEqual(frames, [skeleton, widget, end]);
});

test("the dashboard of a property that is not the operator's", async () => {
  await relyOnRefusal(
    {
      given: [[SIGNED_IN]],
      receiving: "a look at the dashboard of another property",
      method: "GET",
      path: "/dashboard",
      query: { propertyId: "ppt_00000000000000000000000000" },
      headers: { Accept: "application/json" },
    },
    { status: 404, code: "MELMASTOON.GENERAL.RESOURCE_NOT_FOUND", retriable: false },
    (desktop) =>
      desktop.api.GET("/dashboard", {
        params: { query: { propertyId: "ppt_00000000000000000000000000" } },
      }),
  );
});

/** Of a section: what it counts, and what it lists, if it lists anything. */
type Row = [id: string, summary: Record<string, unknown>, item?: Record<string, unknown>];

const ROOMS: Row = ["rooms", { rooms: integer(60) }, ROOM];
const ARRIVING: Row = ["arrivals", ARRIVALS, STAY];
const LEAVING: Row = ["departures", DEPARTURES, STAY];
const STAYING: Row = ["in-house", IN_HOUSE, STAY];
const CLEANING: Row = ["tasks", TASKS, TASK];
const MENDING: Row = ["work-orders", WORK_ORDERS, WORK_ORDER];

const BOARDS: [path: BoardPath, rows: Row[]][] = [
  ["/today", [ARRIVING, LEAVING, STAYING, CLEANING, MENDING]],
  ["/arrivals", [ARRIVING, ROOMS]],
  ["/departures", [LEAVING, ["folios", FOLIOS, FOLIO]]],
  ["/in-house", [STAYING]],
  ["/front-desk", [ROOMS, ["occupancy", OCCUPANCY], ARRIVING, LEAVING, STAYING]],
  ["/housekeeping", [ROOMS, CLEANING]],
  ["/maintenance", [MENDING, ["lock-health", LOCK_HEALTH]]],
];

function section([id, summary, item]: Row) {
  return {
    id,
    title: like("A title"),
    status: regex("^(ok|stale|timeout|error)$", "ok"),
    asOf: TIME,
    stale: boolean(false),
    summary,
    items: item === undefined ? [] : eachLike(item),
    total: integer(item === undefined ? 0 : 1),
  };
}

for (const [path, rows] of BOARDS) {
  test(`the board ${path}`, async () => {
    const answer = await relyOn(
      {
        given: [[SIGNED_IN], ["a board has been seen as a whole", { path }]],
        receiving: `a look at the board ${path}`,
        method: "GET",
        path,
        query: HERE,
      },
      {
        status: 200,
        headers: CACHE,
        body: {
          board: path.slice(1),
          propertyId: HERE.propertyId,
          sections: rows.map(section),
        },
      },
      (desktop) => answerOf(desktop.api.GET(path, { params: { query: { propertyId } } })),
    );
    assert.deepEqual(
      answer.body.sections.map(({ id }) => id),
      rows.map(([id]) => id),
    );
  });
}

const HOUSEKEEPING = { method: "GET", path: "/housekeeping" } as const;
const SEEN = ["a board has been seen as a whole", { path: "/housekeeping" }] as const;

test("a board of what is in one state", async () => {
  const answer = await relyOn(
    {
      ...HOUSEKEEPING,
      given: [[SIGNED_IN], [...SEEN]],
      receiving: "a look at what is dirty",
      query: { ...HERE, state: "dirty" },
    },
    {
      status: 200,
      body: {
        sections: [
          { id: "rooms", items: eachLike({ ...ROOM, status: "dirty" }), total: integer(1) },
          { id: "tasks", items: [], total: 0 },
        ],
      },
    },
    (desktop) => {
      const query = { propertyId, state: "dirty" };
      return answerOf(desktop.api.GET("/housekeeping", { params: { query } }));
    },
  );
  const room = answer.body.sections[0]?.items[0];
  assert.ok(room !== undefined && "number" in room);
  assert.deepEqual([room.number, room.status], ["204", "dirty"]);
});

test("the first page of a board", async () => {
  const answer = await relyOn(
    {
      ...HOUSEKEEPING,
      given: [[SIGNED_IN], [...SEEN]],
      receiving: "a look at one room and one task",
      query: { ...HERE, limit: "1" },
    },
    {
      status: 200,
      body: {
        sections: ["rooms", "tasks"].map((id) => ({ id, nextCursor: like(cursor) })),
      },
    },
    (desktop) => {
      const query = { propertyId, limit: 1 };
      return answerOf(desktop.api.GET("/housekeeping", { params: { query } }));
    },
  );
  assert.equal(answer.body.sections[0]?.nextCursor, cursor);
});

test("the next page of a section of a board", async () => {
  const answer = await relyOn(
    {
      ...HOUSEKEEPING,
      given: [[SIGNED_IN], [...SEEN], ["the first five rooms have been listed"]],
      receiving: "a look at the next five rooms",
      query: { ...HERE, limit: "5", cursor: fact("cursor") },
    },
    {
      status: 200,
      body: {
        // Of the other sections nothing is asked for.
        sections: [{ id: "rooms", items: eachLike(ROOM, 5), nextCursor: like(cursor) }],
      },
    },
    (desktop) => {
      const query = { propertyId, limit: 5, cursor };
      return answerOf(desktop.api.GET("/housekeeping", { params: { query } }));
    },
  );
  assert.equal(answer.body.sections.length, 1);
});
