/** Keeps wishes as long as a test lasts. */
import type { Kept, Shelf } from "../../src/outbox.js";

/** A shelf that needs no time, and breaks when it is told to. */
export class FakeShelf implements Shelf {
  readonly kept = new Map<number, Kept>();
  isBroken = false;

  async all(): Promise<Kept[]> {
    return [...this.kept.values()].map((wish) => ({ ...wish }));
  }

  async put(wish: Kept): Promise<void> {
    if (this.isBroken) throw new Error("the disk is full");
    this.kept.set(wish.number, { ...wish });
  }

  async remove(number: number): Promise<void> {
    this.kept.delete(number);
  }
}
