/** Makes the sentences true that the pact says of the service, at the simulated platform. */
import { answerOf, type BoardPath } from "../../src/desktop.js";
import type { Facts } from "../consumer/facts.js";
import { SIGNED_IN } from "../consumer/sentences.js";
import { type Door, doorFor, issuedKey, steppedUp } from "../support/door.js";
import { proposedSuggestion, raisedAlert } from "../support/inbox.js";
import { found, propertyOf, signIn } from "../support/operator.js";
import { type Item, world } from "../support/simulator.js";
import { newWish } from "../../src/wish.js";
import type { State } from "../support/verification.js";
import { until } from "../support/wait.js";
import type { Stage } from "./stage.js";
import { raiseMacVersionFloor } from "./version-floor.js";

const DAY_MS = 86_400_000;
const SMALL_AMOUNT_MICRO = "1000000";

export function statesOn(stage: Stage): Record<string, State> {
  const stock = new Stock(stage);
  return {
    ...sessions(stage),
    ...inbox(stage),
    ...frontDesk(stage, stock),
    ...desk(stage),
    ...screens(stage),
  };
}

function sessions(stage: Stage): Record<string, State> {
  const facts = (): Facts => {
    const { accessToken, refreshToken, operatorId, deviceId } = stage.desktop.tokens;
    return {
      accessToken,
      refreshToken,
      operatorId,
      deviceId,
      idempotencyKey: stage.wish["X-Idempotency-Key"],
      now: new Date().toISOString(),
      tomorrow: new Date(Date.now() + DAY_MS).toISOString(),
    };
  };
  return {
    [SIGNED_IN]: async () => {
      await stage.signIn();
      await stage.openSession();
      return facts();
    },
    "the operator's access token has expired": async () => {
      await stage.signIn({ ttlSeconds: -3600 });
      return facts();
    },
    "the desktop knows no nonce yet": async () => {
      stage.forgetNonces();
      return {};
    },
    "apps for a Mac must be newer": async ({ versionFloor }) => {
      await raiseMacVersionFloor(found(versionFloor));
      return {};
    },
  };
}

function inbox(stage: Stage): Record<string, State> {
  const decide = "/ai/suggestions/{id}/decide";
  return {
    "an alert has been raised": async () => ({ alertId: await raisedAlert(stage.desktop) }),
    "this desktop has acknowledged an alert": async ({ comment }) => {
      const id = await raisedAlert(stage.desktop);
      const params = { path: { id }, header: stage.wish };
      const body = { comment: found(comment) };
      await stage.desktop.api.POST("/alerts/{id}/acknowledge", { params, body });
      return { alertId: id };
    },
    "a suggestion has been made": async () => ({
      suggestionId: await proposedSuggestion(stage.desktop),
    }),
    "a colleague has rejected a suggestion": async () => {
      const id = await proposedSuggestion(stage.desktop);
      const { desktop } = await signIn({ tenantId: stage.desktop.tokens.tenantId });
      const params = { path: { id }, header: newWish() };
      await desktop.api.POST(decide, { params, body: { decision: "reject" } });
      return { suggestionId: id };
    },
  };
}

function frontDesk(stage: Stage, stock: Stock): Record<string, State> {
  let door: Door;
  return {
    "a guest is to have a key": async () => {
      door = await doorFor(stage.desktop);
      return { ...door };
    },
    "a guest has lost the key of a door": async () => {
      door = await doorFor(stage.desktop);
      return { ...door, keyCredentialId: await issuedKey(stage.desktop, door) };
    },
    "the operator has stepped up for that door": async () => ({
      attestationId: await steppedUp(stage.desktop, "lock.revoke", door.lockId),
    }),
    "a guest is expected": () => stock.stay("confirmed"),
    "a guest is in the house": () => stock.stay("in_house"),
    "a folio is open and a small amount is to go on it": async () => {
      return { ...(await stock.openFolio()), amountMicro: SMALL_AMOUNT_MICRO };
    },
    "a folio is open and a large amount is to go on it": async () => {
      return { ...(await stock.openFolio()), amountMicro: await stock.largeAmountMicro() };
    },
  };
}

