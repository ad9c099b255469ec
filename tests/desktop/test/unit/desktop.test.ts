/** How a desktop keeps its operator signed in. */
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { answerOf, Desktop, type Tokens } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { ProblemError, UnreachableError } from "../../src/problem.js";
import { newWish } from "../../src/wish.js";

const EXPIRED = { status: 401, code: "MELMASTOON.AUTH.TOKEN_EXPIRED", retriable: false };

let desktop: Desktop;
let requests: { path: string; key: string | null; token: string | null }[];
/** What comes of the next refreshes, in order; new tokens when there is nothing. */
let refreshes: (Response | Error)[];
let kept: Tokens[];

beforeEach(async () => {
  [requests, refreshes, kept] = [[], [], []];
  desktop = await desktopAnsweredBy(answer);
});

async function desktopAnsweredBy(service: (request: Request) => Promise<Response>) {
  return new Desktop({
    origin: "https://service.example",
    key: await DeviceKey.generate(),
    tokens: tokens(0),
    app: { version: "1.4.2", platform: "linux" },
    networkMode: () => "good",
    fetch: async (input) => service(input as Request),
    keepTokens: async (tokens) => void kept.push(tokens),
  });
}

/** A service to which the first token has expired. */
async function answer(request: Request): Promise<Response> {
  const path = new URL(request.url).pathname.split("/v1")[1] ?? "";
  const token = request.headers.get("Authorization");
  requests.push({ path, key: request.headers.get("X-Idempotency-Key"), token });
  if (path === "/auth/refresh") {
    const failure = refreshes.shift();
    if (failure instanceof Error) throw failure;
    return failure ?? Response.json(tokens(1));
  }
  return token === "DPoP token-0" ? problem(EXPIRED) : Response.json({ id: "bos_1" });
}

function tokens(number: number): Tokens {
  return {
    accessToken: `token-${number}`,
    refreshToken: `refresh-${number}`,
    deviceId: "dev_1",
  } as Tokens;
}

function problem(members: Record<string, unknown>, more: Record<string, string> = {}): Response {
  const document = { title: "no", userMessage: "no", ...members };
  const headers = { "Content-Type": "application/problem+json", ...more };
  return new Response(JSON.stringify(document), { status: members["status"] as number, headers });
}

const session = () => desktop.signedIn(() => answerOf(desktop.api.GET("/session")));
const refreshed = () => requests.filter(({ path }) => path === "/auth/refresh");

test("calls that find their token expired share one refresh and are made again", async () => {
  const [one, other] = await Promise.all([session(), session()]);

  assert.deepEqual([one.body.id, other.body.id], ["bos_1", "bos_1"]);
  assert.equal(refreshed().length, 1);
  assert.deepEqual(kept, [tokens(1)]);
});

test("a refresh whose answer was lost is asked for again under its key", async () => {
  refreshes.push(new TypeError("cut off"));
  await assert.rejects(session(), UnreachableError);
  await session();

  const [first, again] = refreshed();
  assert.equal(again?.key, first?.key);
});

test("a refresh that is refused is the end of the session, and no refusal of what was asked", async () => {
  refreshes.push(problem({ status: 400, code: "MELMASTOON.IAM.INVALID_GRANT", retriable: false }));

  await assert.rejects(session(), (error) => {
    return error instanceof ProblemError && error.code === EXPIRED.code;
  });
  assert.equal(requests.length, 2);
});

test("what something on the way has sent twice is asked for again, under its key and a new proof", async () => {
  const code = "MELMASTOON.AUTH.PROOF_REPLAYED";
  const proofs: (string | null)[] = [];
  const keys: (string | null)[] = [];
  desktop = await desktopAnsweredBy(async ({ headers }) => {
    proofs.push(headers.get("DPoP"));
    keys.push(headers.get("X-Idempotency-Key"));
    const challenge = 'DPoP error="invalid_dpop_proof", error_description="used before"';
    return proofs.length < 2
      ? problem({ status: 401, code, retriable: false }, { "WWW-Authenticate": challenge })
      : Response.json({ state: "in_house" });
  });

  const params = { path: { id: "rsv_1" }, header: newWish() };
  await desktop.api.POST("/reservations/{id}/check-in", { params, body: {} });

  assert.equal(proofs.length, 2);
  assert.notEqual(proofs[0], proofs[1]);
  assert.equal(keys[0], keys[1]);
});

test("a service that takes none of its proofs is not asked without end", async () => {
  const code = "MELMASTOON.AUTH.PROOF_REPLAYED";
  let asked = 0;
  desktop = await desktopAnsweredBy(async () => {
    asked += 1;
    const challenge = { "WWW-Authenticate": 'DPoP error="invalid_dpop_proof"' };
    return problem({ status: 401, code, retriable: false }, challenge);
  });

  await assert.rejects(session(), (error) => error instanceof ProblemError && error.code === code);
  assert.equal(asked, 3);
});
