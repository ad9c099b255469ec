/**
 * What the operator wants done, kept until the service has answered it for good: stored before it is
 * sent, sent in order, again and again under the same idempotency key, over restarts and outages.
 */
import { decodeTime, ulid } from "ulid";

import { type Problem, ProblemError } from "./problem.js";
import { backoffMs, type Clock } from "./time.js";

/** What is asked of which operation; it can be stored as JSON. */
export interface Wanted {
  operation: string;
  request: unknown;
}

/** One wish of the operator, as it stands on the shelf. */
export interface Kept extends Wanted {
  /** Its name, and its place: wishes are sent in the order of their numbers. */
  number: number;
  /** Idempotency key: a ULID. */
  key: string;
  /** Whether it may have reached the service. */
  isSent: boolean;
  /** Why it will not be done; it stays until the operator has seen it. */
  refusal?: Problem;
}

/** Keeps wishes over restarts. A promise is fulfilled when the change would survive a power cut. */
export interface Shelf {
  all(): Promise<Kept[]>;
  put(wish: Kept): Promise<void>;
  remove(number: number): Promise<void>;
}

export type Outcome =
  | { state: "done"; number: number; body: unknown }
  | { state: "waiting"; number: number }
  | { state: "refused"; number: number; problem: Problem };

export interface OutboxSettings {
  shelf: Shelf;
  clock: Clock;
  /** Sends a wish; rejects with a `ProblemError` when the service refuses it. */
  send: (wish: Kept, signal: AbortSignal) => Promise<unknown>;
  /** Told of every change: what is kept now. */
  changed: (wishes: readonly Kept[]) => void;
  /** Told of what was answered for good, whoever waits for it. */
  settled: (outcome: Outcome) => void;
}

/** The service takes no older keys. */
const KEY_AGE_MAX_MS = 86_400_000;
/** Longer than the service works on anything. */
const ANSWER_MAX_MS = 30_000;
/** More than a desk does in the longest outage that its keys outlive. */
const WISHES_MAX = 1_000;

export class Outbox {
  readonly #wishes: Kept[];
  readonly #callers = new Map<number, (outcome: Outcome) => void>();
  readonly #stop = new AbortController();
  #pause = new AbortController();
  #failures = 0;
  #lastNumber: number;
  /** Wishes are stored one after the other. */
  #stored: Promise<unknown> = Promise.resolve();
  #isWorking = false;
  #work: Promise<void> = Promise.resolve();

  private constructor(
    private readonly settings: OutboxSettings,
    wishes: Kept[],
  ) {
    this.#wishes = wishes.sort((one, other) => one.number - other.number);
    this.#lastNumber = this.#wishes.at(-1)?.number ?? 0;
  }

  /** With what an earlier run has left on the shelf; it is sent from the first `wake` on. */
  static async open(settings: OutboxSettings): Promise<Outbox> {
    return new Outbox(settings, await settings.shelf.all());
  }

  get wishes(): readonly Kept[] {
    return this.#wishes;
  }

  /**
   * Keeps a wish and sends it when its turn comes. Answers what became of it, or that it waits: then
   * the service, or one of those wishes that were before it, could not be reached.
   */
  async add(wanted: Wanted): Promise<Outcome> {
    if (WISHES_MAX <= this.#wishes.length) throw new Error("the outbox is full");
    const number = (this.#lastNumber += 1);
    const wish = { ...wanted, number, key: ulid(this.settings.clock.now()), isSent: false };
    const storing = this.#stored.then(() => this.settings.shelf.put(wish));
    this.#stored = storing.catch(() => undefined);
    await storing;
    const outcome = new Promise<Outcome>((answer) => this.#callers.set(number, answer));
    this.#wishes.push(wish);
    this.#changed();
    this.wake();
    return outcome;
  }

  /** Takes away a refusal that the operator has seen. */
  async dismiss(number: number): Promise<void> {
    const wish = this.#wishes.find((kept) => kept.number === number);
    if (wish?.refusal !== undefined) await this.#remove(wish);
  }

  /** How much is still to be sent. */
  get waiting(): number {
    return this.#wishes.filter(({ refusal }) => refusal === undefined).length;
  }

  /** The network or the operator is back, as far as anybody knows: there is no reason to wait. */
  wake(): void {
    this.#pause.abort(new Error("woken"));
    if (this.#isWorking) return;
    this.#isWorking = true;
    this.#work = this.#sendAll();
  }

  /** Sends nothing more; what is kept stays kept. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("stopped"));
    await this.#work;
  }

  async #sendAll(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const wish = this.#wishes.find(({ refusal }) => refusal === undefined);
      if (wish === undefined) break;
      try {
        this.#settle(await this.#send(wish));
      } catch (error) {
        this.#letCallersGo();
        if (isHalted(error)) break;
        await this.#waitAfter(error);
      }
    }
    this.#letCallersGo();
    this.#isWorking = false;
  }

  /** Rejects while nobody knows yet what becomes of the wish. */
  async #send(wish: Kept): Promise<Outcome> {
    const { number } = wish;
    await this.#prepare(wish);
    try {
      const deadline = AbortSignal.timeout(ANSWER_MAX_MS);
      const signal = AbortSignal.any([deadline, this.#stop.signal]);
      const body = await this.settings.send(wish, signal);
      await this.#remove(wish);
      return { state: "done", number, body };
    } catch (error) {
      if (!(error instanceof ProblemError) || error.retriable || isHalted(error)) throw error;
      await this.settings.shelf.put({ ...wish, refusal: error.problem });
      wish.refusal = error.problem;
      this.#changed();
      return { state: "refused", number, problem: error.problem };
    }
  }

  /** Notes that the wish may reach the service; what never did may take a new key when its own is old. */
  async #prepare(wish: Kept): Promise<void> {
    if (wish.isSent) return;
    const now = this.settings.clock.now();
    if (KEY_AGE_MAX_MS <= now - decodeTime(wish.key)) wish.key = ulid(now);
    await this.settings.shelf.put({ ...wish, isSent: true });
    wish.isSent = true;
  }

  #settle(outcome: Outcome): void {
    this.#failures = 0;
    this.#callers.get(outcome.number)?.(outcome);
    this.#callers.delete(outcome.number);
    this.settings.settled(outcome);
  }

  /** Nobody at the desk waits for a network. */
  #letCallersGo(): void {
    for (const [number, answer] of this.#callers) answer({ state: "waiting", number });
    this.#callers.clear();
  }

  async #waitAfter(error: unknown): Promise<void> {
    this.#failures += 1;
    const atLeastMs = error instanceof ProblemError ? (error.retryAfter ?? 0) * 1_000 : 0;
    const { clock } = this.settings;
    this.#pause = new AbortController();
    const signal = AbortSignal.any([this.#pause.signal, this.#stop.signal]);
    const ms = backoffMs(this.#failures, clock.chance(), atLeastMs);
    await clock.wait(ms, signal).catch(() => undefined);
  }

  async #remove(wish: Kept): Promise<void> {
    await this.settings.shelf.remove(wish.number);
    this.#wishes.splice(this.#wishes.indexOf(wish), 1);
    this.#changed();
  }

  #changed(): void {
    this.settings.changed(this.#wishes);
  }
}

/** Nothing will be done until the operator has signed in again or the app is newer; nothing is lost. */
function isHalted(error: unknown): boolean {
  return error instanceof ProblemError && [401, 426].includes(error.status) && !error.retriable;
}
