/** Reads what comes line by line. */

/** Each line as soon as it is whole; what is cut off before its end is none. */
export async function* linesOf(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  const reader = bytes.getReader();
  let begun = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (begun + decoder.decode(value, { stream: true })).split("\n");
      begun = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    // Whoever reads no further is not sent the rest, nor told what becomes of it.
    await reader.cancel().catch(() => undefined);
  }
}
