/**
 * Shows the dashboard as an Electron app's main process does: asks the service with the desktop's
 * proofs and hands the browser what it answers, as it comes and with the service's own policy.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

import { answerOf, type Desktop } from "../../src/desktop.js";

export class Screen {
  /** From this text on, nothing is handed on until it is let go. */
  #heldFrom: string | undefined;
  #release: () => void = () => undefined;
  #released: Promise<void> = Promise.resolve();
  readonly #server: Server;

  private constructor(private readonly desktop: Desktop) {
    this.#server = createServer((request, response) => {
      this.#show(request, response).catch((error: unknown) => {
        response.destroy(error as Error);
      });
    });
  }

  static async open(desktop: Desktop): Promise<Screen> {
    const screen = new Screen(desktop);
    await new Promise<void>((listening) => screen.#server.listen(0, "127.0.0.1", listening));
    return screen;
  }

  /** Where the browser finds a property's dashboard in a language. */
  url(propertyId: string, language: string): string {
    const { port } = this.#server.address() as AddressInfo;
    const query = new URLSearchParams({ propertyId, language });
    return `http://127.0.0.1:${port}/?${query}`;
  }

  holdFrom(text: string): void {
    this.#heldFrom = text;
    this.#released = new Promise((released) => (this.#release = released));
  }

  letGo(): void {
    this.#heldFrom = undefined;
    this.#release();
  }

  close(): void {
    this.letGo();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #show(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { searchParams } = new URL(request.url ?? "/", "http://screen");
    const propertyId = searchParams.get("propertyId") ?? "";
    const call = this.desktop.api.GET("/dashboard", {
      params: { query: { propertyId } },
      headers: { Accept: "text/html", "Accept-Language": searchParams.get("language") ?? "" },
      parseAs: "stream",
    });
    const { body, headers } = await answerOf(call);
    for (const name of ["Content-Type", "Content-Security-Policy", "Content-Language"]) {
      const value = headers.get(name);
      if (value !== null) response.setHeader(name, value);
    }
    const decoder = new TextDecoder();
    let kept = "";
    for await (const piece of body as unknown as AsyncIterable<Uint8Array>) {
      kept += decoder.decode(piece, { stream: true });
      const held = this.#heldFrom === undefined ? -1 : kept.indexOf(this.#heldFrom);
      // What may be the beginning of the text that is waited for stays here.
      const length = held < 0 ? kept.length - (this.#heldFrom?.length ?? 0) : held;
      response.write(kept.slice(0, Math.max(length, 0)));
      kept = kept.slice(Math.max(length, 0));
      if (0 <= held) await this.#released;
    }
    response.end(kept);
  }
}
