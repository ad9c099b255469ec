/**
 * Writes down, as pacts, what the service relies on of its upstreams: the real service does it, and
 * a mock server answers it in the upstream's place with no more than the service reads.
 */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { MatchersV3, PactV4 } from "@pact-foundation/pact";

import type { Desktop } from "../../src/desktop.js";
import { stack } from "../support/stack.js";
import { CONTROL, type Diversion } from "../support/diversion.js";
import { type Asked, type Headers, PACT_DIRECTORY } from "../support/pact.js";
import { until } from "../support/wait.js";
import { fact, told } from "./facts.js";

const { regex } = MatchersV3;
const CONSUMER = "bff-backoffice-service";

/** Its path is from the service's base. */
export interface Reliance extends Asked {
  /** The upstream, as the topology names it. */
  service: string;
}

export interface Answered {
  status: number;
  headers?: Headers;
  /** The members that the service reads. */
  body?: unknown;
  /** What stands in the answer and in no pact → what stands in the pact instead. */
  secrets?: Record<string, string>;
}

/** Of whatever an upstream refuses with. */
export const PROBLEM: Headers = {
  "Content-Type": regex("^application/problem\\+json$", "application/problem+json"),
};
export const CODE = "^MELMASTOON\\.[A-Z]+\\.[A-Z_]+$";

/** On every call. */
const OF_THE_SERVICE: Headers = {
  Authorization: regex("^Bearer .+$", "Bearer id-token"),
  "X-Request-Id": regex("^[0-9A-Z]{26}$", "01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  traceparent: regex(
    "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  ),
};
/** Where the tenant is known, which is everywhere but at a refresh. */
export const OF_TENANT: Headers = { "X-Tenant-Id": fact("tenantId") };
/** On behalf of an operator. */
export const OF_OPERATOR: Headers = {
  ...OF_TENANT,
  "X-Operator-Id": fact("operatorId"),
  "X-Device-Id": fact("deviceId"),
};
/** On what changes something: some services read the one, some the other. */
export const KEYED: Headers = {
  "Idempotency-Key": fact("idempotencyKey"),
  "X-Idempotency-Key": fact("idempotencyKey"),
};

const pacts = new Map<string, PactV4>();

/** The service asks this and is answered so, because a desktop does something; answers what. */
export async function relyOn<Made>(
  reliance: Reliance,
  answered: Answered,
  use: () => Promise<Made>,
): Promise<Made> {
  const { service, method, path: asked } = reliance;
  const pact = pactWith(service);
  const interaction = pact.addInteraction();
  for (const [sentence, details] of reliance.given) interaction.given(sentence, details);
  const made = await interaction
    .uponReceiving(reliance.receiving)
    .withRequest(method, asked.includes("${") ? told(asked) : asked, (request) => {
      request.headers({ ...OF_THE_SERVICE, ...reliance.headers });
      if (reliance.query !== undefined) request.query(reliance.query);
      if (reliance.body !== undefined) request.jsonBody(reliance.body);
    })
    .willRespondWith(answered.status, (response) => {
      if (answered.headers !== undefined) response.headers(answered.headers);
      if (answered.body !== undefined) response.jsonBody(answered.body);
    })
    .executeTest(async ({ url, port }) => {
      const parameters = Object.keys(reliance.query ?? {}).sort();
      await divert({ service, method, path: pattern(asked), parameters, to: url });
      try {
        const made = await use();
        await until("the service has asked", async () => {
          return pact["pact"].mockServerMatchedSuccessfully(port) || undefined;
        });
        return made;
      } finally {
        await divert(undefined);
      }
    });
  await hide(service, answered.secrets ?? {});
  return made as Made;
}

async function hide(provider: string, secrets: Record<string, string>): Promise<void> {
  const file = path.join(PACT_DIRECTORY, `${CONSUMER}-${provider}.json`);
  const hidden = Object.entries(secrets).reduce(
    (pact, [secret, instead]) => pact.replaceAll(secret, instead),
    await readFile(file, "utf8"),
  );
  await writeFile(file, hidden);
}

function pactWith(provider: string): PactV4 {
  const settings = { consumer: CONSUMER, provider, dir: PACT_DIRECTORY, logLevel: "warn" } as const;
  const pact = pacts.get(provider) ?? new PactV4(settings);
  pacts.set(provider, pact);
  return pact;
}

/** Facts may be any text here: what the service was driven with is not the pact's example. */
function pattern(path: string): string {
  return `^${path.replaceAll(".", String.raw`\.`).replace(/\$\{\w+\}/g, "[^/]+")}$`;
}

async function divert(diversion: Diversion | undefined): Promise<void> {
  const body = diversion === undefined ? "" : JSON.stringify(diversion);
  const answer = await fetch(new URL(CONTROL, stack.switchboardUrl), { method: "PUT", body });
  if (!answer.ok) throw new Error(`the switchboard answers ${answer.status}`);
}

/** A POST of any row of the mutation table, whose paths are no single type. */
export async function post(
  desktop: Desktop,
  path: string,
  init: { headers?: Record<string, string>; body: unknown },
): Promise<{ data: unknown; response: Response }> {
  const call = desktop.api.POST as unknown as (
    path: string,
    init: unknown,
  ) => Promise<{ data: unknown; response: Response }>;
  return call(path, init);
}
