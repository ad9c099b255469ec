/** Holds the simulated platform to every pact of the service with its upstreams. */
import { readdir } from "node:fs/promises";
import path from "node:path";

import { stack } from "../support/stack.js";
import { verify } from "../support/verification.js";
import { States } from "./states.js";

const NAME = /^bff-backoffice-service-(.+)\.json$/;
const folder = path.resolve("pacts");
const states = new States().all();
let areVerified = true;
for (const file of (await readdir(folder)).sort()) {
  const provider = NAME.exec(file)?.[1];
  if (provider === undefined) continue;
  const isVerified = await verify({
    provider,
    pact: path.join(folder, file),
    origin: `${stack.simulatorUrl.replace(/\/$/, "")}/${provider}`,
    states,
    // Identity, tenant and key stand in the pact; nothing has to be added.
    prepare: async () => {},
  });
  areVerified &&= isVerified;
}
process.exitCode = areVerified ? 0 : 1;
