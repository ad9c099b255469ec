/**
 * What only the simulated world can tell: its ids. A pact names them; the service is driven with ids
 * of its own while a mock server answers for the upstream.
 */
import { factsOf } from "../support/facts.js";

/** By the name under which a state answers it. */
export const EXAMPLES = {
  tenantId: "tnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  operatorId: "usr_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  deviceId: "dev_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  sessionId: "ses_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  refreshToken: "rft_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  jkt: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
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
  taskId: "hkt_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  workOrderId: "mnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  currency: "AFN",
  day: "2026-11-24",
  cursor: "rmu_01JD3Q5Z8W6M4K2T0V9X7R5B3C",
  preferencesTag: '"v1"',
} as const;

export type FactName = keyof typeof EXAMPLES;
/** What a state answers. */
export type Facts = Partial<Record<FactName, string>>;

export const { example, told, fact } = factsOf(EXAMPLES);
