/** Wishes in a file, for a desktop that runs on Node. */
import { open, readFile, rename } from "node:fs/promises";

import type { Kept, Shelf } from "./outbox.js";

export class FileShelf implements Shelf {
  /** Changes are written one after the other. */
  #written: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly path: string,
    private readonly wishes: Map<number, Kept>,
  ) {}

  /** Reads what is there; a file that is not there yet is made by the first change. */
  static async open(path: string): Promise<FileShelf> {
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "[]";
      throw error;
    });
    const wishes = JSON.parse(text) as Kept[];
    return new FileShelf(path, new Map(wishes.map((wish) => [wish.number, wish])));
  }

  async all(): Promise<Kept[]> {
    return [...this.wishes.values()].map((wish) => ({ ...wish }));
  }

  put(wish: Kept): Promise<void> {
    this.wishes.set(wish.number, { ...wish });
    return this.#write();
  }

  remove(number: number): Promise<void> {
    this.wishes.delete(number);
    return this.#write();
  }

  #write(): Promise<void> {
    const text = JSON.stringify([...this.wishes.values()]);
    const written = this.#written.then(() => this.#replace(text));
    this.#written = written.catch(() => undefined);
    return written;
  }

  /** The old file stands until the new one is whole and on the disk. */
  async #replace(text: string): Promise<void> {
    const beside = `${this.path}.new`;
    const file = await open(beside, "w", 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, this.path);
  }
}
