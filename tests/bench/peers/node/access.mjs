// Who may enter: access token, proof, nonce and the proof's one use, as the service judges them. What
// the service does besides (fences, rates, version floor, session) is left out.

import { createHash, createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

import { calculateJwkThumbprint, createRemoteJWKSet, importJWK, jwtVerify } from 'jose';

import { settings } from './settings.mjs';
import { session } from './stores.mjs';
import { Remembering } from './remembering.mjs';
import { member } from './upstream.mjs';

const TOKEN_KNOWN_MS = 60_000;
const MEMBER_KNOWN_MS = 300_000;
const KNOWN_MAX = 10_000;
const LEEWAY_SECONDS = 10;
const PROOF_AGE_SECONDS = 60;
const PROOF_FUTURE_SECONDS = 15;
const REPLAY_MS = 300_000;
const NONCE_STEP_SECONDS = 60;
const NONCE_STEPS_BACK = 2;
const NONCE_STEPS_AHEAD = 1;
const NONCE_MAC_BYTES = 16;

export class Refusal extends Error {
  constructor(status, code, nonce) {
    super(code);
    Object.assign(this, { status, code, nonce });
  }
}

const issuerKeys = createRemoteJWKSet(settings.jwksUrl);
const tokens = new Remembering(TOKEN_KNOWN_MS, KNOWN_MAX);
const members = new Remembering(MEMBER_KNOWN_MS, KNOWN_MAX);
const proofKeys = new Remembering(Infinity, KNOWN_MAX);
const epochs = new Remembering(Infinity, KNOWN_MAX);

/** Lets a request in, once a proof; answers who it is. */
export async function admit(request) {
  const { authorization = '', dpop, 'x-device-id': deviceId } = request.headers;
  if (!authorization.startsWith('DPoP ')) throw new Refusal(401, 'AUTH.TOKEN_MISSING');
  if (!dpop || dpop.includes(',')) throw new Refusal(401, 'AUTH.PROOF_INVALID');
  const { claims, ath } = await verifiedToken(authorization.slice(5));
  const { jti } = await verifiedProof(request, dpop, claims, ath);
  if (deviceId !== claims.device_id) throw new Refusal(401, 'AUTH.KEY_MISMATCH');
  const membership = await membershipOf(claims);
  await useUp(claims, jti);
  const held = claims.roles.filter((role) => membership.roles.includes(role));
  const own = claims.property_ids ?? membership.propertyIds;
  const propertyIds = own.filter((id) => membership.propertyIds.includes(id));
  return { claims, tenantId: claims.tenant_id, roles: held, propertyIds };
}

async function verifiedToken(token) {
  const ath = createHash('sha256').update(token).digest('base64url');
  let claims = tokens.get(ath);
  if (!claims) {
    claims = await verifyToken(token);
    tokens.set(ath, claims);
  } else if (claims.exp + LEEWAY_SECONDS < Date.now() / 1000) {
    throw new Refusal(401, 'AUTH.TOKEN_EXPIRED');
  }
  return { claims, ath };
}

async function verifyToken(token) {
  try {
    const { payload } = await jwtVerify(token, issuerKeys, {
      algorithms: ['ES256'],
      typ: 'at+jwt',
      issuer: settings.issuer,
      audience: settings.audience,
      clockTolerance: LEEWAY_SECONDS,
      requiredClaims: ['exp', 'iat', 'sub', 'tenant_id', 'device_id', 'sid', 'cnf'],
    });
    return payload;
  } catch (error) {
    const code = error.code === 'ERR_JWT_EXPIRED' ? 'AUTH.TOKEN_EXPIRED' : 'AUTH.TOKEN_INVALID';
    throw new Refusal(401, code);
  }
}

async function verifiedProof(request, proof, claims, ath) {
  let signer;
  const keyOf = async ({ jwk }) => {
    signer = await proofKey(jwk);
    return signer.key;
  };
  const verified = await jwtVerify(proof, keyOf, {
    algorithms: ['ES256'],
    typ: 'dpop+jwt',
    clockTolerance: LEEWAY_SECONDS,
    requiredClaims: ['jti', 'htm', 'htu', 'iat'],
  }).catch(() => {
    throw new Refusal(401, 'AUTH.PROOF_INVALID');
  });
  const said = verified.payload;
  proofKeys.set(signer.name, signer);
  if (signer.jkt !== claims.cnf.jkt) throw new Refusal(401, 'AUTH.KEY_MISMATCH');
  const seconds = Math.floor(Date.now() / 1000);
  const isGood =
    said.ath === ath &&
    said.htm === request.method &&
    said.htu === settings.publicBase + request.url.split('?', 1)[0] &&
    seconds - PROOF_AGE_SECONDS <= said.iat &&
    said.iat <= seconds + PROOF_FUTURE_SECONDS;
  if (!isGood) throw new Refusal(401, 'AUTH.PROOF_INVALID');
  const scope = `${claims.tenant_id}.${await epochOf(claims.tenant_id)}`;
  if (!isNonce(said.nonce, scope, signer.jkt, seconds)) {
    throw new Refusal(401, 'AUTH.NONCE_REQUIRED', nonceOf(step(seconds), scope, signer.jkt));
  }
  return said;
}

/** The key of a JWK, ready to verify. Only one whose signature was good is remembered. */
async function proofKey(jwk) {
  const { kty, crv, x, y } = jwk ?? {};
  const name = `${x}.${y}`;
  const known = proofKeys.get(name);
  if (known) return known;
  if (kty !== 'EC' || crv !== 'P-256' || 'd' in jwk) throw new Error('no public key of P-256');
  const publicJwk = { kty, crv, x, y };
  const key = await importJWK(publicJwk, 'ES256');
  return { name, key, jkt: await calculateJwkThumbprint(publicJwk) };
}

/** The word that is lost with the memory of the replay store. */
async function epochOf(tenantId) {
  const known = epochs.get(tenantId);
  if (known) return known;
  const key = `{${tenantId}}:dpop:epoch`;
  await session.set(key, randomUUID(), 'NX');
  const epoch = await session.get(key);
  epochs.set(tenantId, epoch);
  return epoch;
}

function step(seconds) {
  return Math.floor(seconds / NONCE_STEP_SECONDS);
}

function nonceOf(number, scope, jkt) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(number);
  const mac = createHmac('sha256', settings.nonceSecret);
  mac.update('dpop-nonce-v1').update(bytes).update(scope).update('\0').update(jkt);
  return Buffer.concat([bytes, mac.digest().subarray(0, NONCE_MAC_BYTES)]).toString('base64url');
}

function isNonce(nonce, scope, jkt, seconds) {
  if (typeof nonce !== 'string') return false;
  const given = Buffer.from(nonce, 'base64url');
  if (given.length !== 4 + NONCE_MAC_BYTES) return false;
  const number = given.readUInt32BE(0);
  const age = step(seconds) - number;
  if (age < -NONCE_STEPS_AHEAD || NONCE_STEPS_BACK < age) return false;
  return timingSafeEqual(given, Buffer.from(nonceOf(number, scope, jkt), 'base64url'));
}

async function membershipOf(claims) {
  const key = `${claims.tenant_id} ${claims.sub}`;
  let membership = members.get(key);
  if (!membership) {
    membership = await member(claims.tenant_id, claims.sub);
    members.set(key, membership);
  }
  return membership;
}

async function useUp(claims, jti) {
  const { tenant_id: tenantId, cnf } = claims;
  const used = createHash('sha256').update(cnf.jkt).update('\0').update(jti).digest('base64url');
  const first = await session.set(`{${tenantId}}:dpop:jti:${used}`, '1', 'PX', REPLAY_MS, 'NX');
  if (first === null) throw new Refusal(401, 'AUTH.PROOF_REPLAYED');
}
