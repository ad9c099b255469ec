/** Sets the oldest version of the desktop that the service lets in, as operations do. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";

import { ProblemError } from "../../src/problem.js";
import { signIn } from "../support/operator.js";
import { stack } from "../support/stack.js";
import { until } from "../support/wait.js";

/** Where the service reads it from, in the session tier. */
const FLAGS_KEY = "bff-backoffice-flags";

/** For apps on a Mac, and waits until the service enforces it. */
export async function raiseMacVersionFloor(versionFloor: string): Promise<void> {
  await store(FLAGS_KEY, JSON.stringify({ versionFloor: { darwin: versionFloor } }));
  const app = { version: "1.4.2", platform: "darwin" } as const;
  const { desktop } = await signIn({}, { app });
  await until("the floor is enforced", () =>
    desktop.api.GET("/session").then(
      () => undefined,
      (error: unknown) => (error instanceof ProblemError && error.status === 426) || undefined,
    ),
  );
}

/** One command of the Redis protocol, over a connection of its own. */
async function store(key: string, value: string): Promise<void> {
  const { hostname, port } = stack.sessionTier;
  const tier = connect(Number(port), hostname);
  const words = ["SET", key, value].map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  tier.write(`*${words.length}\r\n${words.join("")}`);
  const [answer] = (await once(tier, "data")) as [Buffer];
  tier.destroy();
  assert.equal(answer.toString(), "+OK\r\n");
}
