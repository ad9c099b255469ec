/** A clock that stands still until a test moves it on. */
import { setImmediate as turn } from "node:timers/promises";

import type { Clock } from "../../src/time.js";

/** Turns of the event loop in which everything that needs no time has happened. */
const TURNS = 20;

interface Timer {
  at: number;
  ring: () => void;
}

export class FakeClock implements Clock {
  readonly #timers = new Set<Timer>();
  #now = Date.parse("2026-11-22T08:00:00Z");

  now(): number {
    return this.#now;
  }

  chance(): number {
    return 0;
  }

  wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const timer = { at: this.#now + ms, ring: resolve };
      this.#timers.add(timer);
      const stop = (): void => {
        this.#timers.delete(timer);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  /** Rings what is due, one after the other, with all that comes of it. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (;;) {
      await settled();
      const [next] = [...this.#timers].sort((one, other) => one.at - other.at);
      if (next === undefined || until < next.at) break;
      this.#timers.delete(next);
      this.#now = next.at;
      next.ring();
    }
    this.#now = until;
  }
}

/** Everything has happened that needs no time. */
export async function settled(): Promise<void> {
  for (let turns = 0; turns < TURNS; turns += 1) await turn();
}
