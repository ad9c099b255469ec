/** IndexedDB, as promises. */

/** A database of one store whose keys stand beside what is kept, or in it where `keyPath` says so. */
export function opened(name: string, store: string, keyPath?: string): Promise<IDBDatabase> {
  const opening = indexedDB.open(name, 1);
  const parameters = keyPath === undefined ? {} : { keyPath };
  opening.onupgradeneeded = () => opening.result.createObjectStore(store, parameters);
  return resultOf(opening);
}

/** Fulfilled when the change is on the disk. */
export function changed(
  database: IDBDatabase,
  name: string,
  change: (store: IDBObjectStore) => unknown,
): Promise<void> {
  const transaction = database.transaction(name, "readwrite", { durability: "strict" });
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("nothing was stored"));
    change(transaction.objectStore(name));
  });
}

export function resultOf<Result>(request: IDBRequest<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB does not answer"));
  });
}
