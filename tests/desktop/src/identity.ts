/** Who is signed in on this device, over restarts: in a browser, in IndexedDB. */
import type { Tokens } from "./desktop.js";
import { DeviceKey } from "./device-key.js";
import { changed, opened, resultOf } from "./indexed.js";

const STORE = "identity";
const ONLY = 1;

interface KeptIdentity {
  pair: CryptoKeyPair;
  tokens: Tokens;
}

export interface Identity {
  key: DeviceKey;
  tokens: Tokens;
}

export class IdentityStore {
  private constructor(private readonly database: IDBDatabase) {}

  static async open(): Promise<IdentityStore> {
    return new IdentityStore(await opened("identity", STORE));
  }

  async read(): Promise<Identity | undefined> {
    const store = this.database.transaction(STORE, "readonly").objectStore(STORE);
    const kept = await resultOf(store.get(ONLY) as IDBRequest<KeptIdentity | undefined>);
    return kept && { key: DeviceKey.of(kept.pair), tokens: kept.tokens };
  }

  /** The private part of the key is stored, too, and still handed to nobody. */
  keep({ key, tokens }: Identity): Promise<void> {
    const kept: KeptIdentity = { pair: key.pair, tokens };
    return changed(this.database, STORE, (store) => store.put(kept, ONLY));
  }

  forget(): Promise<void> {
    return changed(this.database, STORE, (store) => store.delete(ONLY));
  }
}
