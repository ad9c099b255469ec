// The dashboard: snapshots from Redis by one MGET, and what is missing asked of the upstreams, each
// once however many wait for it.

import { randomUUID } from 'node:crypto';

import { PARTS, WIDGETS, scopesOf } from './catalogue.mjs';
import { Remembering } from './remembering.mjs';
import { cache, deviceHealth } from './stores.mjs';
import { isStandard } from './upstream.mjs';

const KEPT_MS = 600_000;
/** How long after its time a snapshot is still shown, while it is renewed. */
const SHOWN_WHILE_RENEWED_MS = 60_000;
const HEARD_WITHIN_MS = 24 * 3_600_000;
const PROFILE_MS = 300_000;
const PROFILES_MAX = 10_000;
const MESSAGES = {
  timeout: 'A service did not answer in time. Please try again.',
  error: 'A service is currently unavailable. Please try again shortly.',
  forbidden: 'You are not allowed to do this.',
};

const underWay = new Map();
const profiles = new Remembering(PROFILE_MS, PROFILES_MAX);

export class Dashboard {
  #caller;
  #place;
  #languages;
  #scopes;
  #beganAt = performance.now();
  #standing = new Map();

  static async of(caller, propertyId, language) {
    const dashboard = new Dashboard(caller, propertyId, language);
    await dashboard.#look();
    return dashboard;
  }

