/** Wishes in IndexedDB, for a desktop that runs in a browser. */
import type { Kept, Shelf } from "./outbox.js";

const STORE = "wishes";

export class IndexedShelf implements Shelf {
  private constructor(private readonly database: IDBDatabase) {}

  /** One database for each device of an operator: keys of one mean nothing to another. */
  static async open(name: string): Promise<IndexedShelf> {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: "number" });
    return new IndexedShelf(await resultOf(opening));
  }

  all(): Promise<Kept[]> {
    const transaction = this.database.transaction(STORE, "readonly");
    return resultOf(transaction.objectStore(STORE).getAll() as IDBRequest<Kept[]>);
  }

  put(wish: Kept): Promise<void> {
    return this.#change((store) => store.put(wish));
  }

  remove(number: number): Promise<void> {
    return this.#change((store) => store.delete(number));
  }

  /** Over when it is on the disk. */
  #change(change: (store: IDBObjectStore) => unknown): Promise<void> {
    const transaction = this.database.transaction(STORE, "readwrite", { durability: "strict" });
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error("nothing was stored"));
      change(transaction.objectStore(STORE));
    });
  }
}

function resultOf<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB does not answer"));
  });
}
