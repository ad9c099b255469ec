// The stores of the service: both Redis tiers, and its database under the role of requests.

import { Redis } from 'ioredis';
import pg from 'pg';

import { settings } from './settings.mjs';

export const session = new Redis(settings.sessionTier, { enableAutoPipelining: true });
export const cache = new Redis(settings.cacheTier, { enableAutoPipelining: true });
const database = new pg.Pool({ connectionString: settings.database, max: 10 });

const HEALTH = `
  select count(*)::int as devices,
    count(*) filter (where network_mode <> 'good')::int as disturbed,
    coalesce(sum(pending_actions), 0)::int as "pendingActions",
    min(last_sync_at) as "oldestSyncAt"
  from device_sync_status
  where tenant_id = $1 and $2 = any (property_ids) and $3 <= heartbeat_at
    and (revoked_at is null or revoked_at < heartbeat_at)`;

/** How the devices of a property are that were heard of since then. */
export async function deviceHealth(tenantId, propertyId, since) {
  const client = await database.connect();
  try {
    await client.query('begin');
    await client.query({
      name: 'tenant',
      text: "select set_config('app.tenant_id', $1, true)",
      values: [tenantId],
    });
    const values = [tenantId, propertyId, since];
    const { rows } = await client.query({ name: 'health', text: HEALTH, values });
    await client.query('commit');
    client.release();
    return rows[0];
  } catch (error) {
    client.release(error);
    throw error;
  }
}
