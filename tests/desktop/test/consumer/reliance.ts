/** Writes down, as a pact, what the desktop relies on, by doing it with the typed client. */
import assert from "node:assert/strict";

import { MatchersV3, PactV4 } from "@pact-foundation/pact";

import { Desktop, type Answer, type App } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { type Problem, ProblemError } from "../../src/problem.js";
import { type Asked, type Headers, PACT_DIRECTORY } from "../support/pact.js";
import { until } from "../support/wait.js";
import { EXAMPLES, example, fact, path, told } from "./facts.js";

const { regex, like } = MatchersV3;

export const APP: App = { version: "1.4.2", platform: "linux" };

/** Members of `Body` the desktop reads, each as it is or as a rule for it. */
export type Expected<Body> = Body extends readonly (infer Item)[]
  ? Rule | Expected<Item>[]
  : Body extends object
    ? { [Member in keyof Body]?: Expected<Body[Member]> } | Rule
    : Body | Rule;
type Rule = { "pact:matcher:type": string };

/** Its path is below the base path. */
export interface Reliance extends Asked {
  /** Another app than the usual one. */
  app?: App;
  /** No access token arrives with it. */
  isAnonymous?: boolean;
}

export interface Success<Body> {
  status: 200 | 201;
  headers?: Headers;
  body: Expected<NoInfer<Body>>;
}

/** A body of which only the whole text can be looked at. */
export interface Lines {
  contentType: string;
  example: string[];
  /** Regular expression for all lines together. */
  pattern: string;
}

export interface Refusal {
  status: number;
  code: string;
  retriable: boolean;
  headers?: Headers;
  /** Members of the problem beside those of every problem. */
  body?: Expected<Problem>;
}

export const KEYED: Headers = { "X-Idempotency-Key": fact("idempotencyKey") };
/** For `params.header` of what is `KEYED`. */
export const WISH = { "X-Idempotency-Key": EXAMPLES.idempotencyKey };
/** After a write. */
export const POSITION: Headers = { "X-Ledger-Position": like("v1.position") };

const AUTHORIZED: Headers = { Authorization: told("DPoP ${accessToken}") };
const IDENTIFIED: Headers = {
  "X-Device-Id": fact("deviceId"),
  "X-Network-Mode": regex("^(good|flaky|offline-recently)$", "good"),
  DPoP: regex(String.raw`^[\w-]+\.[\w-]+\.[\w-]+$`, EXAMPLES.accessToken),
};

const pact = new PactV4({
  consumer: "backoffice-desktop",
  provider: "bff-backoffice-service",
  dir: PACT_DIRECTORY,
  logLevel: "warn",
});

/** The desktop does this and is answered so; answers what the client made of it. */
export async function relyOn<Body>(
  reliance: Reliance,
  success: Success<Body>,
  use: (desktop: Desktop) => Promise<Answer<Body>>,
): Promise<Answer<Body>> {
  return exchange(asked(reliance), reliance, success, use);
}

/** The desktop does this and is refused so; answers the client's error. */
export async function relyOnRefusal(
  reliance: Reliance,
  refusal: Refusal,
  use: (desktop: Desktop) => Promise<unknown>,
): Promise<ProblemError> {
  const { status, code, retriable, headers, body } = refusal;
  const answer = {
    status,
    headers: {
      "Content-Type": regex("^application/problem\\+json", "application/problem+json"),
      ...headers,
    },
    body: {
      status,
      code,
      retriable,
      userMessage: like("For the operator."),
      errors: like([]),
      ...body,
    },
  };
  return exchange(asked(reliance), reliance, answer, async (desktop) => {
    const error = await use(desktop).then(
      () => assert.fail("the client took a refusal for a success"),
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ProblemError, String(error));
    assert.deepEqual([error.status, error.code, error.retriable], [status, code, retriable]);
    return error;
  });
}

