/** Sends requests with a fresh proof each, and again when another proof is all that was amiss. */
import type { DeviceKey } from "./device-key.js";

/** A refresh is made without an access token, and its nonces are not those of other requests. */
const REFRESH = /\/auth\/refresh$/;
const REPLAYED = "MELMASTOON.AUTH.PROOF_REPLAYED";
/** Once as asked, once with the nonce, once because something on the way had sent one of them twice. */
const SENDINGS_MAX = 3;

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
    for (let sendings = 1; sendings < SENDINGS_MAX; sendings += 1) {
      const response = await this.#sendOnce(request.clone());
      if (!asksForNonce(response) && !(await wasSentTwice(response))) return response;
      await response.body?.cancel();
    }
    return this.#sendOnce(request);
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
  return isChallengedFor("use_dpop_nonce", response) && response.headers.has("DPoP-Nonce");
}

/**
 * Proxies send again what they find no answer to, and so do browsers when a connection that they kept
 * is gone: then the service knows the proof, and the first answer is lost.
 */
async function wasSentTwice(response: Response): Promise<boolean> {
  if (!isChallengedFor("invalid_dpop_proof", response)) return false;
  const problem: unknown = await response
    .clone()
    .json()
    .catch(() => undefined);
  return (problem as { code?: unknown } | undefined)?.code === REPLAYED;
}

function isChallengedFor(error: string, { status, headers }: Response): boolean {
  return status === 401 && (headers.get("WWW-Authenticate") ?? "").includes(`error="${error}"`);
}
