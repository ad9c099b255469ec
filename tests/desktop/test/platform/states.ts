/** Makes the sentences true that the service's pacts say of the platform, at the simulated one. */
import { ulid } from "ulid";

import type { Facts } from "../upstreams/facts.js";
import { SIGNED_IN } from "../upstreams/sentences.js";
import { DeviceKey } from "../../src/device-key.js";
import type { Tokens } from "../../src/desktop.js";
import { decodeJwt } from "../support/jwt.js";
import { found, largeProperty, standardTenant } from "../support/operator.js";
import { type Item, happen, revoke, signInAt, world } from "../support/simulator.js";
import type { State } from "../support/verification.js";
import { Upstreams } from "./upstreams.js";

const DAY_MS = 86_400_000;
/** Below it a lock asks for a new battery. */
const BATTERY_LOW_PERCENT = 20;

export class States {
  /** Who is signed in, once a state has seen to it. */
  #tokens: Tokens | undefined;
  readonly #taken = new Set<string>();
  readonly #upstreams = new Upstreams(() => this.#there.tenantId);

  all(): Record<string, State> {
    return {
      [SIGNED_IN]: () => this.#signIn(),
      ...this.#ofOperators(),
      ...this.#ofInboxes(),
      ...this.#ofStays(),
      ...this.#ofDays(),
      ...this.#ofProperties(),
      ...this.#ofWork(),
    };
  }

  #ofOperators(): Record<string, State> {
    const preferences = () => {
      const { tenantId, operatorId } = this.#there;
      return `/api/v1/tenants/${tenantId}/operators/${operatorId}/preferences`;
    };
    return {
      "the session has been revoked": async () => {
        await revoke({ tenantId: this.#there.tenantId, sessionId: this.#sessionId });
        return {};
      },
      "the operator prefers something": async (wanted) => {
        const answer = await this.#upstreams.ask("PUT", "tenant-service", preferences(), wanted);
        return { preferencesTag: found(answer.headers.get("ETag") ?? undefined) };
      },
      "the device has read a stream": async ({ stream, cursor }) => {
        const body = { deviceId: this.#there.deviceId, stream, cursor };
        await this.#upstreams.ask("POST", "sync-service", "/api/v1/sync/cursors", body);
        return {};
      },
    };
  }

  #ofInboxes(): Record<string, State> {
    const raise = async () => {
      const { tenantId, propertyIds } = this.#there;
      const alert = { propertyId: found(propertyIds[0]), severity: "high", title: "A door" };
      const raised = await happen("melmastoon.notification.alert.raised.v1", tenantId, alert);
      return found(raised["alertId"]);
    };
    return {
      "an alert has been raised": async () => ({ alertId: await raise() }),
      "a colleague has acknowledged an alert": async () => {
        const alertId = await raise();
        const body = { acknowledgedBy: "usr_1", acknowledgedAt: new Date().toISOString() };
        const path = `/api/v1/alerts/${alertId}/acknowledge`;
        await this.#upstreams.ask("POST", "notification-service", path, body);
        return { alertId };
      },
      "a suggestion has been made": async () => {
        const { tenantId, propertyIds } = this.#there;
        const subject = "melmastoon.ai_orchestrator.suggestion.proposed.v1";
        const suggestion = { propertyId: found(propertyIds[0]), category: "rate_change" };
        const proposed = await happen(subject, tenantId, { ...suggestion, title: "Raise it" });
        return { suggestionId: found(proposed["suggestionId"]) };
      },
    };
  }

  #ofStays(): Record<string, State> {
    return {
      "a guest is expected": () => this.#stay("confirmed"),
      "a guest is in the house": () => this.#stay("in_house"),
      "a folio has a balance": async () => (await this.#folio()).facts,
      "nothing is due on a folio": async () => {
        const { facts, balance } = await this.#folio();
        const path = `/api/v1/folios/${facts.folioId}/payments`;
        await this.#upstreams.ask("POST", "billing-service", path, { amount: balance });
        return facts;
      },
      "a door has a lock": () => this.#door(),
      "a guest has a key": async () => {
        const door = await this.#door();
        return { ...door, keyCredentialId: await this.#upstreams.issuedKey(door, this.#there) };
      },
    };
  }

  #ofDays(): Record<string, State> {
    const today = new Date().toISOString().slice(0, "YYYY-MM-DD".length);
    const on = (day: "arrivalDate" | "departureDate", isToday: boolean) => async () => {
      const { reservations } = await world();
      const fitting = reservations.filter((it) => (it[day] === today) === isToday);
      const stay = this.#take(fitting, day === "arrivalDate" ? "confirmed" : "in_house");
      return { propertyId: stay.propertyId, day: stay[day] };
    };
    return {
      "a guest arrives today": on("arrivalDate", true),
      "a guest arrives on another day": on("arrivalDate", false),
      "a guest leaves today": on("departureDate", true),
      "a guest leaves on another day": on("departureDate", false),
    };
  }

  #ofProperties(): Record<string, State> {
    return {
      "a property has more rooms than one page": async () => {
        const { tenantId, propertyId } = await largeProperty();
        const query = new URLSearchParams({ propertyId, limit: "100" });
        const path = `/api/v1/housekeeping/rooms?${query}`;
        const upstreams = new Upstreams(() => tenantId);
        const answer = await upstreams.ask("GET", "housekeeping-service", path);
        const { nextCursor } = (await answer.json()) as { nextCursor: string };
        return { tenantId, propertyId, cursor: nextCursor };
      },
      "the battery of a lock is low": async () => {
        const { locks } = await world();
        const { tenantId } = this.#there;
        const isLow = (it: (typeof locks)[number]) =>
          it.tenantId === tenantId && it.batteryPercent < BATTERY_LOW_PERCENT;
        return { propertyId: found(locks.find(isLow)).propertyId };
      },
    };
  }

