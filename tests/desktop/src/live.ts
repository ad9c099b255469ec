/**
 * The desktop's live events: a stream, for as long as the network lets one through, else long polls,
 * both from the same cursor on; so nothing is missed and nothing heard twice when one follows the other.
 */
import { type Frame, framesOf } from "./event-stream.js";
import type { components } from "./generated/api.js";
import { ProblemError } from "./problem.js";
import { Silence } from "./silence.js";
import { backoffMs, type Clock } from "./time.js";

export type LiveEvent = components["schemas"]["LiveEvent"];
export type LivePoll = components["schemas"]["LivePoll"];

export type LiveState = "connecting" | "streaming" | "polling" | "ended";

/** Why nothing more will be heard, and what the service said of it. */
export interface LiveEnd {
  kind:
    "force-logout" | "superseded" | "version-blocked" | "nothing-to-hear" | "refused" | "stopped";
  reason?: string;
}

export interface LiveListener {
  /** What happened; never an event of the connection. */
  event(event: LiveEvent): void;
  /** What is shown may be old: `screens` after an interruption, `everything` after a gap. */
  refetch(what: "screens" | "everything"): void;
  state(state: LiveState): void;
}

/** Where events come from. */
export interface LiveSource {
  /** The stream after a cursor; nothing when there is nothing to hear for this operator. */
  open(
    after: string | undefined,
    signal: AbortSignal,
  ): Promise<ReadableStream<Uint8Array> | undefined>;
  /** What happened after a cursor, as soon as there is something. */
  poll(after: string | undefined, waitMs: number, signal: AbortSignal): Promise<LivePoll>;
  /** Gets a new token. */
  refresh(): Promise<unknown>;
  /** For the next proof. */
  learnNonce(nonce: string): void;
}

/** What the service says of the connection; the members are there with the kinds that need them. */
interface Told {
  kind: string;
  reason?: string;
  nonce?: string;
  /** Seconds. */
  retryAfter?: number;
}

/** What comes next after a part of the conversation. */
type Next = LiveEnd | "at-once" | "later" | undefined;

/** From here on without any byte, a stream is as good as cut off; the service sends some each 15 s. */
const SILENCE_MS = 40_000;
/** A stream whose first bytes take longer is kept back by something in between. */
const OPENING_MS = 10_000;
/** A stream that has lived so long shows that the network lets streams through. */
const STEADY_MS = 60_000;
const STREAM_FAILURES_MAX = 3;
/** For how long to poll before a stream is tried again; doubled each time that it fails. */
const POLLING_MIN_MS = 60_000;
const POLLING_MAX_MS = 600_000;
/** How long a poll waits for something to happen. */
const WAIT_MS = 10_000;
/** Until the service says how long. */
const RETRY_MS = 3_000;

export class Live {
  readonly #stop = new AbortController();
  #pause = new AbortController();
  #cursor: string | undefined;
  /** In a row, of whatever kind. */
  #failures = 0;
  /** In a row; polls in between do not count. */
  #streamFailures = 0;
  #pollingMs = POLLING_MIN_MS;
  #pollingUntil: number | undefined;
  #retryMs = RETRY_MS;
  #isInterrupted = false;

  constructor(
    private readonly source: LiveSource,
    private readonly clock: Clock,
    private readonly listener: LiveListener,
  ) {}

  /** Listens until there is nothing more to hear. */
  async run(): Promise<LiveEnd> {
    const end = await this.#listen();
    this.listener.state("ended");
    return end;
  }

  /** The network is back, as far as anybody knows: there is no reason to wait any longer. */
  wake(): void {
    this.#pause.abort(new Error("woken"));
  }

  stop(): void {
    this.#stop.abort(new Error("stopped"));
  }

  async #listen(): Promise<LiveEnd> {
    while (!this.#stop.signal.aborted) {
      const isPolling = STREAM_FAILURES_MAX <= this.#streamFailures;
      const part = isPolling ? this.#pollForAWhile() : this.#stream();
      const next = await part.catch((error: unknown) => this.#failed(error));
      if (typeof next === "object") return next;
    }
    return { kind: "stopped" };
  }

