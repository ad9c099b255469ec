/** Sends requests with a fresh proof each, and once more when the service asks for its nonce. */
import type { DeviceKey } from "./device-key.js";

/** A refresh is made without an access token, and its nonces are not those of other requests. */
const REFRESH = /\/auth\/refresh$/;

export interface SignedFetchSettings {
  key: DeviceKey;
  accessToken: () => string;
  fetch: typeof fetch;
}

export class SignedFetch {
  /** The newest of each kind. */
  readonly #nonces = new Map<"bound" | "refresh", string>();

  constructor(private readonly settings: SignedFetchSettings) {}

  /** A repetition is the same request under a new proof: its idempotency key goes with it. */
  async send(request: Request): Promise<Response> {
    const repetition = request.clone();
    const response = await this.#sendOnce(request);
    if (!asksForNonce(response)) return response;
    await response.body?.cancel();
    return this.#sendOnce(repetition);
  }

  /** Takes a nonce that the service has told elsewhere than in a header. */
  learnNonce(nonce: string): void {
    this.#nonces.set("bound", nonce);
  }

  async #sendOnce(request: Request): Promise<Response> {
    const isRefresh = REFRESH.test(new URL(request.url).pathname);
    const realm = isRefresh ? "refresh" : "bound";
    const accessToken = isRefresh ? undefined : this.settings.accessToken();
    const { method, url } = request;
    const nonce = this.#nonces.get(realm);
    request.headers.set("DPoP", await this.settings.key.proof({ method, url, nonce, accessToken }));
    if (accessToken !== undefined) request.headers.set("Authorization", `DPoP ${accessToken}`);
    const response = await this.settings.fetch(request);
    const newest = response.headers.get("DPoP-Nonce");
    if (newest !== null) this.#nonces.set(realm, newest);
    return response;
  }
}

/** RFC 9449, section 9: the challenge, together with a nonce to use. */
function asksForNonce(response: Response): boolean {
  const challenge = response.headers.get("WWW-Authenticate") ?? "";
  const isAsked = response.status === 401 && challenge.includes('error="use_dpop_nonce"');
  return isAsked && response.headers.has("DPoP-Nonce");
}
