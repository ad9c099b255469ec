/** A service of live events whose network a test decides on. */
import type { LiveEvent, LiveListener, LivePoll, LiveSource } from "../../src/live.js";
import { type Problem, ProblemError } from "../../src/problem.js";

const ENCODER = new TextEncoder();

/** One stream that is open. */
export class FakeStream {
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  isClosed = false;
  readonly bytes = new ReadableStream<Uint8Array>({
    start: (controller) => void (this.#controller = controller),
    cancel: () => void (this.isClosed = true),
  });

  write(text: string): void {
    this.#controller?.enqueue(ENCODER.encode(text));
  }

  say(name: string, data: Record<string, unknown>, id?: string): void {
    const line = id === undefined ? "" : `id: ${id}\n`;
    this.write(`${line}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  hello(id = "c0"): void {
    this.write(": connected\nretry: 5000\n\n");
    this.say("session", { kind: "hello" }, id);
  }

  alert(id: string): void {
    this.say("alerts", { kind: "alert.raised", id }, id);
  }

  end(): void {
    this.isClosed = true;
    this.#controller?.close();
  }
}

export class FakeService implements LiveSource, LiveListener {
  /** What the next openings come to, in order; a stream when there is nothing. */
  readonly openings: (Error | undefined)[] = [];
  readonly streams: FakeStream[] = [];
  /** The cursors with which it was asked. */
  readonly opened: (string | undefined)[] = [];
  readonly polled: (string | undefined)[] = [];
  /** How long its polls were to wait. */
  readonly waits: number[] = [];
  readonly heard: string[] = [];
  readonly refetched: string[] = [];
  readonly states: string[] = [];
  readonly nonces: string[] = [];
  refreshes = 0;
  isStreaming = true;
  #waiting: { answer: (polled: LivePoll) => void; fail: (error: Error) => void } | undefined;

  async open(after: string | undefined): Promise<ReadableStream<Uint8Array> | undefined> {
    this.opened.push(after);
    const failure = this.openings.shift();
    if (failure !== undefined) throw failure;
    if (!this.isStreaming) throw new TypeError("cut off");
    const stream = new FakeStream();
    this.streams.push(stream);
    return stream.bytes;
  }

  poll(after: string | undefined, waitMs: number, signal: AbortSignal): Promise<LivePoll> {
    this.polled.push(after);
    this.waits.push(waitMs);
    return new Promise((answer, fail) => {
      this.#waiting = { answer, fail };
      signal.addEventListener("abort", () => fail(signal.reason as Error), { once: true });
    });
  }

  /** Answers the poll that waits. */
  answer(next: string, ...events: LiveEvent[]): void {
    this.#waiting?.answer({ events, next });
  }

  failPoll(): void {
    this.#waiting?.fail(new TypeError("cut off"));
  }

  async refresh(): Promise<void> {
    this.refreshes += 1;
  }

  learnNonce(nonce: string): void {
    this.nonces.push(nonce);
  }

  event({ data }: LiveEvent): void {
    this.heard.push((data as { id: string }).id);
  }

  refetch(what: string): void {
    this.refetched.push(what);
  }

  state(state: string): void {
    this.states.push(state);
  }

  get stream(): FakeStream {
    const stream = this.streams.at(-1);
    if (stream === undefined) throw new Error("no stream was opened");
    return stream;
  }
}

export function refusal(status: number, code: string, more: Partial<Problem> = {}): ProblemError {
  const problem = { status, code, userMessage: code, retriable: false, title: code, ...more };
  return new ProblemError(problem as Problem, new Headers());
}
