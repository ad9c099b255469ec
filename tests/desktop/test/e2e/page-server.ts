/** Serves the page of the desktop, and stands in for iam-service's pages where operators sign in. */
import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { json } from "node:stream/consumers";

import { APP } from "../support/operator.js";
import { signInAt, type SignInWish } from "../support/simulator.js";
import { stack } from "../support/stack.js";

const FILES: Record<string, { path: string; type: string }> = {
  "/": { path: "page/index.html", type: "text/html; charset=utf-8" },
  "/main.js": { path: "build/page/main.js", type: "text/javascript; charset=utf-8" },
};

export class PageServer {
  /** Who signs in next. */
  wish: SignInWish | undefined;
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        response.writeHead(500).end(String(error));
      });
    });
  }

  async open(): Promise<void> {
    const port = Number(new URL(stack.deskOrigin).port);
    await new Promise<void>((listening) => this.#server.listen(port, "127.0.0.1", listening));
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", stack.deskOrigin);
    const file = FILES[pathname];
    if (file !== undefined) {
      const content = await readFile(file.path);
      response.writeHead(200, { "Content-Type": file.type, "Cache-Control": "no-store" });
      response.end(content);
    } else if (pathname === "/settings") {
      response.end(JSON.stringify({ origin: stack.origin, app: APP }));
    } else if (pathname === "/sign-in" && this.wish !== undefined) {
      const jwk = (await json(request)) as JsonWebKey;
      const tokens = await signInAt(this.wish, { publicJwk: async () => jwk });
      response.end(JSON.stringify(tokens));
    } else {
      response.writeHead(404).end();
    }
  }
}
