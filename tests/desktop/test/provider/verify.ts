/** Holds the running service to the desktop's pact. */
import path from "node:path";

import { stack } from "../support/stack.js";
import { verify } from "../support/verification.js";
import { Stage } from "./stage.js";
import { statesOn } from "./states.js";

const stage = new Stage();
const isVerified = await verify({
  provider: "bff-backoffice-service",
  pact: path.resolve("pacts/backoffice-desktop-bff-backoffice-service.json"),
  origin: stack.origin,
  states: statesOn(stage),
  prepare: async (request) => {
    if (request.headers["dpop"] === undefined) return;
    if (request.method === undefined || request.url === undefined) return;
    request.headers["dpop"] = await stage.proof(request.method, request.url);
  },
});
process.exitCode = isVerified ? 0 : 1;