  /** One stream from its opening to its end. */
  async #stream(): Promise<Next> {
    this.listener.state("connecting");
    const attempt = new AbortController();
    const silence = new Silence(this.clock, attempt);
    const signal = AbortSignal.any([attempt.signal, this.#stop.signal]);
    const openedAt = this.clock.now();
    try {
      silence.isBrokenBy(OPENING_MS);
      const bytes = await this.source.open(this.#cursor, signal);
      if (bytes === undefined) return { kind: "nothing-to-hear" };
      for await (const frame of framesOf(bytes, signal)) {
        silence.isBrokenBy(SILENCE_MS);
        const next = await this.#take(frame);
        if (next === "later") await this.#comeBack();
        if (next !== undefined) return next;
      }
      throw new Error("the stream was cut off");
    } catch (error) {
      this.#streamFailures += 1;
      throw error;
    } finally {
      silence.end();
      attempt.abort();
      if (STEADY_MS <= this.clock.now() - openedAt) {
        this.#streamFailures = 0;
        this.#pollingMs = POLLING_MIN_MS;
      }
    }
  }

  async #take({ event, retryMs }: Frame): Promise<Next> {
    this.#retryMs = retryMs ?? this.#retryMs;
    if (event === undefined) return undefined;
    const data: unknown = JSON.parse(event.data);
    return this.#hear({ event: event.name, data, ...(event.id && { id: event.id }) });
  }

  /** Polls until a stream is worth another try; one more that fails is then enough to poll again. */
  async #pollForAWhile(): Promise<Next> {
    this.#pollingUntil ??= this.clock.now() + this.#pollingMs;
    while (this.clock.now() < this.#pollingUntil) {
      // The first one only looks whether polls come through.
      const polled = await this.#poll(this.#isInterrupted ? 0 : WAIT_MS);
      this.#goesOn("polling");
      for (const event of polled.events) {
        const next = await this.#hear(event);
        if (next === "later") await this.#comeBack();
        if (next !== undefined) return next;
      }
      this.#cursor = polled.next;
    }
    this.#pollingUntil = undefined;
    this.#pollingMs = Math.min(this.#pollingMs * 2, POLLING_MAX_MS);
    this.#streamFailures = STREAM_FAILURES_MAX - 1;
    this.#isInterrupted = true;
    return undefined;
  }

  async #poll(waitMs: number): Promise<LivePoll> {
    try {
      return await this.source.poll(this.#cursor, waitMs, this.#stop.signal);
    } catch (error) {
      // Where polls do not come through either, nothing is wrong with streams.
      this.#streamFailures = STREAM_FAILURES_MAX - 1;
      this.#pollingUntil = undefined;
      throw error;
    }
  }

  /** An event counts as heard, for the cursor, when the listener has been told. */
  async #hear(event: LiveEvent): Promise<Next> {
    const next = event.event === "session" ? await this.#obey(event) : this.listener.event(event);
    this.#cursor = event.id ?? this.#cursor;
    return next ?? undefined;
  }

  /** What the service says of the connection itself. */
  async #obey({ data }: LiveEvent): Promise<Next> {
    const { kind, reason, nonce, retryAfter } = data as Told;
    if (nonce !== undefined) this.source.learnNonce(nonce);
    switch (kind) {
      case "hello":
        this.#goesOn("streaming");
        return undefined;
      case "reset":
        this.listener.refetch("everything");
        return undefined;
      case "reauth":
        return this.#refresh();
      case "reconnect":
        return "later";
      case "poll":
        return this.#pollFor(retryAfter);
      case "force-logout":
      case "superseded":
      case "version-blocked":
        return { kind, ...(reason !== undefined && { reason }) };
      default:
        // A kind of later versions of the service.
        return undefined;
    }
  }

  /** The service has seen this device's streams break, also those of before a restart. */
  #pollFor(seconds = 0): Next {
    const ms = Math.min(Math.max(seconds * 1_000, POLLING_MIN_MS), POLLING_MAX_MS);
    this.#pollingUntil = this.clock.now() + ms;
    this.#streamFailures = STREAM_FAILURES_MAX;
    this.#isInterrupted = true;
    return "at-once";
  }

  async #refresh(): Promise<Next> {
    try {
      await this.source.refresh();
      return "at-once";
    } catch (error) {
      if (!(error instanceof ProblemError) || error.retriable) throw error;
      return { kind: "force-logout", reason: error.code };
    }
  }

  /** Hints of what has changed on screens are not repeated to who was away. */
  #goesOn(state: "streaming" | "polling"): void {
    this.#failures = 0;
    this.listener.state(state);
    if (this.#isInterrupted) this.listener.refetch("screens");
    this.#isInterrupted = false;
  }

  /** Asked to come back, all desktops do not come at once. */
  async #comeBack(): Promise<void> {
    this.#isInterrupted = true;
    await this.clock.wait(this.#retryMs * this.clock.chance(), this.#stop.signal);
  }

  async #failed(error: unknown): Promise<Next> {
    if (this.#stop.signal.aborted) return { kind: "stopped" };
    this.#isInterrupted = true;
    if (error instanceof ProblemError && !error.retriable) return this.#refused(error);
    this.#failures += 1;
    const isFallingBack = STREAM_FAILURES_MAX <= this.#streamFailures;
    if (isFallingBack && !(error instanceof ProblemError)) return undefined;
    const atLeastMs = error instanceof ProblemError ? (error.retryAfter ?? 0) * 1_000 : 0;
    const ms = backoffMs(this.#failures, this.clock.chance(), atLeastMs);
    this.#pause = new AbortController();
    const signal = AbortSignal.any([this.#pause.signal, this.#stop.signal]);
    await this.clock.wait(ms, signal).catch(() => undefined);
    return undefined;
  }

  #refused(refusal: ProblemError): Next {
    const { code, status } = refusal;
    if (status === 400 && this.#cursor !== undefined) {
      // The cursor is none of the service's any more: begin anew, with what is there now.
      this.#cursor = undefined;
      this.listener.refetch("everything");
      return undefined;
    }
    if (status === 401) return { kind: "force-logout", reason: code };
    return { kind: status === 426 ? "version-blocked" : "refused", reason: code };
  }
}
