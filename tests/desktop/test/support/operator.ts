/** Operators of the simulated platform, each signed in on a desktop of the real service. */
import { Desktop, type DesktopSettings } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { type SignInWish, signInAt, type World, world } from "./simulator.js";
import { stack } from "./stack.js";

export const APP = { version: "1.4.2", platform: "linux" } as const;

export interface Operator {
  desktop: Desktop;
  key: DeviceKey;
}

/** Signs somebody in on a new device, of a tenant without a compliance profile of its own. */
export async function signIn(
  wish: Partial<SignInWish> = {},
  settings: Partial<DesktopSettings> = {},
): Promise<Operator> {
  const key = await DeviceKey.generate();
  const tenantId = wish.tenantId ?? standardTenant(await world()).id;
  const tokens = await signInAt({ ...wish, tenantId }, key);
  return { key, desktop: desktopOf({ key, tokens, ...settings }) };
}

/** A desktop of the running service. */
export function desktopOf(
  settings: Pick<DesktopSettings, "key" | "tokens"> & Partial<DesktopSettings>,
): Desktop {
  return new Desktop({ origin: stack.origin, app: APP, networkMode: () => "good", ...settings });
}

export function standardTenant({ tenants }: World): World["tenants"][number] {
  return found(tenants.find((tenant) => tenant.complianceProfile === "standard"));
}

/** A property whose rooms are more than an upstream lists on one page. */
export async function largeProperty(): Promise<{ tenantId: string; propertyId: string }> {
  const properties = (await world()).tenants.flatMap((tenant) =>
    tenant.properties.map(({ id, rooms }) => ({ tenantId: tenant.id, propertyId: id, rooms })),
  );
  const { tenantId, propertyId } = found(properties.find(({ rooms }) => 100 < rooms.length));
  return { tenantId, propertyId };
}

/** The property at which a desktop's operator works. */
export function propertyOf(desktop: Desktop): string {
  return found(desktop.tokens.propertyIds[0]);
}

/** What the simulated world has for certain. */
export function found<Thing>(thing: Thing | undefined): Thing {
  if (thing === undefined) throw new Error("the simulated world has no such thing (any more)");
  return thing;
}
