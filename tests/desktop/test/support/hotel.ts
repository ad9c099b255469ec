/**
 * What hotels work with, as upstreams list it, the service reads it and desktops show it: an example
 * of each, with a rule for every member.
 */
import { MatchersV3 } from "@pact-foundation/pact";

const { boolean, integer, like, regex } = MatchersV3;

const ROOM_ID = "rmu_01JD3Q5Z8W6M4K2T0V9X7R5B3C";
export const ROOM_TYPE_ID = "rmt_01JD3Q5Z8W6M4K2T0V9X7R5B3C";
const DATE = regex(String.raw`^\d{4}-\d\d-\d\d$`, "2026-11-24");
const TIME = regex(String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, "2026-11-22T08:00:00Z");

export const MONEY = {
  amountMicro: regex(String.raw`^-?\d+$`, "5200000000"),
  currency: regex("^[A-Z]{3}$", "AFN"),
};
export const STAY = {
  id: like("rsv_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  code: like("MEL-7Q2K4X"),
  state: regex("^(confirmed|in_house|checked_out)$", "in_house"),
  guestName: like("Zarmina H."),
  roomId: like(ROOM_ID),
  roomTypeId: like(ROOM_TYPE_ID),
  folioId: like("fol_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  arrivalDate: DATE,
  departureDate: DATE,
  adults: integer(2),
  nightlyRate: MONEY,
  version: integer(1),
};
export const ROOM = {
  id: like(ROOM_ID),
  number: like("204"),
  floor: integer(2),
  roomTypeId: like(ROOM_TYPE_ID),
  status: regex("^(clean|dirty|cleaning|inspected|ready|out_of_order|out_of_service)$", "dirty"),
  occupied: boolean(true),
};
export const TASK = {
  id: like("hkt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  roomId: like(ROOM_ID),
  kind: like("turnover"),
  priority: regex("^(low|normal|high|urgent)$", "urgent"),
  state: regex("^(created|started|completed|inspected)$", "created"),
  scheduledFor: TIME,
  version: integer(1),
};
/** Read where they are there, and null where they are not: its room and who is to mend it. */
export const WORK_ORDER = {
  id: like("mnt_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  title: like("The boiler is cold"),
  category: like("plumbing"),
  severity: regex("^(low|normal|high|critical)$", "high"),
  state: regex("^(open|assigned|blocked|resolved|verified)$", "open"),
  openedAt: TIME,
  version: integer(1),
};
export const FOLIO = {
  id: like("fol_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  reservationId: like("rsv_01JD3Q5Z8W6M4K2T0V9X7R5B3C"),
  state: "balance_due",
  balance: MONEY,
};
