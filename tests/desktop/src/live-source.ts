/** Live events of the service, by the typed client. */
import { answerOf, type Desktop } from "./desktop.js";
import type { LiveSource } from "./live.js";

/** How long an answer may take beside the time that the poll waits. */
const ANSWER_MAX_MS = 10_000;

export function liveSourceOf(desktop: Desktop): LiveSource {
  async function open(after: string | undefined, signal: AbortSignal) {
    const { data } = await desktop.api.GET("/live", {
      params: { header: after === undefined ? {} : { "Last-Event-ID": after } },
      headers: { Accept: "text/event-stream" },
      parseAs: "stream",
      signal,
    });
    return data ?? undefined;
  }

  async function poll(after: string | undefined, waitMs: number, signal: AbortSignal) {
    const deadline = AbortSignal.timeout(waitMs + ANSWER_MAX_MS);
    const call = desktop.api.GET("/live/poll", {
      params: { query: { waitMs, ...(after !== undefined && { after }) } },
      signal: AbortSignal.any([signal, deadline]),
    });
    return (await answerOf(call)).body;
  }

  return {
    open: (after, signal) => desktop.signedIn(() => open(after, signal)),
    poll: (after, waitMs, signal) => desktop.signedIn(() => poll(after, waitMs, signal)),
    refresh: () => desktop.refresh(),
    learnNonce: (nonce) => desktop.learnNonce(nonce),
  };
}