function desk(stage: Stage): Record<string, State> {
  const prefer = async (density: string): Promise<string> => {
    const params = { header: newWish() };
    const body = { preferences: { density } };
    const answer = await answerOf(stage.desktop.api.PUT("/preferences", { params, body }));
    return found(answer.headers.get("ETag") ?? undefined);
  };
  return {
    "the operator has preferences": async ({ density }) => ({
      preferencesTag: await prefer(found(density)),
    }),
    "the operator has changed preferences since they were read": async () => {
      const preferencesTag = await prefer("wide");
      await prefer("narrow");
      return { preferencesTag };
    },
    "the device has reported itself": async () => {
      const params = { path: { id: stage.desktop.tokens.deviceId } };
      const body = { appVersion: "1.4.2", networkMode: "good", pendingActions: 3 };
      await stage.desktop.api.POST("/devices/{id}/heartbeat", { params, body });
      return {};
    },
    "the device has read a stream": async ({ stream, cursor }) => {
      const body = { stream: found(stream), cursor: found(cursor) };
      await stage.desktop.api.POST("/sync/cursor", { params: { header: newWish() }, body });
      return {};
    },
    "the operator's other device has three actions queued": async () => {
      const { tenantId, operatorId } = stage.desktop.tokens;
      const { desktop } = await signIn({ tenantId, operatorId });
      const body = { pendingActions: 3, kinds: { "reservation.check-in": 3 } };
      await desktop.api.PUT("/offline-queue/hint", { params: { header: newWish() }, body });
      return {};
    },
  };
}

function screens(stage: Stage): Record<string, State> {
  const here = () => ({ propertyId: propertyOf(stage.desktop) });
  const board = (path: BoardPath, limit: number) => {
    const query = { ...here(), limit };
    return answerOf(stage.desktop.api.GET(path, { params: { query } }));
  };
  return {
    // On a busy machine an upstream may be late; what was there once stands in for a while.
    "the dashboard has been seen as a whole": async () => {
      await until("the dashboard is whole", async () => {
        const call = stage.desktop.api.GET("/dashboard", { params: { query: here() } });
        return (await answerOf(call)).body.complete || undefined;
      });
      return here();
    },
    "a board has been seen as a whole": async ({ path }) => {
      await until(`${path} is whole`, async () => {
        const { sections } = (await board(path as BoardPath, 1)).body;
        return sections.every(({ status }) => status === "ok") || undefined;
      });
      return here();
    },
    "the first five rooms have been listed": async () => {
      const { sections } = (await board("/housekeeping", 5)).body;
      const rooms = found(sections.find(({ id }) => id === "rooms"));
      return { ...here(), cursor: found(rooms.nextCursor ?? undefined) };
    },
  };
}

/** What the tenant has, less what was given out: two interactions never share a stay or a folio. */
class Stock {
  readonly #taken = new Set<string>();

  constructor(private readonly stage: Stage) {}

  async stay(state: string): Promise<Facts> {
    const { id, propertyId } = this.#take((await world()).reservations, state);
    return { reservationId: id, propertyId };
  }

  async openFolio(): Promise<Facts> {
    const { id, propertyId, balance } = this.#take((await world()).folios, "balance_due");
    return { folioId: id, propertyId, currency: balance.currency };
  }

  /** From this amount on a charge of the tenant needs a second factor. */
  async largeAmountMicro(): Promise<string> {
    const { tenantId } = this.stage.desktop.tokens;
    const tenant = (await world()).tenants.find(({ id }) => id === tenantId);
    return found(tenant).largeChargeThreshold.amountMicro;
  }

  #take<Thing extends Item>(things: Thing[], state: string): Thing {
    const { tenantId } = this.stage.desktop.tokens;
    const isFree = (it: Thing) =>
      it.tenantId === tenantId && it.state === state && !this.#taken.has(it.id);
    const thing = found(things.find(isFree));
    this.#taken.add(thing.id);
    return thing;
  }
}
