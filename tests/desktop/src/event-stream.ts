/** Reads server-sent events. `EventSource` cannot: it sends no proofs. */
import { createParser } from "eventsource-parser";

/** An event in progress may not take more of the memory. */
const BUFFER_MAX = 1 << 20;

/** An event; without `event`, a sign that the stream lives: a comment or a time to wait. */
export interface Frame {
  event?: { id: string | undefined; name: string; data: string };
  /** How long to wait before coming back. */
  retryMs?: number;
}

/** Each frame as soon as it is whole, until the stream ends or `signal` is aborted. */
export async function* framesOf(
  bytes: ReadableStream<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Frame> {
  const frames: Frame[] = [];
  const parser = createParser({
    maxBufferSize: BUFFER_MAX,
    onEvent: ({ id, event = "message", data }) => frames.push({ event: { id, name: event, data } }),
    onRetry: (retryMs) => frames.push({ retryMs }),
    onComment: () => frames.push({}),
  });
  const decoder = new TextDecoder();
  const reader = bytes.getReader();
  const stop = (): void => void reader.cancel().catch(() => undefined);
  signal.addEventListener("abort", stop, { once: true });
  try {
    while (!signal.aborted) {
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      yield* frames.splice(0);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
  }
}
