/** What an operator wants done once, however often it has to be asked for. */
import { ulid } from "ulid";

/** Minted when the operator acts and kept with the action, so that every repetition carries it. */
export interface Wish {
  /** ULID. */
  "X-Idempotency-Key": string;
}

/** For `params.header` of a mutation; keep it for as long as the mutation may be repeated. */
export function newWish(): Wish {
  return { "X-Idempotency-Key": ulid() };
}
