/**
 * Stands between the service and its upstreams, as a program of its own: passes every request on to
 * the simulated platform, but for the one that a test diverts. Arguments: port, platform's URL.
 */
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { isDeepStrictEqual } from "node:util";

import { CONTROL, type Diversion } from "./diversion.js";

const [port, platform] = process.argv.slice(2);
if (port === undefined || platform === undefined) throw new Error("needs a port and a URL");
let diversion: Diversion | undefined;

createServer((incoming, outgoing) => {
  if (incoming.url === CONTROL) {
    void text(incoming).then((said) => {
      diversion = said === "" ? undefined : (JSON.parse(said) as Diversion);
      outgoing.writeHead(204).end();
    });
  } else {
    pass(incoming, outgoing, target(incoming));
  }
}).listen(Number(port), "127.0.0.1");

function target({ url = "/", method }: IncomingMessage): string {
  const [, service, rest = ""] = /^\/([^/]+)(\/.*)$/.exec(url) ?? [];
  const [path = "", query] = rest.split("?");
  const parameters = [...new URLSearchParams(query).keys()].sort();
  const isDiverted =
    diversion?.service === service &&
    diversion?.method === method &&
    new RegExp(diversion?.path ?? "").test(path) &&
    isDeepStrictEqual(diversion?.parameters, parameters);
  return isDiverted && diversion !== undefined ? diversion.to + rest : platform + url;
}

function pass(incoming: IncomingMessage, outgoing: ServerResponse, url: string): void {
  const { method, headers } = incoming;
  const passed = request(url, { method, headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  // Whoever is cut off is to notice: the service then says what it makes of it.
  passed.on("error", () => outgoing.destroy());
  incoming.pipe(passed);
}
