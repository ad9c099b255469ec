// Values for a while, at most so many: the oldest goes first.

export class Remembering {
  #values = new Map();
  #lifeMs;
  #max;

  constructor(lifeMs, max) {
    this.#lifeMs = lifeMs;
    this.#max = max;
  }

  get(key) {
    const known = this.#values.get(key);
    if (known === undefined) return undefined;
    if (known.until < Date.now()) {
      this.#values.delete(key);
      return undefined;
    }
    return known.value;
  }

  set(key, value) {
    this.#values.delete(key);
    if (this.#max <= this.#values.size) this.#values.delete(this.#values.keys().next().value);
    this.#values.set(key, { value, until: Date.now() + this.#lifeMs });
  }
}
