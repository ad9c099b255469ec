/** The pulse of a desktop: how it does, once a minute for as long as its operator is signed in. */
import type { Clock } from "./time.js";

const INTERVAL_MS = 60_000;

/** Reports at once and then every minute. What does not come through is not repeated: the next says more. */
export async function beat(
  report: () => Promise<unknown>,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const minute = clock.wait(INTERVAL_MS, signal).catch(() => undefined);
    await Promise.allSettled([report(), minute]);
  }
}
