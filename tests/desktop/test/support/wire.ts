/** A way out for requests that remembers what was sent and answered. */

export interface Exchange {
  headers: Headers;
  status: number;
  code: string | undefined;
}

/** Hand `fetch` to a desktop and read `exchanges`. */
export class Wire {
  readonly exchanges: Exchange[] = [];

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    const headers = new Headers(request.headers);
    const response = await fetch(request);
    const isProblem = response.headers.get("Content-Type") === "application/problem+json";
    const problem = isProblem ? ((await response.clone().json()) as { code: string }) : undefined;
    this.exchanges.push({ headers, status: response.status, code: problem?.code });
    return response;
  };

  /** A header of every request so far. */
  sent(name: string): (string | null)[] {
    return this.exchanges.map(({ headers }) => headers.get(name));
  }
}
