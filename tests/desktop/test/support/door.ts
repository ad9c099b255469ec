/** Doors of the simulated hotels, and the keys that open them. */
import { answerOf, type Desktop } from "../../src/desktop.js";
import { newWish } from "../../src/wish.js";
import { found, propertyOf } from "./operator.js";
import { world } from "./simulator.js";

const DAY_MS = 86_400_000;

export interface Door {
  lockId: string;
  roomId: string;
  reservationId: string;
}

/** A door of the desktop's property, and a stay that a key could be for. */
export async function doorFor(desktop: Desktop): Promise<Door> {
  const propertyId = propertyOf(desktop);
  const { locks, reservations } = await world();
  const lock = found(locks.find((it) => it.propertyId === propertyId));
  const reservation = found(reservations.find((it) => it.propertyId === propertyId));
  return { lockId: lock.id, roomId: lock.roomId, reservationId: reservation.id };
}

/** A body that asks for a key from now until tomorrow. */
export function keyWish({ roomId, reservationId }: Door) {
  return {
    reservationId,
    rooms: [roomId],
    validFrom: new Date().toISOString(),
    validUntil: new Date(Date.now() + DAY_MS).toISOString(),
    preferredKinds: ["rfid_card"],
  };
}

/** Has a key issued; answers its id. */
export async function issuedKey(desktop: Desktop, door: Door): Promise<string> {
  const params = { path: { lockId: door.lockId }, header: newWish() };
  const call = desktop.api.POST("/locks/{lockId}/issue-key", { params, body: keyWish(door) });
  return (await answerOf(call)).body.keyCredentialId;
}

/** Steps up for one object; answers the attestation's id. */
export async function steppedUp(
  desktop: Desktop,
  scope: string,
  resource: string,
): Promise<string> {
  const body = { scope, factor: "totp", code: "000000", resource };
  const call = desktop.api.POST("/auth/mfa/step-up", { params: { header: newWish() }, body });
  return (await answerOf(call)).body.attestationId;
}
