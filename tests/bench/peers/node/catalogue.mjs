// The dashboard: its widgets, the reads they are made of, and who may see them. The same as
// src/composition says; a test compares the answers.

import { document, list } from './upstream.mjs';

const DASHBOARD_MS = 30_000;
const BOARD_MS = 15_000;

const count = (items, is) => items.reduce((sum, item) => sum + Number(is(item)), 0);
const listed = (summary, { truncated }) => (truncated ? { ...summary, truncated } : summary);

const stays = (path, summary) => async (about) => {
  const stays = await list('reservation-service', `/api/v1/reservations/${path}`, about);
  return listed(summary(stays.items), stays);
};

function arrivals(items) {
  const arrived = count(items, ({ state }) => state === 'in_house');
  return { expected: items.length, arrived, toCome: items.length - arrived };
}

function departures(items) {
  const departed = count(items, ({ state }) => state === 'checked_out');
  return { due: items.length, departed, toGo: items.length - departed };
}

function inHouse(items) {
  return { stays: items.length, guests: items.reduce((sum, { adults }) => sum + (adults ?? 0), 0) };
}

async function tasks(about) {
  const tasks = await list('housekeeping-service', '/api/v1/housekeeping/tasks', about);
  const due = tasks.items.filter(({ state }) => state === 'created' || state === 'started');
  const urgent = count(due, ({ priority }) => priority === 'urgent');
  const started = count(due, ({ state }) => state === 'started');
  return listed({ due: due.length, urgent, started }, tasks);
}

async function workOrders(about) {
  const orders = await list('maintenance-service', '/api/v1/maintenance/work-orders', about);
  const open = orders.items.filter(({ state }) => state !== 'resolved' && state !== 'verified');
  const critical = count(open, ({ severity }) => severity === 'critical');
  const blocked = count(open, ({ state }) => state === 'blocked');
  return listed({ open: open.length, critical, blocked }, orders);
}

async function rates(about) {
  const { rates } = await document('pricing-service', '/api/v1/pricing/rates', about);
  return { rates: rates.map(({ roomTypeId, rate }) => ({ roomTypeId, rate })) };
}

async function folios(about) {
  const query = { state: 'balance_due' };
  const folios = await list('billing-service', '/api/v1/folios', { ...about, query });
  return listed({ toSettle: folios.items.length }, folios);
}

/** The members of a document that are shown. */
const members = (service, path, names) => async (about) => {
  const data = await document(service, path, about);
  const shown = names.filter((name) => data[name] != null);
  return Object.fromEntries(shown.map((name) => [name, data[name]]));
};

const PROPERTY = ['name', 'city', 'timezone', 'checkInTime', 'checkOutTime', 'photoUrl'];
const OCCUPANCY = ['rooms', 'occupied', 'outOfOrder', 'available'];

const part = (deadlineMs, freshMs, read) => ({ deadlineMs, freshMs, read });

export const PARTS = {
  kpis: part(600, DASHBOARD_MS,
    members('analytics-service', '/api/v1/analytics/kpis', ['occupancyPercent', 'adr', 'revpar'])),
  arrivals: part(800, BOARD_MS, stays('arrivals', arrivals)),
  departures: part(800, BOARD_MS, stays('departures', departures)),
  'in-house': part(800, BOARD_MS, stays('in-house', inHouse)),
  'room-status': part(700, DASHBOARD_MS,
    members('housekeeping-service', '/api/v1/housekeeping/room-status', ['byStatus'])),
  occupancy: part(600, BOARD_MS,
    members('inventory-service', '/api/v1/inventory/occupancy', OCCUPANCY)),
  tasks: part(700, BOARD_MS, tasks),
  'work-orders': part(700, BOARD_MS, workOrders),
  rates: part(600, DASHBOARD_MS, rates),
  folios: part(600, BOARD_MS, folios),
  'cash-drawer': part(600, DASHBOARD_MS,
    members('billing-service', '/api/v1/cash-drawer', ['expected'])),
  'lock-health': part(1200, BOARD_MS,
    members('lock-integration-service', '/api/v1/locks/health', ['locks', 'offline', 'batteryLow'])),
  property: part(800, DASHBOARD_MS,
    (about) => members('property-service', `/api/v1/properties/${about.propertyId}`, PROPERTY)(about)),
};

const OWN_MS = 1_200;

const widget = (id, title, kind, scope, parts, only) => ({
  id, title, kind, scope, parts, only,
  deadlineMs: Math.max(...parts.map((name) => PARTS[name].deadlineMs)),
});
const own = (id, title, kind, scope) => ({ id, title, kind, scope, parts: [], deadlineMs: OWN_MS });

export const WIDGETS = [
  widget('property', 'Property', 'card', 'dashboard.read', ['property']),
  widget('occupancy', 'Occupancy', 'figure', 'dashboard.read', ['kpis'], 'occupancyPercent'),
  widget('adr', 'Average daily rate', 'figure', 'dashboard.read', ['kpis'], 'adr'),
  widget('revpar', 'Revenue per room', 'figure', 'dashboard.read', ['kpis'], 'revpar'),
  widget('arrivals', 'Arrivals', 'counter', 'board.arrivals', ['arrivals']),
  widget('departures', 'Departures', 'counter', 'board.departures', ['departures']),
  widget('in-house', 'In house', 'counter', 'board.in-house', ['in-house']),
  widget('rooms', 'Rooms', 'breakdown', 'board.housekeeping', ['room-status', 'occupancy']),
  widget('tasks', 'Housekeeping tasks', 'counter', 'board.housekeeping', ['tasks']),
  widget('work-orders', 'Work orders', 'counter', 'dashboard.read', ['work-orders']),
  widget('rates', 'Rates today', 'breakdown', 'board.front-desk', ['rates']),
  widget('folios', 'Folios to settle', 'counter', 'folio.payment', ['folios']),
  widget('cash-drawer', 'Cash drawer', 'figure', 'folio.payment', ['cash-drawer']),
  widget('lock-health', 'Door locks', 'counter', 'dashboard.read', ['lock-health']),
  own('alerts', 'Alerts', 'breakdown', 'alerts.read'),
  own('suggestions', 'Suggestions', 'breakdown', 'ai.read'),
  own('sync-health', 'Devices', 'counter', 'dashboard.read'),
];

const DESK = [
  'dashboard.read', 'board.arrivals', 'board.departures', 'board.in-house', 'board.front-desk',
  'board.housekeeping', 'folio.payment', 'alerts.read', 'ai.read',
];

/** Of each role, the scopes that decide about widgets. */
const SCOPES = {
  front_desk: DESK,
  property_manager: DESK,
  owner: DESK,
  housekeeping_lead: DESK.filter((it) => it !== 'board.front-desk' && it !== 'folio.payment'),
  housekeeper: ['board.housekeeping'],
  maintenance_tech: ['alerts.read'],
  auditor: ['alerts.read', 'ai.read'],
};

export function scopesOf(roles) {
  return new Set(roles.flatMap((role) => SCOPES[role] ?? []));
}
