/** The key a device is known by: it proves every single request and never leaves the device. */
import { calculateThumbprint, generateKeyPair, generateProof } from "dpop";

/** What a proof is made for. */
export interface ProofTarget {
  method: string;
  url: string;
  /** The service's newest; without one the service asks for it. */
  nonce: string | undefined;
  /** Absent for a refresh, whose proof is bound to no token. */
  accessToken: string | undefined;
}

export class DeviceKey {
  private constructor(readonly pair: CryptoKeyPair) {}

  /** A new P-256 key. WebCrypto signs with it and hands its private part to nobody. */
  static async generate(): Promise<DeviceKey> {
    return new DeviceKey(await generateKeyPair("ES256", { extractable: false }));
  }

  /** One that was made before. */
  static of(pair: CryptoKeyPair): DeviceKey {
    return new DeviceKey(pair);
  }

  /** What a sign-in registers for the device. */
  async publicJwk(): Promise<JsonWebKey> {
    const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", this.pair.publicKey);
    return { kty, crv, x, y } as JsonWebKey;
  }

  /** The name by which tokens are bound to it (RFC 7638). */
  async thumbprint(): Promise<string> {
    return calculateThumbprint(this.pair.publicKey);
  }

  /** A proof (RFC 9449) for one request, good for about a minute and only once. */
  async proof({ method, url, nonce, accessToken }: ProofTarget): Promise<string> {
    const target = new URL(url);
    target.search = "";
    target.hash = "";
    return generateProof(this.pair, target.href, method, nonce, accessToken);
  }
}
