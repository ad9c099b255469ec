// What the peer is told by its environment: the same variables as the service has.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

const [host, port] = required('BACKOFFICE_LISTEN').split(':');

export const settings = {
  host,
  port: Number(port),
  publicBase: required('BACKOFFICE_PUBLIC_BASES'),
  issuer: required('TOKEN_ISSUER'),
  audience: 'bff-backoffice',
  jwksUrl: new URL(required('TOKEN_JWKS_URL')),
  upstream: new URL(required('UPSTREAM_BASE_URL')),
  upstreamToken: required('UPSTREAM_ID_TOKEN'),
  sessionTier: required('REDIS_SESSION_URL'),
  cacheTier: required('REDIS_CACHE_URL'),
  database: required('DATABASE_URL'),
  nonceSecret: readFileSync(join(required('SECRETS_DIR'), 'dpop-nonce-key')),
};
