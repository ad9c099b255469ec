/** Waits for what happens by itself, with a bound. */
import { setTimeout as pause } from "node:timers/promises";

const PATIENCE_MS = 20_000;
const INTERVAL_MS = 20;

/** Looks until there is something, and answers it at once. */
export async function until<Found>(
  what: string,
  look: () => Promise<Found | undefined>,
): Promise<Found> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`still not so after 20 s: ${what}`);
    await pause(INTERVAL_MS);
  }
}
