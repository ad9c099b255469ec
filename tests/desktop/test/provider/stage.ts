/** Who asks the service during a verification: the desktop that a state has signed in. */
import { answerOf, type Desktop } from "../../src/desktop.js";
import { DeviceKey } from "../../src/device-key.js";
import { ProblemError } from "../../src/problem.js";
import { newWish, type Wish } from "../../src/wish.js";
import { desktopOf, standardTenant } from "../support/operator.js";
import { signInAt, type SignInWish, world } from "../support/simulator.js";
import { stack } from "../support/stack.js";

interface Standing {
  desktop: Desktop;
  key: DeviceKey;
  nonces: Map<Realm, string>;
  /** That of the request which is verified, for states that have it done before. */
  wish: Wish;
}
type Realm = "bound" | "refresh";

export class Stage {
  #standing: Standing | undefined;

  get desktop(): Desktop {
    return this.#there.desktop;
  }

  get wish(): Wish {
    return this.#there.wish;
  }

  /** Signs an operator in on a new device. */
  async signIn(wish: Partial<SignInWish> = {}): Promise<void> {
    const key = await DeviceKey.generate();
    const tokens = await signInAt({ tenantId: standardTenant(await world()).id, ...wish }, key);
    const nonces: Standing["nonces"] = new Map();
    const listening: typeof fetch = async (input, init) => {
      const request = new Request(input, init);
      const response = await fetch(request);
      const nonce = response.headers.get("DPoP-Nonce");
      if (nonce !== null) nonces.set(realmOf(request.url), nonce);
      return response;
    };
    const desktop = desktopOf({ key, tokens, fetch: listening });
    this.#standing = { desktop, key, nonces, wish: newWish() };
  }

  /** Has the desktop make a request of its own, so that it knows the service's nonce. */
  async openSession(): Promise<void> {
    await answerOf(this.desktop.api.GET("/session"));
  }

  forgetNonces(): void {
    this.#there.nonces.clear();
  }

  /** A fresh proof of the desktop's key for one request. */
  async proof(method: string, path: string): Promise<string> {
    const { key, nonces, desktop } = this.#there;
    const url = new URL(path, stack.origin).href;
    const isRefresh = realmOf(url) === "refresh";
    if (isRefresh) await this.#learnRefreshNonce();
    const accessToken = isRefresh ? undefined : desktop.tokens.accessToken;
    return key.proof({ method, url, nonce: nonces.get(realmOf(url)), accessToken });
  }

  /** Refreshes have nonces of their own; a refresh in vain shows one and uses nothing up. */
  async #learnRefreshNonce(): Promise<void> {
    const params = { header: newWish() };
    const body = { refreshToken: "unknown" };
    await this.desktop.api.POST("/auth/refresh", { params, body }).catch((error: unknown) => {
      if (!(error instanceof ProblemError)) throw error;
    });
  }

  get #there(): Standing {
    if (this.#standing === undefined) throw new Error("no state has signed anybody in");
    return this.#standing;
  }
}

function realmOf(url: string): Realm {
  return new URL(url).pathname.endsWith("/auth/refresh") ? "refresh" : "bound";
}
