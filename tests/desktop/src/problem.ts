/** The one error that an answer of the service becomes when it is no success. */
import type { components } from "./generated/api.js";

export type Problem = components["schemas"]["Problem"];

/** `code` is for programs and never changes its meaning; `userMessage` is for the operator. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";

  constructor(
    readonly problem: Problem,
    readonly headers: Headers,
  ) {
    super(`${problem.status} ${problem.code}: ${problem.detail ?? problem.title}`);
  }

  /** `MELMASTOON.<DOMAIN>.<CODE>` */
  get code(): string {
    return this.problem.code;
  }

  get status(): number {
    return this.problem.status;
  }

  /** In the operator's language, which `Content-Language` names. */
  get userMessage(): string {
    return this.problem.userMessage;
  }

  /** Whether the same request, under the same idempotency key, may succeed later. */
  get retriable(): boolean {
    return this.problem.retriable;
  }

  /** Seconds. */
  get retryAfter(): number | undefined {
    return this.problem.retryAfter ?? undefined;
  }
}

/** The answer is not one of the service: something between it and the desktop has spoken. */
export class ForeignAnswerError extends Error {
  override readonly name = "ForeignAnswerError";

  constructor(readonly status: number) {
    super(`an answer with status ${status} that is no problem document of the service`);
  }
}

/** No answer came back, or not all of it. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";

  constructor(cause: unknown) {
    super("no word of the service came back", { cause });
  }
}

/** What a call to the service failed with: its own refusal, or that there was no word of it. */
export function failureOf(error: unknown): ProblemError | UnreachableError {
  return error instanceof ProblemError ? error : new UnreachableError(error);
}

/** Reads an answer that is no success. */
export async function refusalIn(response: Response): Promise<ProblemError | ForeignAnswerError> {
  const contentType = response.headers.get("Content-Type") ?? "";
  if (!contentType.startsWith("application/problem+json")) {
    await response.body?.cancel();
    return new ForeignAnswerError(response.status);
  }
  const document: unknown = await response.json().catch(() => undefined);
  return isProblem(document)
    ? new ProblemError(document, response.headers)
    : new ForeignAnswerError(response.status);
}

function isProblem(document: unknown): document is Problem {
  const { code, status, userMessage, retriable } = (document ?? {}) as Partial<Problem>;
  return (
    typeof code === "string" &&
    typeof status === "number" &&
    typeof userMessage === "string" &&
    typeof retriable === "boolean"
  );
}