  constructor(caller, propertyId, language) {
    this.#caller = caller;
    this.#place = { tenantId: caller.tenantId, propertyId };
    this.#languages = [language, caller.claims.locale].flatMap((tag) =>
      tag ? [tag, tag.split('-', 1)[0]] : [],
    );
    this.#scopes = scopesOf(caller.roles);
  }

  /** What is kept of each part the caller may see, and the word that changes with every change. */
  async #look() {
    const seen = WIDGETS.filter(({ scope }) => this.#scopes.has(scope));
    const names = [...new Set(seen.flatMap(({ parts }) => parts))];
    const keys = names.flatMap((name) => [this.#key('peer-snapshot', name), this.#key('changed', name)]);
    const found = await cache.mget(keys);
    names.forEach((name, index) => {
      const [kept, mark] = found.slice(2 * index, 2 * index + 2);
      this.#standing.set(name, { snapshot: kept && JSON.parse(kept), mark });
    });
  }

  #key(area, name) {
    return `{${this.#place.tenantId}}:${area}:${this.#place.propertyId}:${name}`;
  }

  get cacheWord() {
    const worths = [...this.#standing].map(([name, standing]) => worth(PARTS[name], standing));
    if (worths.includes('missing')) return 'miss';
    return worths.includes('old') ? 'stale' : 'hit';
  }

  skeleton() {
    const widgets = WIDGETS.map(({ id, title, kind, deadlineMs }) => ({ id, title, kind, deadlineMs }));
    return { dashboardId: `dsh_${randomUUID()}`, propertyId: this.#place.propertyId, widgets };
  }

  /** Every widget, as soon as it is ready. */
  widgets() {
    return WIDGETS.map((row) => this.#widget(row));
  }

  end(widgets) {
    const partial = widgets.filter(({ status }) => status !== 'ok' && status !== 'forbidden');
    const elapsedMs = Math.round(performance.now() - this.#beganAt);
    return { complete: partial.length === 0, partial: partial.map(({ id }) => id), elapsedMs };
  }

  async document() {
    const { dashboardId, propertyId } = this.skeleton();
    const widgets = await Promise.all(this.widgets());
    return { dashboardId, propertyId, widgets, ...this.end(widgets) };
  }

  async #widget(row) {
    const { id, scope, parts, only } = row;
    if (!this.#scopes.has(scope)) return absent(id, 'forbidden');
    if (parts.length === 0) return this.#own(row);
    const shown = await Promise.all(parts.map((name) => this.#show(name)));
    const status = ['error', 'timeout', 'stale', 'ok'].find((word) => shown.some((it) => it.status === word));
    const snapshots = shown.flatMap(({ snapshot }) => snapshot ?? []);
    if (snapshots.length === 0) return absent(id, status);
    let data = Object.assign({}, ...snapshots.map(({ summary }) => summary));
    if (only) data = { [only]: data[only] };
    if (data.name) data.name = this.#inLanguage(data.name);
    const asOf = new Date(Math.min(...snapshots.map(({ at }) => at))).toISOString();
    const source = shown.some(({ isLive }) => isLive) ? 'live' : 'snapshot';
    const userMessage = MESSAGES[status];
    return { id, status, asOf, source, ...(userMessage && { userMessage }), data };
  }

  #inLanguage({ default: otherwise, values = {} }) {
    const tag = this.#languages.find((tag) => tag in values);
    return tag ? values[tag] : otherwise;
  }

  /** A part as it is to be shown: what is kept where that will do, else what the upstream says. */
  async #show(name) {
    const part = PARTS[name];
    const standing = this.#standing.get(name);
    const { snapshot } = standing;
    switch (worth(part, standing)) {
      case 'fresh':
        return { snapshot, status: 'ok' };
      case 'old':
        this.#compose(name, standing.mark).catch(() => {});
        return { snapshot, status: 'stale' };
    }
    try {
      return { snapshot: await this.#compose(name, standing.mark), status: 'ok', isLive: true };
    } catch (error) {
      if (snapshot) return { snapshot, status: 'stale' };
      return { status: error.name === 'TimeoutError' ? 'timeout' : 'error' };
    }
  }

  #compose(name, mark) {
    const key = this.#key('peer-snapshot', name);
    let composing = underWay.get(key);
    if (!composing) {
      composing = compose(key, PARTS[name], mark, this.#place).finally(() => underWay.delete(key));
      underWay.set(key, composing);
    }
    return composing;
  }

  async #own({ id }) {
    const { tenantId, propertyId } = this.#place;
    const data = await OWN[id](tenantId, propertyId).catch(() => null);
    if (!data) return absent(id, 'error');
    return { id, status: 'ok', asOf: new Date().toISOString(), source: 'live', data };
  }
}

async function compose(key, { deadlineMs, read }, mark, place) {
  const summary = await read({ ...place, signal: AbortSignal.timeout(deadlineMs) });
  const snapshot = { summary, at: Date.now(), mark };
  await cache.set(key, JSON.stringify(snapshot), 'PX', KEPT_MS);
  return snapshot;
}

function worth({ freshMs }, { snapshot, mark }) {
  if (!snapshot) return 'missing';
  const age = Date.now() - snapshot.at;
  if (age < freshMs && snapshot.mark === mark) return 'fresh';
  return age < freshMs + SHOWN_WHILE_RENEWED_MS ? 'old' : 'missing';
}

function absent(id, status) {
  return { id, status, userMessage: MESSAGES[status], data: null };
}

/** The widgets that no upstream is asked for: counts over the service's own views, and the devices. */
const OWN = {
  async alerts(tenantId, propertyId) {
    const now = Date.now();
    const alerts = await items(`{${tenantId}}:view:alert-inbox:1:${propertyId}`);
    const open = alerts?.filter(({ raised, acknowledged, resolvedAt }) =>
      raised && !resolvedAt && !acknowledged && !isOver(raised, now));
    return open && { bySeverity: counted(open.map(({ raised }) => raised.severity)) };
  },

  async suggestions(tenantId, propertyId) {
    const now = Date.now();
    const key = `{${tenantId}}:view:suggestion-inbox:1:${propertyId}`;
    const [suggestions, isAllShown] = await Promise.all([items(key), showsAll(tenantId)]);
    const open = suggestions?.filter(({ proposed, decidedHere, decidedThere, withdrawnAt }) =>
      proposed && !decidedHere && !decidedThere && !withdrawnAt && !isOver(proposed, now) &&
      (isAllShown || proposed.complianceTags.includes('sharia_compliant')));
    return open && { byCategory: counted(open.map(({ proposed }) => proposed.category)) };
  },

  'sync-health': (tenantId, propertyId) =>
    deviceHealth(tenantId, propertyId, new Date(Date.now() - HEARD_WITHIN_MS)),
};

/** The items of a view that the service keeps; nothing where there is none. */
async function items(key) {
  const fields = await cache.hgetall(key);
  if (!('@stamp' in fields)) return null;
  const names = Object.keys(fields).filter((name) => !name.startsWith('@'));
  return names.map((name) => JSON.parse(fields[name]));
}

async function showsAll(tenantId) {
  let isAllShown = profiles.get(tenantId);
  if (isAllShown === undefined) {
    isAllShown = await isStandard(tenantId);
    profiles.set(tenantId, isAllShown);
  }
  return isAllShown;
}

function isOver({ expiresAt }, now) {
  return Boolean(expiresAt) && Date.parse(expiresAt) <= now;
}

function counted(names) {
  const counts = {};
  for (const name of names.sort()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
