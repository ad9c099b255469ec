/** Live events of the service, by the typed client. */
import { answerOf, type Desktop } from "./desktop.js";
import type { LiveSource } from "./live.js";

/** The service answers a poll within 10 s. */
const POLL_MAX_MS = 20_000;

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

  async function poll(after: string | undefined, signal: AbortSignal) {
    const deadline = AbortSignal.timeout(POLL_MAX_MS);
    const call = desktop.api.GET("/live/poll", {
      params: { query: after === undefined ? {} : { after } },
      signal: AbortSignal.any([signal, deadline]),
    });
    return (await answerOf(call)).body;
  }

  return {
    open: (after, signal) => desktop.signedIn(() => open(after, signal)),
    poll: (after, signal) => desktop.signedIn(() => poll(after, signal)),
    refresh: () => desktop.refresh(),
    learnNonce: (nonce) => desktop.learnNonce(nonce),
  };
}
