/**
 * The network between the desktop and the service: a proxy through which the browser has to go, with
 * the faults of a hotel's. What it does to one kind of request, a test decides.
 */
import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";

/**
 * `down`: nothing gets through. `loses-answers`: the service does what it is asked, and nobody hears of
 * it. `breaks-streams`: every event stream is cut off, all else gets through.
 */
export type Weather = "good" | "down" | "loses-answers" | "breaks-streams";

export class Network {
  weather: Weather = "good";
  /** Requests of which the answer was lost. */
  lost = 0;
  /** Event streams that were cut off. */
  broken = 0;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(private readonly origin: string) {
    this.#server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** In front of the service at `origin`; what else the browser asks for is passed on as it is. */
  static async open(origin: string): Promise<Network> {
    const network = new Network(origin);
    await new Promise<void>((listening) => network.#server.listen(0, "127.0.0.1", listening));
    return network;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Cuts every connection that stands, also those of streams. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const url = incoming.url ?? "";
    const isService = url.startsWith(this.origin);
    if (isService && this.weather === "down") return void incoming.socket.destroy();
    const { method, headers } = incoming;
    const passed = request(url, { method, headers }, (answer) => {
      if (isService && this.#isHeld(incoming, answer)) return;
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
      answer.on("error", () => outgoing.destroy());
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  }

  /** Whether the browser is kept from the answer. */
  #isHeld(incoming: IncomingMessage, answer: IncomingMessage): boolean {
    const isStream = answer.headers["content-type"] === "text/event-stream";
    if (this.weather === "breaks-streams" && isStream) {
      this.broken += 1;
      incoming.socket.destroy();
      return true;
    }
    const isDone = (answer.statusCode ?? 500) < 300 && incoming.method !== "OPTIONS";
    if (this.weather === "loses-answers" && isDone && incoming.method !== "GET") {
      this.lost += 1;
      answer.resume();
      answer.on("end", () => incoming.socket.destroy());
      return true;
    }
    return false;
  }
}
