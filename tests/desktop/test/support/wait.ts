/** Waits for what happens by itself, with a bound. */
import { setTimeout as pause } from "node:timers/promises";

/** Others may be using the machine. */
export const PATIENCE_MS = 60_000;
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
    if (performance.now() > deadline) throw new Error(`still not so after a minute: ${what}`);
    await pause(INTERVAL_MS);
  }
}
