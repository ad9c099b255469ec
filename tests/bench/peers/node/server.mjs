// The service's dashboard as a Node team would write it: Fastify, jose, ioredis, undici, pg; one
// process. It stands on the stores of a running service, whose nonces, views and marks of change it
// reads. A measure, not a product: it has no writes, no intake and no live streams.

import Fastify from 'fastify';

import { Refusal, admit } from './access.mjs';
import { scopesOf } from './catalogue.mjs';
import { Dashboard } from './dashboard.mjs';
import { settings } from './settings.mjs';
import { session } from './stores.mjs';

const BASE = '/bff/backoffice/v1';
const app = Fastify({ logger: false });

app.setErrorHandler((error, _request, reply) => {
  const { status = 500, code = 'GENERAL.INTERNAL' } = error instanceof Refusal ? error : {};
  if (status === 500) console.error(error);
  if (error.nonce) reply.header('dpop-nonce', error.nonce);
  if (status === 401) {
    const name = code.includes('TOKEN') ? 'invalid_token' : 'invalid_dpop_proof';
    reply.header('www-authenticate', `DPoP error="${error.nonce ? 'use_dpop_nonce' : name}", algs="ES256"`);
  }
  reply.code(status).type('application/problem+json');
  return reply.send(JSON.stringify({ status, code: `MELMASTOON.${code}` }));
});

app.get('/health/ready', async () => ({ status: 'ready' }));

app.get(`${BASE}/session`, async (request) => {
  const { claims, tenantId, roles, propertyIds } = await admit(request);
  const stored = await session.get(`{${tenantId}}:session:by-device:${claims.device_id}`);
  if (!stored) throw new Refusal(401, 'AUTH.SESSION_REVOKED');
  const { sessionId, locale, app, openedAt } = JSON.parse(stored);
  const tokenExpiresAt = new Date(claims.exp * 1000).toISOString();
  const who = { operatorId: claims.sub, deviceId: claims.device_id, roles, propertyIds };
  return { id: sessionId, tenantId, ...who, locale, app, openedAt, tokenExpiresAt };
});

app.get(`${BASE}/dashboard`, async (request, reply) => {
  const caller = await admit(request);
  if (!scopesOf(caller.roles).has('dashboard.read')) throw new Refusal(403, 'AUTH.SCOPE_DENIED');
  const propertyId = request.query.propertyId ?? request.headers['x-property-id'];
  if (!caller.propertyIds.includes(propertyId)) throw new Refusal(404, 'GENERAL.RESOURCE_NOT_FOUND');
  const language = request.headers['accept-language']?.split(/[,;]/, 1)[0] ?? 'en';
  const dashboard = await Dashboard.of(caller, propertyId, language);
  const headers = {
    'x-cache': dashboard.cacheWord,
    'x-accel-buffering': 'no',
    'cache-control': 'no-store',
    vary: 'Accept, Accept-Language',
  };
  if (request.headers.accept === 'application/json') {
    return reply.headers(headers).send(await dashboard.document());
  }
  reply.hijack();
  await frames(dashboard, reply.raw, headers);
});

/** A frame a line: the skeleton at once, each widget as soon as it is ready, then how it went. */
async function frames(dashboard, response, headers) {
  response.writeHead(200, { ...headers, 'content-type': 'application/x-ndjson' });
  const write = (frame, content) => response.write(`${JSON.stringify({ frame, ...content })}\n`);
  write('skeleton', dashboard.skeleton());
  const written = dashboard.widgets().map(async (composing) => {
    const widget = await composing;
    write('widget', widget);
    return widget;
  });
  write('end', dashboard.end(await Promise.all(written)));
  response.end();
}

await app.listen({ host: settings.host, port: settings.port });
