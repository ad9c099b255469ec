/** Holds a running provider to a pact, and counts. */
import { appendFile, readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";

import { Verifier } from "@pact-foundation/pact";

/** How the library asks for a state, through the same door as for an interaction. */
const STATE_SETUP = "/_pactSetup";

/** Makes a sentence true and answers the facts the pact asks for; `details` are those it gives. */
export type State = (details: Record<string, string>) => Promise<Record<string, string>>;

export interface Verification {
  provider: string;
  /** Path of the file. */
  pact: string;
  origin: string;
  /** By their sentences. */
  states: Record<string, State>;
  /** Puts into a request what a pact cannot hold, such as a fresh proof. */
  prepare: (request: IncomingMessage) => Promise<void>;
}

interface Pact {
  interactions: { description: string; providerStates?: { name: string }[] }[];
}

/** What the library says of a failure, as far as it is read here. */
interface Report {
  errors: { interaction: string; mismatch: unknown }[];
}

/**
 * Answers whether everything was verified and says what was not. The counts, verified and failed,
 * are added as a line to the file that PACT_COUNTS names.
 */
export async function verify(verification: Verification): Promise<boolean> {
  const { provider, pact, origin, states, prepare } = verification;
  const { interactions } = JSON.parse(await readFile(pact, "utf8")) as Pact;
  const failures = interactions.flatMap(({ description, providerStates }) =>
    (providerStates ?? [])
      .filter(({ name }) => states[name] === undefined)
      .map(({ name }) => `${description}: nothing makes it true that ${name}`),
  );
  let requests = 0;
  const verifier = new Verifier({
    provider,
    providerBaseUrl: origin,
    pactUrls: [pact],
    logLevel: "error",
    stateHandlers: watched(states, failures),
    requestFilter: async (request: IncomingMessage, _response: unknown, next: () => void) => {
      if (!(request.url ?? "").startsWith(STATE_SETUP)) {
        requests += 1;
        await prepare(request);
      }
      next();
    },
  });
  failures.push(...(await mismatches(verifier)));
  if (requests !== interactions.length) {
    failures.push(`${interactions.length} interactions, but ${requests} requests were sent`);
  }
  for (const failure of failures) console.error(failure);
  const failed = Math.min(failures.length, interactions.length);
  const counts = process.env["PACT_COUNTS"];
  if (counts !== undefined) await appendFile(counts, `${interactions.length - failed} ${failed}\n`);
  return failures.length === 0;
}

/** The library goes on when a state fails, but what it verifies then proves nothing. */
function watched(states: Record<string, State>, failures: string[]) {
  const watch = (sentence: string, state: State) => async (details?: unknown) => {
    try {
      return await state((details ?? {}) as Record<string, string>);
    } catch (error) {
      failures.push(`${sentence}: ${String(error)}`);
      throw error;
    }
  };
  const named = Object.entries(states).map(([name, state]) => [name, watch(name, state)] as const);
  return Object.fromEntries(named);
}

async function mismatches(verifier: Verifier): Promise<string[]> {
  try {
    await verifier.verifyProvider();
    return [];
  } catch (error) {
    const { errors } = JSON.parse((error as Error).message) as Report;
    return errors.map(({ interaction, mismatch }) => `${interaction}: ${JSON.stringify(mismatch)}`);
  }
}
