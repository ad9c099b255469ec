/** Wishes in IndexedDB, for a desktop that runs in a browser. */
import { changed, opened, resultOf } from "./indexed.js";
import type { Kept, Shelf } from "./outbox.js";

const STORE = "wishes";

export class IndexedShelf implements Shelf {
  private constructor(private readonly database: IDBDatabase) {}

  /** One database for each device of an operator: keys of one mean nothing to another. */
  static async open(name: string): Promise<IndexedShelf> {
    return new IndexedShelf(await opened(name, STORE, "number"));
  }

  all(): Promise<Kept[]> {
    const store = this.database.transaction(STORE, "readonly").objectStore(STORE);
    return resultOf(store.getAll() as IDBRequest<Kept[]>);
  }

  put(wish: Kept): Promise<void> {
    return changed(this.database, STORE, (store) => store.put(wish));
  }

  remove(number: number): Promise<void> {
    return changed(this.database, STORE, (store) => store.delete(number));
  }
}
