/** A signed-in desktop: every call of the service, typed by its contract and signed by its key. */
import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { DeviceKey } from "./device-key.js";
import type { components, paths } from "./generated/api.js";
import { linesOf } from "./lines.js";
import { refusalIn } from "./problem.js";
import { SignedFetch } from "./signed-fetch.js";
import { newWish, type Wish } from "./wish.js";

const BASE_PATH = "/bff/backoffice/v1";

/** The contract's paths below the base path. */
export type Api = {
  [
    Path in keyof paths as Path extends `${typeof BASE_PATH}${infer Rest}` ? Rest : never
  ]: paths[Path];
};

/** What one desk works on, one path each. */
export type BoardPath =
  | "/today"
  | "/arrivals"
  | "/departures"
  | "/in-house"
  | "/front-desk"
  | "/housekeeping"
  | "/maintenance";

/** As a sign-in and every refresh answer. */
export type Tokens = components["schemas"]["Tokens"];

/** What a dashboard comes in, piece by piece. */
export type DashboardFrame = components["schemas"]["DashboardFrame"];

export type NetworkMode = "good" | "flaky" | "offline-recently";

export interface App {
  /** Semantic version. */
  version: string;
  platform: "win32" | "darwin" | "linux";
}

export interface DesktopSettings {
  /** Where the service is: `https://host`, without a path. */
  origin: string;
  key: DeviceKey;
  tokens: Tokens;
  app: App;
  /** Asked before every request. */
  networkMode: () => NetworkMode;
  /** How a request leaves; the runtime's own by default. */
  fetch?: typeof fetch;
}

/** A success: its body, and the headers a desktop reads (`ETag`, `X-Cache`, …). */
export interface Answer<Body> {
  body: Body;
  headers: Headers;
}

export class Desktop {
  /** Every call rejects with `ProblemError` or `ForeignAnswerError` when it is no success. */
  readonly api: Client<Api, "application/json">;
  #tokens: Tokens;
  /** Where the ledger stood after this desktop's last write. */
  #position: string | undefined;

  constructor(private readonly settings: DesktopSettings) {
    this.#tokens = settings.tokens;
    const signed = new SignedFetch({
      key: settings.key,
      accessToken: () => this.#tokens.accessToken,
      fetch: settings.fetch ?? fetch,
    });
    this.api = createClient<Api, "application/json">({
      baseUrl: `${settings.origin}${BASE_PATH}`,
      headers: { Accept: "application/json" },
      fetch: (request) => signed.send(request),
    });
    this.api.use(this.#identification(), this.#reception());
  }

  get tokens(): Tokens {
    return this.#tokens;
  }

  /** Trades the refresh token, which is used up by it, for new tokens of the same key. */
  async refresh(wish: Wish = newWish()): Promise<Tokens> {
    const { refreshToken } = this.#tokens;
    const call = this.api.POST("/auth/refresh", {
      params: { header: wish },
      body: { refreshToken },
    });
    this.#tokens = (await answerOf(call)).body;
    return this.#tokens;
  }

  /** A property's dashboard, each frame as soon as it is there; rejects when it is cut off. */
  async *dashboard(propertyId: string): AsyncGenerator<DashboardFrame> {
    const call = this.api.GET("/dashboard", {
      params: { query: { propertyId } },
      headers: { Accept: "application/x-ndjson" },
      parseAs: "stream",
    });
    for await (const line of linesOf((await answerOf(call)).body)) {
      const frame = JSON.parse(line) as DashboardFrame;
      yield frame;
      if (frame.frame === "end") return;
    }
    throw new Error("the dashboard was cut off");
  }

  /** Says which device and app are asking, and from which write on a read has to know. */
  #identification(): Middleware {
    return {
      onRequest: ({ request }) => {
        const { app, networkMode } = this.settings;
        request.headers.set("X-Device-Id", this.#tokens.deviceId);
        request.headers.set("X-App-Version", app.version);
        request.headers.set("X-App-Platform", app.platform);
        request.headers.set("X-Network-Mode", networkMode());
        if (request.method === "GET" && this.#position !== undefined) {
          request.headers.set("X-Min-Position", this.#position);
        }
      },
    };
  }

  #reception(): Middleware {
    return {
      onResponse: async ({ response }) => {
        if (!response.ok) throw await refusalIn(response);
        this.#position = response.headers.get("X-Ledger-Position") ?? this.#position;
      },
    };
  }
}

/** What a call succeeded with; only for calls whose success has a body. */
export async function answerOf<Outcome extends { data?: unknown; response: Response }>(
  call: Promise<Outcome>,
): Promise<Answer<NonNullable<Outcome["data"]>>> {
  const { data, response } = await call;
  if (data === undefined || data === null) {
    throw new TypeError(`the success with status ${response.status} has no body`);
  }
  return { body: data, headers: response.headers };
}