  #ofWork(): Record<string, State> {
    const task = async (...steps: string[]) => {
      const { id, propertyId } = this.#take((await world()).tasks, "created");
      for (const step of steps) {
        const path = `/api/v1/housekeeping/tasks/${id}/${step}`;
        await this.#upstreams.ask("POST", "housekeeping-service", path, {});
      }
      return { taskId: id, propertyId };
    };
    const order = async (...steps: string[]) => {
      const { id, propertyId } = this.#take((await world()).workOrders, "open");
      for (const step of steps) {
        const path = `/api/v1/maintenance/work-orders/${id}/${step}`;
        await this.#upstreams.ask("POST", "maintenance-service", path, {});
      }
      return { workOrderId: id, propertyId };
    };
    return {
      "nobody has begun a task": () => task(),
      "a task is under way": () => task("start"),
      "a task is done": () => task("start", "complete"),
      "a work order is open": () => order(),
      "a work order is resolved": () => order("resolve"),
    };
  }

  async #signIn(): Promise<Facts> {
    const key = await DeviceKey.generate();
    const tenantId = standardTenant(await world()).id;
    this.#tokens = await signInAt({ tenantId }, key);
    const { operatorId, deviceId, refreshToken } = this.#tokens;
    return {
      tenantId,
      refreshToken,
      jkt: await key.thumbprint(),
      operatorId,
      deviceId,
      sessionId: this.#sessionId,
      idempotencyKey: ulid(),
      attestationId: `mfa_${ulid()}`,
      propertyId: found(this.#tokens.propertyIds[0]),
      now: new Date().toISOString(),
      tomorrow: new Date(Date.now() + DAY_MS).toISOString(),
    };
  }

  get #there(): Tokens {
    if (this.#tokens === undefined) throw new Error("no state has signed anybody in");
    return this.#tokens;
  }

  get #sessionId(): string {
    return String(decodeJwt(this.#there.accessToken)["sid"]);
  }

  async #stay(state: string): Promise<Facts> {
    const { reservations } = await world();
    const stay = this.#take(reservations, state);
    // Of a colleague who is not there yet, so that the room is free.
    const isFree = (it: Item) => it.propertyId === stay.propertyId && it.state === "confirmed";
    const other = state === "confirmed" ? this.#take(reservations.filter(isFree), state) : stay;
    return { reservationId: stay.id, propertyId: stay.propertyId, roomId: other.roomId };
  }

  async #folio() {
    const { id, propertyId, balance } = this.#take((await world()).folios, "balance_due");
    const facts = { folioId: id, propertyId, currency: balance.currency };
    return { facts, balance };
  }

  async #door() {
    const { reservations, locks } = await world();
    const { id, propertyId, roomId } = this.#take(reservations, "in_house");
    const lock = found(locks.find((it) => it.roomId === roomId));
    return { lockId: lock.id, roomId, reservationId: id, propertyId };
  }

  /** Each thing once: two interactions never share one. */
  #take<Thing extends Item>(things: Thing[], state: string): Thing {
    const isFree = (it: Thing) =>
      it.tenantId === this.#there.tenantId && it.state === state && !this.#taken.has(it.id);
    const thing = found(things.find(isFree));
    this.#taken.add(thing.id);
    return thing;
  }
}
