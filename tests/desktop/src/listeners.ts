/** Who wants to be told of one kind of thing. */
import type { Listener, Stop } from "../../../schemas/desktop.js";

export class Listeners<Told> {
  readonly #listeners = new Set<Listener<Told>>();

  add(listener: Listener<Told>): Stop {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  tell(told: Told): void {
    for (const listener of [...this.#listeners]) listener(told);
  }
}
