/** Ends an attempt when nothing breaks the silence in time. */
import type { Clock } from "./time.js";

export class Silence {
  #timer = new AbortController();

  constructor(
    private readonly clock: Clock,
    private readonly attempt: AbortController,
  ) {}

  /** From now on so long. */
  isBrokenBy(ms: number): void {
    this.end();
    this.#timer = new AbortController();
    this.clock.wait(ms, this.#timer.signal).then(
      () => this.attempt.abort(new Error("the stream was silent")),
      () => undefined,
    );
  }

  end(): void {
    this.#timer.abort();
  }
}
