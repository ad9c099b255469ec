/** The simulated platform: who signs in there, what its world holds, and what happens in it. */
import type { DeviceKey } from "../../src/device-key.js";
import type { Tokens } from "../../src/desktop.js";
import { stack } from "./stack.js";

/** What every object of the world has; the rest is the object's own. */
export interface Item {
  id: string;
  tenantId: string;
  propertyId: string;
  state: string;
}

export interface Tenant {
  id: string;
  properties: { id: string; rooms: unknown[] }[];
  complianceProfile: "sharia" | "standard";
  largeChargeThreshold: Money;
}

export interface Money {
  amountMicro: string;
  currency: string;
}

export interface World {
  tenants: Tenant[];
  reservations: (Item & { roomId: string; arrivalDate: string; departureDate: string })[];
  folios: (Item & { balance: Money })[];
  locks: (Item & { roomId: string; batteryPercent: number })[];
  tasks: Item[];
  workOrders: Item[];
}

/** What a sign-in names itself; the simulator chooses the rest. */
export interface SignInWish {
  tenantId: string;
  operatorId?: string;
  deviceId?: string;
  propertyIds?: string[];
  roles?: string[];
  /** Of its tokens. */
  ttlSeconds?: number;
}

export interface Call {
  path: string;
  body: { deviceId?: string } | null;
}

export interface Effect {
  path: string;
  tenantId: string;
  body: unknown;
}

export async function signInAt(
  wish: SignInWish,
  key: Pick<DeviceKey, "publicJwk">,
): Promise<Tokens> {
  return ask<Tokens>("POST", "/sim/sign-in", { ...wish, deviceJwk: await key.publicJwk() });
}

export function world(): Promise<World> {
  return ask("GET", "/sim/world");
}

/** An upstream lets something happen and says so; answers what it said. */
export async function happen(
  subject: string,
  tenantId: string,
  payload: Record<string, unknown>,
): Promise<Record<string, string>> {
  const producer = subject.split(".")[1];
  const event = { producer, subject, tenantId, payload };
  return (await ask<{ payload: Record<string, string> }>("POST", "/sim/events", event)).payload;
}

/** Lets an upstream go wrong until it is healed. */
export async function fault(service: string, faults: Record<string, unknown>): Promise<void> {
  await ask("PUT", `/sim/upstreams/${service}/faults`, faults);
}

export async function heal(service: string): Promise<void> {
  await ask("DELETE", `/sim/upstreams/${service}/faults`);
}

/** iam-service ends sessions: those of which everything that is named is true. */
export async function revoke(
  which: { tenantId: string } & ({ sessionId: string } | { deviceId: string }),
): Promise<void> {
  await ask("POST", "/sim/revoke", { ...which, reason: "security" });
}

/** What an upstream was asked by a device at a path that ends so. */
export async function calls(service: string, path: string, deviceId: string): Promise<Call[]> {
  const kept = await ask<{ calls: Call[] }>("GET", `/sim/upstreams/${service}/calls`);
  return kept.calls.filter((call) => {
    return call.path.endsWith(path) && call.body?.deviceId === deviceId;
  });
}

/** What an upstream has done for requests whose path ends so. */
export async function effects(service: string, path: string): Promise<Effect[]> {
  const kept = await ask<{ effects: Effect[] }>("GET", `/sim/upstreams/${service}/effects`);
  return kept.effects.filter((effect) => effect.path.endsWith(path));
}

async function ask<Body>(method: string, path: string, body?: unknown): Promise<Body> {
  const response = await fetch(new URL(path, stack.simulatorUrl), {
    method,
    ...(body === undefined
      ? {}
      : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok)
    throw new Error(`${method} ${path} at the simulator: ${response.status} ${text}`);
  return (text === "" ? undefined : JSON.parse(text)) as Body;
}
