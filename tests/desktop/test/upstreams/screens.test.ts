/** What the service relies on of all whose answers it composes screens of. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MatchersV3 } from "@pact-foundation/pact";
import { ulid } from "ulid";

import { answerOf, type BoardPath, type Desktop } from "../../src/desktop.js";
import { FOLIO, MONEY, ROOM, ROOM_TYPE_ID, STAY, TASK, WORK_ORDER } from "../support/hotel.js";
import { largeProperty, signIn } from "../support/operator.js";
import { until } from "../support/wait.js";
import { EXAMPLES, fact } from "./facts.js";
import { OF_TENANT, relyOn, type Reliance } from "./reliance.js";
import { SIGNED_IN } from "./sentences.js";

const { eachLike, eachValueMatches, integer, like, regex, reify } = MatchersV3;

/** A screen is composed for everybody who looks at a property, so on behalf of no operator. */
const READ = {
  method: "GET",
  headers: { ...OF_TENANT, "X-Property-Id": fact("propertyId") },
  query: { propertyId: fact("propertyId") },
} as const;
const LIST = { ...READ, query: { ...READ.query, limit: "100" } } as const;

/** At a property that nobody has looked at, so that every upstream is asked. */
async function elsewhere(): Promise<Desktop> {
  return (await signIn({ propertyIds: [`ppt_${ulid()}`] })).desktop;
}

/** A section of a board, once it is there: on a busy machine an upstream may be late. */
async function section(board: BoardPath, id: string, date?: string) {
  const desktop = await elsewhere();
  const query = date === undefined ? {} : { date };
  return until(`${id} stands on ${board}`, async () => {
    const { sections } = (await answerOf(desktop.api.GET(board, { params: { query } }))).body;
    const there = sections.find((it) => it.id === id);
    return there?.status === "ok" ? there : undefined;
  });
}

/** The data of these widgets of the dashboard, once they have some. */
async function widgets(...ids: string[]): Promise<Record<string, unknown>> {
  const desktop = await elsewhere();
  return until(`${ids.join(", ")} stand on the dashboard`, async () => {
    const { widgets } = (await answerOf(desktop.api.GET("/dashboard"))).body;
    const data = ids.map((id) => widgets.find((it) => it.id === id)?.data ?? undefined);
    return data.includes(undefined) ? undefined : Object.assign({}, ...data);
  });
}

/** What is listed is shown with all members that are relied on, and with no others. */
async function relyOnList(
  reliance: Omit<Reliance, "method">,
  item: Record<string, unknown>,
  board: [path: BoardPath, id: string, date?: string],
): Promise<void> {
  const shown = await relyOn(
    { ...LIST, ...reliance, query: { ...LIST.query, ...reliance.query } },
    { status: 200, body: { items: eachLike(item) } },
    () => section(...board),
  );
  assert.deepEqual(shown.items, [reify(item)]);
}

/** The same of a document that a widget or a section shows as it is. */
async function relyOnDocument(
  reliance: Omit<Reliance, "method">,
  data: Record<string, unknown>,
  show: () => Promise<unknown>,
): Promise<void> {
  const shown = await relyOn({ ...READ, ...reliance }, { status: 200, body: { data } }, show);
  assert.deepEqual(shown, reify(data));
}

async function summary(board: BoardPath, id: string): Promise<unknown> {
  return (await section(board, id)).summary;
}

test("who arrives today", async () => {
  await relyOnList(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest arrives today"]],
      receiving: "who arrives today",
      path: "/api/v1/reservations/arrivals",
    },
    STAY,
    ["/arrivals", "arrivals"],
  );
});

test("who arrives on a day", async () => {
  await relyOnList(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest arrives on another day"]],
      receiving: "who arrives on a day",
      path: "/api/v1/reservations/arrivals",
      query: { date: fact("day") },
    },
    { ...STAY, arrivalDate: fact("day") },
    ["/arrivals", "arrivals", EXAMPLES.day],
  );
});

test("who leaves today", async () => {
  await relyOnList(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest leaves today"]],
      receiving: "who leaves today",
      path: "/api/v1/reservations/departures",
    },
    STAY,
    ["/departures", "departures"],
  );
});

test("who leaves on a day", async () => {
  await relyOnList(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest leaves on another day"]],
      receiving: "who leaves on a day",
      path: "/api/v1/reservations/departures",
      query: { date: fact("day") },
    },
    { ...STAY, departureDate: fact("day") },
    ["/departures", "departures", EXAMPLES.day],
  );
});

test("who is there", async () => {
  await relyOnList(
    {
      service: "reservation-service",
      given: [[SIGNED_IN], ["a guest is in the house"]],
      receiving: "who is there",
      path: "/api/v1/reservations/in-house",
    },
    { ...STAY, state: "in_house" },
    ["/in-house", "in-house"],
  );
});

test("the rooms of a property", async () => {
  await relyOnList(
    {
      service: "housekeeping-service",
      given: [[SIGNED_IN]],
      receiving: "the rooms of a property",
      path: "/api/v1/housekeeping/rooms",
    },
    ROOM,
    ["/housekeeping", "rooms"],
  );
});

