/** What pacts of either side are written with. */
import { MatchersV3 } from "@pact-foundation/pact";

const { like, regex } = MatchersV3;

export const PACT_DIRECTORY = "build/pacts";
/** Of a request or an answer, each as it is or as a rule for it. */
export type Headers = Record<string, string | ReturnType<typeof like<string>>>;

/** A request that somebody relies on being answered. */
export interface Asked {
  /** Sentences that the provider's states make true, each with what it needs to know. */
  given: [sentence: string, details?: Record<string, string>][];
  receiving: string;
  method: "GET" | "POST" | "PUT";
  /** Facts stand in it as `${alertId}`. */
  path: string;
  query?: Headers;
  /** Beside those of every request. */
  headers?: Headers;
  body?: unknown;
}

export const TIME = regex(
  String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`,
  "2026-11-22T08:00:00Z",
);