/** As `relyOn`, for a success that is written line by line. */
export async function relyOnLines<Made>(
  reliance: Reliance,
  lines: Lines,
  use: (desktop: Desktop) => Promise<Made>,
): Promise<Made> {
  return exchange(asked(reliance), reliance, { status: 200, lines }, use);
}

/** As `relyOn`, for a success without a body. */
export async function relyOnSilence(
  reliance: Reliance,
  use: (desktop: Desktop) => Promise<unknown>,
): Promise<void> {
  await exchange(asked(reliance), reliance, { status: 204 }, use);
}

function asked(reliance: Reliance) {
  const interaction = pact.addInteraction();
  for (const [sentence, details] of reliance.given) interaction.given(sentence, details);
  const credentials = reliance.isAnonymous ? {} : AUTHORIZED;
  const { version, platform } = reliance.app ?? APP;
  const app = { "X-App-Version": version, "X-App-Platform": platform };
  const headers = { ...IDENTIFIED, ...app, ...credentials, ...reliance.headers };
  return interaction
    .uponReceiving(reliance.receiving)
    .withRequest(reliance.method, path(reliance.path), (request) => {
      request.headers(headers);
      if (reliance.query !== undefined) request.query(reliance.query);
      if (reliance.body !== undefined) request.jsonBody(reliance.body);
    });
}

async function exchange<Made>(
  interaction: ReturnType<typeof asked>,
  reliance: Reliance,
  answer: { status: number; headers?: Headers; body?: unknown; lines?: Lines },
  use: (desktop: Desktop) => Promise<Made>,
): Promise<Made> {
  const key = await DeviceKey.generate();
  const paths = new Set<string>();
  const made = await interaction
    .willRespondWith(answer.status, (response) => {
      if (answer.headers !== undefined) response.headers(answer.headers);
      if (answer.body !== undefined) response.jsonBody(answer.body);
      if (answer.lines !== undefined) {
        const { contentType, example, pattern } = answer.lines;
        const text = example.map((line) => `${line}\n`).join("");
        textBody(response, contentType, text);
        response.matchingRules({ body: { path: "$", rules: [regex(pattern, text)] } });
      }
    })
    .executeTest(async (provider) => {
      const remembering: typeof fetch = (input, init) => {
        const request = new Request(input, init);
        paths.add(new URL(request.url).pathname);
        if (reliance.isAnonymous) request.headers.delete("Authorization");
        return fetch(request);
      };
      const made = await use(desktopAt(provider.url, key, reliance.app ?? APP, remembering));
      await bookkeeping(provider.port);
      return made;
    });
  // A path with facts matches any path, so it is looked at here.
  assert.deepEqual([...paths], [`/bff/backoffice/v1${example(reliance.path)}`]);
  return made as Made;
}

/**
 * The builder's own way for other bodies adds a rule that the bytes look like their type to who
 * guesses types, and lines of JSON look like JSON.
 */
function textBody(response: unknown, contentType: string, text: string): void {
  type Library = { withResponseBody(body: string, contentType: string): void };
  (response as { interaction: Library }).interaction.withResponseBody(text, contentType);
}

/**
 * The mock server answers before it has noted what it was asked (pact-core-mock-server, issue 13),
 * and is asked for its notes right after this.
 */
async function bookkeeping(port: number): Promise<void> {
  await until("the mock server has noted the request", async () => {
    return pact["pact"].mockServerMatchedSuccessfully(port) || undefined;
  });
}

function desktopAt(origin: string, key: DeviceKey, app: App, way: typeof fetch): Desktop {
  const { accessToken, refreshToken, operatorId, deviceId } = EXAMPLES;
  const tokens = {
    accessToken,
    refreshToken,
    tokenType: "DPoP",
    expiresIn: 900,
    tenantId: "tnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
    operatorId,
    deviceId,
    propertyIds: [],
  };
  return new Desktop({ origin, key, tokens, app, networkMode: () => "good", fetch: way });
}
