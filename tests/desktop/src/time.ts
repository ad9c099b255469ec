/** Time and chance, handed in: tests decide both. */

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Rejects with the signal's reason once that is aborted. */
  wait(ms: number, signal: AbortSignal): Promise<void>;
  /** At least 0, less than 1. */
  chance(): number;
}

/** The clock's time, as the service writes times. */
export function isoTime(clock: Clock): string {
  return new Date(clock.now()).toISOString();
}

export const systemClock: Clock = {
  now: () => Date.now(),
  chance: () => Math.random(),
  wait: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const stop = (): void => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", stop);
        resolve();
      }, ms);
      signal.addEventListener("abort", stop, { once: true });
    }),
};

const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 60_000;

/** How long to wait after so many failures in a row: longer each time, and not all desktops alike. */
export function backoffMs(failures: number, chance: number, atLeastMs = 0): number {
  const longestMs = Math.min(BACKOFF_MIN_MS * 2 ** Math.min(failures, 10), BACKOFF_MAX_MS);
  return atLeastMs + (longestMs / 2) * (1 + chance);
}
