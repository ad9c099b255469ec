/**
 * What only the provider's states can tell: ids of its world, tokens, keys that are new. A pact
 * names them; a test of the consumer uses the example.
 */
import { factsOf } from "../support/facts.js";

const BASE_PATH = "/bff/backoffice/v1";

/** By the name under which a state answers it. */
export const EXAMPLES = {
  accessToken: "header.claims.signature",
  refreshToken: "rft_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  operatorId: "usr_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  deviceId: "dev_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  idempotencyKey: "01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  now: "2026-11-22T08:00:00Z",
  tomorrow: "2026-11-23T08:00:00Z",
  propertyId: "ppt_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  alertId: "alr_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  suggestionId: "sug_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  lockId: "lck_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  roomId: "rmu_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  keyCredentialId: "key_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  attestationId: "mfa_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  reservationId: "rsv_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  folioId: "fol_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  amountMicro: "1500000000",
  currency: "AFN",
  preferencesTag: '"7"',
  cursor: "v1.rooms",
} as const;

export type FactName = keyof typeof EXAMPLES;
/** What a state answers. */
export type Facts = Partial<Record<FactName, string>>;

export const { example, told, fact } = factsOf(EXAMPLES);

/** A path below the base path in which facts stand as `${alertId}`. */
export function path(template: string) {
  return template.includes("${") ? told(BASE_PATH + template) : BASE_PATH + template;
}
