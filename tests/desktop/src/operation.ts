/** Any operation of the contract by its name, asked with one flat request that can be stored. */
import type { Desktop } from "./desktop.js";
import { ROUTES } from "./generated/routes.js";
import { failureOf } from "./problem.js";
import type { Wish } from "./wish.js";

export type OperationId = keyof typeof ROUTES;

/** The parameters of path and query by their names; beside them the body and what stands for headers. */
export interface OperationRequest {
  body?: unknown;
  ifMatch?: string;
  attestationId?: string;
  propertyId?: string;
  [parameter: string]: unknown;
}

export interface Answered {
  /** Null where there is none. */
  body: unknown;
  etag?: string | undefined;
}

/** Rejects with `ProblemError` or `UnreachableError`. That requests fit, the types of the bridge say. */
export async function ask(
  desktop: Desktop,
  operation: OperationId,
  request: OperationRequest,
  wish: Wish,
  signal?: AbortSignal,
): Promise<Answered> {
  const { method, path } = ROUTES[operation];
  const { body, ifMatch, attestationId, ...parameters } = request;
  const isRead = method === "get";
  const named = Object.entries(parameters);
  const isInPath = ([name]: [string, unknown]): boolean => path.includes(`{${name}}`);
  const others = Object.fromEntries(named.filter((parameter) => !isInPath(parameter)));
  const header = {
    ...(!isRead && wish),
    ...(ifMatch !== undefined && { "If-Match": ifMatch }),
    ...(attestationId !== undefined && { "X-Mfa-Attestation": attestationId }),
    // A read names its property in the query, a change in a header.
    ...(!isRead && others["propertyId"] !== undefined && { "X-Property-Id": others["propertyId"] }),
  };
  const init = {
    params: {
      header,
      path: Object.fromEntries(named.filter(isInPath)),
      query: isRead ? others : {},
    },
    ...(body !== undefined && { body }),
    ...(signal !== undefined && { signal }),
  };
  try {
    const { data, response } = await desktop.api.request(method, path as never, init as never);
    return { body: data ?? null, etag: response.headers.get("ETag") ?? undefined };
  } catch (error) {
    throw failureOf(error);
  }
}