test("the next page of the rooms of a property", async () => {
  // The first one is read of the platform, and says where it goes on.
  const { tenantId, propertyId } = await largeProperty();
  const { desktop } = await signIn({ tenantId, propertyIds: [propertyId] });
  const last = await relyOn(
    {
      ...LIST,
      service: "housekeeping-service",
      given: [[SIGNED_IN], ["a property has more rooms than one page"]],
      receiving: "the next page of the rooms of a property",
      path: "/api/v1/housekeeping/rooms",
      query: { ...LIST.query, cursor: fact("cursor") },
    },
    { status: 200, body: { items: eachLike(ROOM) } },
    () =>
      until("both pages stand on the board", async () => {
        const query = { limit: 1 };
        const board = await answerOf(desktop.api.GET("/housekeeping", { params: { query } }));
        return board.body.sections.find(({ id, total }) => id === "rooms" && total === 101);
      }),
  );
  assert.equal(last.status, "ok");
});

test("the tasks of a property", async () => {
  await relyOnList(
    {
      service: "housekeeping-service",
      given: [[SIGNED_IN], ["nobody has begun a task"]],
      receiving: "the tasks of a property",
      path: "/api/v1/housekeeping/tasks",
    },
    TASK,
    ["/housekeeping", "tasks"],
  );
});

test("how many rooms are in each state", async () => {
  await relyOnDocument(
    {
      service: "housekeeping-service",
      given: [[SIGNED_IN]],
      receiving: "how many rooms are in each state",
      path: "/api/v1/housekeeping/room-status",
    },
    { byStatus: eachValueMatches({ clean: 12 }, integer(12)) },
    () => widgets("rooms"),
  );
});

test("the work orders of a property", async () => {
  await relyOnList(
    {
      service: "maintenance-service",
      given: [[SIGNED_IN], ["a work order is open"]],
      receiving: "the work orders of a property",
      path: "/api/v1/maintenance/work-orders",
    },
    WORK_ORDER,
    ["/maintenance", "work-orders"],
  );
});

test("the bills that are to be settled", async () => {
  await relyOnList(
    {
      service: "billing-service",
      given: [[SIGNED_IN], ["a folio has a balance"]],
      receiving: "the bills that are to be settled",
      path: "/api/v1/folios",
      query: { state: "balance_due" },
    },
    FOLIO,
    ["/departures", "folios"],
  );
});

test("what should be in the cash drawer", async () => {
  await relyOnDocument(
    {
      service: "billing-service",
      given: [[SIGNED_IN]],
      receiving: "what should be in the cash drawer",
      path: "/api/v1/cash-drawer",
    },
    { expected: MONEY },
    () => widgets("cash-drawer"),
  );
});

test("how full a property is", async () => {
  await relyOnDocument(
    {
      service: "inventory-service",
      given: [[SIGNED_IN]],
      receiving: "how full a property is",
      path: "/api/v1/inventory/occupancy",
    },
    {
      rooms: integer(60),
      occupied: integer(41),
      outOfOrder: integer(2),
      available: integer(17),
    },
    () => summary("/front-desk", "occupancy"),
  );
});

test("what a night costs", async () => {
  await relyOnDocument(
    {
      service: "pricing-service",
      given: [[SIGNED_IN]],
      receiving: "what a night costs",
      path: "/api/v1/pricing/rates",
    },
    { rates: eachLike({ roomTypeId: like(ROOM_TYPE_ID), rate: MONEY }) },
    () => widgets("rates"),
  );
});

test("the figures of a property's day", async () => {
  await relyOnDocument(
    {
      service: "analytics-service",
      given: [[SIGNED_IN]],
      receiving: "the figures of a property's day",
      path: "/api/v1/analytics/kpis",
    },
    { occupancyPercent: integer(71), adr: MONEY, revpar: MONEY },
    () => widgets("occupancy", "adr", "revpar"),
  );
});

test("how the locks of a property are", async () => {
  await relyOnDocument(
    {
      service: "lock-integration-service",
      given: [[SIGNED_IN], ["the battery of a lock is low"]],
      receiving: "how the locks of a property are",
      path: "/api/v1/locks/health",
    },
    { locks: integer(60), offline: integer(2), batteryLow: eachLike(EXAMPLES.lockId) },
    () => summary("/maintenance", "lock-health"),
  );
});

test("the card of a property", async () => {
  const name = { default: like("Kabul Inn"), values: eachValueMatches({ en: "Inn" }, like("Inn")) };
  const card = {
    city: like("Kabul"),
    timezone: like("Asia/Kabul"),
    checkInTime: regex(String.raw`^\d\d:\d\d$`, "14:00"),
    checkOutTime: regex(String.raw`^\d\d:\d\d$`, "11:00"),
    photoUrl: regex("^https://.+$", "https://pictures.example/kabul-inn.jpg"),
  };
  const shown = await relyOn(
    {
      ...READ,
      service: "property-service",
      given: [[SIGNED_IN]],
      receiving: "the card of a property",
      path: "/api/v1/properties/${propertyId}",
    },
    { status: 200, body: { data: { name, ...card } } },
    () => widgets("property"),
  );
  // In the language of the operator's tenant.
  assert.deepEqual(shown, { name: "Inn", ...(reify(card) as object) });
});
