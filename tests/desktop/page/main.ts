/**
 * The whole desktop in one page: this file is what main process and preload are to an Electron app,
 * desk.ts is the renderer, which knows nothing but `window.melmastoon`.
 */
import { type OpenBridge, openBridge } from "../src/bridge.js";
import { Desktop, type Tokens } from "../src/desktop.js";
import { DeviceKey } from "../src/device-key.js";
import { type Identity, IdentityStore } from "../src/identity.js";
import { IndexedShelf } from "../src/shelf-indexed.js";
import { showDesk } from "./desk.js";

const { origin, app } = (await asked("/settings")) as Pick<Desktop["settings"], "origin" | "app">;
const store = await IdentityStore.open();
const identity = (await store.read()) ?? (await signIn());
const bridge = await openOn(identity);
Object.defineProperty(window, "melmastoon", { value: bridge.melmastoon });
bridge.melmastoon.onSessionEnd(() => void store.forget());
await showDesk();
bridge.start();
window.addEventListener("online", () => bridge.wake());

/** As on the pages of iam-service: the device's public key is registered, its tokens are bound to it. */
async function signIn(): Promise<Identity> {
  const key = await DeviceKey.generate();
  const tokens = (await asked("/sign-in", await key.publicJwk())) as Tokens;
  await store.keep({ key, tokens });
  return { key, tokens };
}

async function openOn({ key, tokens }: Identity): Promise<OpenBridge> {
  const desktop = new Desktop({
    origin,
    app,
    key,
    tokens,
    networkMode: () => (navigator.onLine ? "good" : "offline-recently"),
    keepTokens: (tokens) => store.keep({ key, tokens }),
  });
  const { tenantId, operatorId, deviceId } = tokens;
  const shelf = await IndexedShelf.open(`outbox ${tenantId} ${operatorId} ${deviceId}`);
  return openBridge({ desktop, shelf });
}

async function asked(path: string, body?: unknown): Promise<unknown> {
  const answer = await fetch(path, { method: "POST", body: JSON.stringify(body ?? null) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}
