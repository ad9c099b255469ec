/** A signed-in desktop: every call of the service, typed by its contract and signed by its key. */
import createClient, { type Client, type Middleware } from "openapi-fetch";

import type { DeviceKey } from "./device-key.js";
import type { components, paths } from "./generated/api.js";
import { linesOf } from "./lines.js";
import { failureOf, ProblemError, refusalIn, UnreachableError } from "./problem.js";
import { SignedFetch } from "./signed-fetch.js";
import { newWish, type Wish } from "./wish.js";

const BASE_PATH = "/bff/backoffice/v1";
const TOKEN_EXPIRED = "MELMASTOON.AUTH.TOKEN_EXPIRED";

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
  /** Keeps tokens for the next start; the old ones are good for nothing. */
  keepTokens?: (tokens: Tokens) => Promise<void>;
}

/** A success: its body, and the headers a desktop reads (`ETag`, `X-Cache`, …). */
export interface Answer<Body> {
  body: Body;
  headers: Headers;
}

export class Desktop {
  /** Every call rejects with `ProblemError` or `ForeignAnswerError` when it is no success. */
  readonly api: Client<Api, "application/json">;
  readonly #signed: SignedFetch;
  #tokens: Tokens;
  #refreshing: Promise<Tokens> | undefined;
  /** That of a refresh whose answer did not come. */
  #refreshWish: Wish | undefined;
  /** Where the ledger stood after this desktop's last write. */
  #position: string | undefined;

  constructor(private readonly settings: DesktopSettings) {
    this.#tokens = settings.tokens;
    this.#signed = new SignedFetch({
      key: settings.key,
      accessToken: () => this.#tokens.accessToken,
      // A browser's own refuses to be called as a method of anything but the window.
      fetch: settings.fetch ?? ((input, init) => fetch(input, init)),
    });
    this.api = createClient<Api, "application/json">({
      baseUrl: `${settings.origin}${BASE_PATH}`,
      headers: { Accept: "application/json" },
      fetch: (request) => this.#signed.send(request),
    });
    this.api.use(this.#identification(), this.#reception());
  }

  get tokens(): Tokens {
    return this.#tokens;
  }

  /** What its requests say of it. */
  get self(): { appVersion: string; networkMode: NetworkMode } {
    const { app, networkMode } = this.settings;
    return { appVersion: app.version, networkMode: networkMode() };
  }

  /**
   * Trades the refresh token, which is used up by it, for new tokens of the same key. Who asks while
   * it is being traded gets the same ones; when no answer came, the next one asks under the same wish.
   */
  refresh(wish?: Wish): Promise<Tokens> {
    this.#refreshing ??= this.#refresh(wish).finally(() => (this.#refreshing = undefined));
    return this.#refreshing;
  }

  /** Makes a call, and once more with new tokens when the service finds the old ones expired. */
  async signedIn<Result>(call: () => Promise<Result>): Promise<Result> {
    const { accessToken } = this.#tokens;
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof ProblemError) || error.code !== TOKEN_EXPIRED) throw error;
      if (this.#tokens.accessToken === accessToken) {
        await this.refresh().catch((refusal: unknown) => {
          // Without new tokens the session is over, whatever was wrong with the refresh.
          throw refusal instanceof ProblemError && !refusal.retriable ? error : refusal;
        });
      }
      return call();
    }
  }

  /** For the next proof, told elsewhere than in a header. */
  learnNonce(nonce: string): void {
    this.#signed.learnNonce(nonce);
  }

  /** A property's dashboard, each frame as soon as it is there; rejects when it is cut off. */
  async *dashboard(propertyId: string): AsyncGenerator<DashboardFrame> {
    const call = this.api.GET("/dashboard", {
      params: { query: { propertyId } },
      headers: { Accept: "application/x-ndjson" },
      parseAs: "stream",
    });
    try {
      const { body } = await answerOf(call);
      for await (const line of linesOf(body)) {
        const frame = JSON.parse(line) as DashboardFrame;
        yield frame;
        if (frame.frame === "end") return;
      }
    } catch (error) {
      throw failureOf(error);
    }
    throw new UnreachableError("the dashboard was cut off");
  }

  async #refresh(given: Wish | undefined): Promise<Tokens> {
    const wish = given ?? this.#refreshWish ?? newWish();
    this.#refreshWish = wish;
    const { refreshToken } = this.#tokens;
    const call = this.api.POST("/auth/refresh", {
      params: { header: wish },
      body: { refreshToken },
    });
    try {
      this.#tokens = (await answerOf(call)).body;
    } catch (error) {
      if (error instanceof ProblemError && !error.retriable) this.#refreshWish = undefined;
      throw failureOf(error);
    }
    this.#refreshWish = undefined;
    await this.settings.keepTokens?.(this.#tokens);
    return this.#tokens;
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
