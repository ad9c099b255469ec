// Calls of upstream services, over connections that are kept.

import { randomBytes, randomUUID } from 'node:crypto';

import { Pool } from 'undici';

import { settings } from './settings.mjs';

const CONNECTIONS_MAX = 64;
const PAGES_MAX = 10;
const PAGE_SIZE = 100;
const MEMBER_MS = 3_000;

const pool = new Pool(settings.upstream.origin, { connections: CONNECTIONS_MAX });

async function get(service, path, { tenantId, propertyId, query = {}, signal }) {
  const headers = {
    authorization: `Bearer ${settings.upstreamToken}`,
    'x-tenant-id': tenantId,
    'x-request-id': randomUUID(),
    traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01`,
  };
  if (propertyId) {
    headers['x-property-id'] = propertyId;
    query = { propertyId, ...query };
  }
  const options = { method: 'GET', path: `/${service}${path}`, query, headers, signal };
  const { statusCode, body } = await pool.request(options);
  if (statusCode !== 200) {
    await body.dump();
    throw new Error(`${service} answered ${statusCode}`);
  }
  return body.json();
}

/** The document `{data}` at a path. */
export async function document(service, path, about) {
  return (await get(service, path, about)).data;
}

/** The list at a path, page by page. */
export async function list(service, path, about) {
  const items = [];
  let cursor;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const query = { ...about.query, limit: PAGE_SIZE, ...(cursor && { cursor }) };
    const answer = await get(service, path, { ...about, query });
    items.push(...answer.items);
    cursor = answer.nextCursor;
    if (!cursor) break;
  }
  return { items, truncated: Boolean(cursor) };
}

/** What an operator is in a tenant; nothing where it is no member. */
export async function member(tenantId, operatorId) {
  const path = `/api/v1/tenants/${tenantId}/memberships/${operatorId}`;
  const signal = AbortSignal.timeout(MEMBER_MS);
  const data = await document('tenant-service', path, { tenantId, signal });
  if (data.status !== 'active') return { roles: [], propertyIds: [] };
  return { roles: data.roles, propertyIds: data.propertyIds };
}

/** Whether a tenant is known to have the standard profile of compliance. */
export async function isStandard(tenantId) {
  const signal = AbortSignal.timeout(MEMBER_MS);
  const tenant = await document('tenant-service', `/api/v1/tenants/${tenantId}`, { tenantId, signal });
  return tenant.complianceProfile === 'standard';
}
