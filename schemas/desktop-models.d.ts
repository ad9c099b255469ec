/**
 * What crosses the bridge of desktop.d.ts: bodies of requests and answers, as openapi.json has them. Times
 * are RFC 3339 in UTC, dates are days of the property.
 */

export interface AcknowledgeAlert {
  /** For the colleagues; kept encrypted, told to notification-service, never published. */
  comment?: string | null;
}

export interface Acknowledgment {
  acknowledgedAt: string;
  acknowledgedBy: string;
  /** notification-service has answered. */
  forwarded: boolean;
  id: string;
  /** `acknowledged`. */
  state: string;
}

export interface Activity {
  /** By the device's clock; at most 24 h ago. */
  at: string;
  /** Those of the verb: switches, integers, ids and names of the desktop's own; nothing personal. */
  properties?: Record<string, unknown>;
  target?: ActivityTarget | null;
  /** Of the closed catalogue, such as `board.opened`. */
  verb: string;
}

export interface ActivityRecorded {
  /** Events that were recorded. */
  recorded: number;
}

export interface ActivityTarget {
  /** Opaque, 1–64 characters. */
  id: string;
  /** `reservation`, `room` … */
  type: string;
}

export interface AdvanceSyncCursor {
  /** Opaque. */
  cursor: string;
  /** Where the device thinks it stands; null or absent: nowhere yet. */
  expectedCursor?: string | null;
  stream: string;
}

/** One alert, in the caller's language. */
export interface Alert {
  acknowledgedAt?: string | null;
  acknowledgedBy?: string | null;
  body?: string | null;
  category: string;
  expiresAt?: string | null;
  id: string;
  propertyId: string;
  raisedAt: string;
  resolvedAt?: string | null;
  /** `info`, `low`, `medium`, `high` or `critical`. */
  severity: string;
  /** Who raised it. */
  source: string;
  /** `raised`, `acknowledged`, `resolved` or `expired`. */
  state: string;
  title: string;
}

/** The guest will have this room */
export interface AssignRoom {
  /** For the colleagues */
  note?: string;
  /** A free room of the same property */
  roomId: string;
}

/** Somebody is to mend it */
export interface AssignWorkOrder {
  /** An operator of the tenant */
  assigneeId: string;
  /** For the colleagues */
  note?: string;
}

/** It cannot be mended for now */
export interface BlockWorkOrder {
  /** For the colleagues */
  note?: string;
  /** Why, in the platform's words */
  reasonCode: "parts" | "access" | "vendor" | "weather" | "other";
}

/** A board as it is answered. */
export interface Board {
  /** As its route names it. */
  board: string;
  /** The day that was asked for; absent for the upstreams' today. */
  date?: string | null;
  propertyId: string;
  sections: BoardSection[];
}

/** What a section lists; all of one section are of one kind. */
export type BoardItem = Stay | Room | Task | WorkOrder | Folio;

/** One section, in the order of its upstream. */
export interface BoardSection {
  /** When its upstream said so. */
  asOf?: string | null;
  id: string;
  items: BoardItem[];
  /** Ask with it for the section's next page; absent on the last one. */
  nextCursor?: string | null;
  /** Its upstream has said something newer, or may have. */
  stale: boolean;
  /** `ok`, `stale`, `timeout` or `error`. */
  status: string;
  /** Counts over the whole section, by the section; null when nothing is known. */
  summary?: Record<string, unknown> | null;
  /** In the caller's language. */
  title: string;
  /** Items that the filter leaves, on all pages. */
  total: number;
  /** For the operator, when it is not there. */
  userMessage?: string | null;
}

export interface Bootstrap {
  app: BootstrapAppVersions;
  /** Features by name; one that is not there is off. */
  flags: Record<string, boolean>;
  live: BootstrapLive;
  locale: BootstrapLocale;
  operator: BootstrapOperator;
  /** As `GET /preferences`; null while they cannot be read: the desktop keeps those it has. */
  preferences?: Record<string, unknown> | null;
  /** The properties the operator works for. */
  propertyIds: string[];
  /** What the operator's other devices have queued. */
  queueHints: OfflineQueueHint[];
  /** Shares of events that are recorded, by name, 0 to 1. */
  sampling: Record<string, number>;
  serverTime: string;
  session: BootstrapSession;
  /** As `GET /shortcuts`; null while they cannot be read. */
  shortcuts?: Record<string, string> | null;
  tenantId: string;
  theme: BootstrapTheme;
}

/** What is said of the desktop's own versions. */
export interface BootstrapAppVersions {
  /** Where newer versions are. */
  updateUrl?: string | null;
  /** The oldest version that is let in on this platform; null: any. */
  versionFloor?: string | null;
}

export interface BootstrapLive {
  /** What `GET /live?channels=` knows. */
  channels: string[];
  heartbeatSeconds: number;
}

export interface BootstrapLocale {
  /** `ltr` or `rtl`. */
  direction: string;
  /** BCP 47. */
  tag: string;
}

export interface BootstrapOperator {
  id: string;
  roles: string[];
}

export interface BootstrapSession {
  deviceId: string;
  /** `bos_` and a ULID. */
  id: string;
  /** When the access token must have been refreshed. */
  tokenExpiresAt: string;
}

/** Both null while tenant-service cannot be asked: the desktop keeps the theme it has. */
export interface BootstrapTheme {
  bundleUrl?: string | null;
  version?: string | null;
}

/** The reservation is cancelled before arrival */
export interface CancelReservation {
  /** For the colleagues */
  note?: string;
  /** Why, in the platform's words */
  reasonCode:
    "guest_request" | "no_payment" | "duplicate" | "overbooking" | "property_closed" | "other";
}

/** An object of an upstream service, as the service shows it */
export interface Changed {
  data: Record<string, unknown>;
}

/** Most changes need nothing but what they change. */
export interface Note {
  /** For the colleagues */
  note?: string;
}

/** Something is broken */
export interface CreateWorkOrder {
  /** Whose trade it is */
  category:
    | "plumbing"
    | "electrical"
    | "hvac"
    | "lock"
    | "generator"
    | "water"
    | "structural"
    | "it"
    | "other";
  /** More about it */
  description?: string;
  /** One of the caller's own */
  propertyId: string;
  /** The room it is in */
  roomId?: string;
  /** How bad it is */
  severity: "low" | "normal" | "high" | "critical";
  /** What is broken */
  title: string;
}

/** How it went. */
export interface DashboardEnd {
  /** Every widget that the caller may see is `ok`. */
  complete: boolean;
  /** Since the request came in. */
  elapsedMs: number;
  /** The widgets that are not. */
  partial: string[];
}

/** Which widgets there will be. */
export interface DashboardSkeleton {
  /** `dsh_<ULID>`, of this answer alone. */
  dashboardId: string;
  propertyId: string;
  widgets: DashboardWidgetAnnounced[];
}

/** One widget. */
export interface DashboardWidget {
  /** When its upstream said so; the oldest of its parts. */
  asOf?: string | null;
  /** By the widget; null when nothing is known. */
  data?: Record<string, unknown> | null;
  id: string;
  /** `snapshot` or `live`. */
  source?: string | null;
  /** `ok`, `stale`, `timeout`, `error` or `forbidden`. */
  status: string;
  /** For the operator, when it is not there. */
  userMessage?: string | null;
}

export interface DashboardWidgetAnnounced {
  /** How long it is waited for. */
  deadlineMs: number;
  id: string;
  /** `counter`, `figure`, `breakdown` or `card`. */
  kind: string;
  /** In the caller's language. */
  title: string;
}

export interface DecideSuggestion {
  /** For the colleagues; kept encrypted, told to the orchestrator, never published. */
  comment?: string | null;
  /** `accept`, `reject` or `modify`. */
  decision: string;
  /** With `modify` only: what shall be done instead; at most 8 KiB and 8 levels deep, with integers that JavaScript can hold. */
  modification?: Record<string, unknown> | null;
  /** A word of the desktop's list. */
  reasonCode?: string | null;
}

/** A device as it last reported itself. */
export interface DeviceSyncStatus {
  /** `win32`, `darwin` or `linux`. */
  appPlatform: string;
  appVersion: string;
  /** The device's clock minus ours, milliseconds; null while unknown. */
  clockSkewMs?: number | null;
  deviceId: string;
  /** Null before the first one. */
  heartbeatAt?: string | null;
  lastSyncAt?: string | null;
  /** `good`, `flaky` or `offline-recently`. */
  networkMode: string;
  /** Actions that wait on the device, by its own word. */
  pendingActions: number;
}

/** The guest stays longer */
export interface ExtendStay {
  /** Property-local, after the present one */
  departureDate: string;
  /** For the colleagues */
  note?: string;
}

/** What is wrong with one member of the request. */
export interface FieldError {
  /** `REQUIRED`, `TOO_SHORT`, `TOO_LONG`, `TOO_SMALL`, `TOO_LARGE`, `INVALID` or one of the route's own. */
  code: string;
  /** Path of the member, as in `items[3].amountMicro`; a header's or parameter's name. */
  field: string;
}

/** A bill as boards show it. */
export interface Folio {
  /** What is still to be paid; negative when overpaid. */
  balance: Money;
  id: string;
  reservationId?: string | null;
  /** `balance_due`, `settled` or `closed`. */
  state: string;
}

export interface Heartbeat {
  appVersion: string;
  /** What the device's clock says. */
  clock?: string | null;
  lastSyncAt?: string | null;
  /** `good`, `flaky` or `offline-recently`. */
  networkMode: string;
  /** Actions that wait on the device. */
  pendingActions: number;
}

export interface HeartbeatAnswer {
  /** What the operator's other devices have queued. */
  hints: OfflineQueueHint[];
  serverTime: string;
  /** The oldest version that is let in on this platform; null: any. */
  versionFloor?: string | null;
}

export interface IssueKey {
  /** `mobile_app`, `pin_code`, `rfid_card`, `qr_code` or `nfc_tag`, best first. */
  preferredKinds?: string[];
  reservationId: string;
  /** What the key opens; the lock's own room is among them. */
  rooms: string[];
  /** RFC 3339. */
  validFrom: string;
  /** RFC 3339, after `validFrom`. */
  validUntil: string;
}

export interface LockAction {
  /** `lap_` and a ULID; the stream in the ledger. */
  actionId: string;
  at: string;
  /** The key that was issued or revoked. */
  keyCredentialId: string;
  lockId: string;
  /** `issued` or `revoked`. */
  state: string;
}

export interface MfaAttestation {
  /** `mfa_` and a ULID; sent as `X-Mfa-Attestation` with the one action it is for. */
  attestationId: string;
  expiresAt: string;
  resource?: string | null;
  /** `lock.revoke`, `folio.refund` or `folio.large-charge`. */
  scope: string;
}

/** An amount of money. */
export interface Money {
  /** Millionths of the unit, an integer as text. */
  amountMicro: string;
  /** ISO 4217. */
  currency: string;
}

/** What one device has queued. */
export interface OfflineQueueHint {
  deviceId: string;
  expiresAt: string;
  hintedAt: string;
  /** What is queued → how many. */
  kinds: Record<string, number>;
  /** When the first of them was done. */
  oldestAt?: string | null;
  pendingActions: number;
}

/** Puts a charge on a folio; a large one needs X-Mfa-Attestation (folio.large-charge) */
export interface PostCharge {
  /** More than nothing, in the folio's currency */
  amount: Money;
  /** Stands on the folio */
  description?: string;
}

/** Records a payment on a folio */
export interface PostPayment {
  /** More than nothing, in the folio's currency */
  amount: Money;
  /** Stands on the folio */
  description?: string;
  /** How it was paid */
  method: "cash" | "card" | "bank_transfer" | "mobile_money";
}

/** Gives money back; needs X-Mfa-Attestation (folio.refund) */
export interface PostRefund {
  /** More than nothing, in the folio's currency */
  amount: Money;
  /** Stands on the folio */
  description?: string;
  /** Why, in the platform's words */
  reasonCode: "overcharge" | "service_failure" | "early_departure" | "duplicate_payment" | "other";
}

export interface Preferences {
  /** Names and values are the desktop's own. */
  preferences: Record<string, unknown>;
}

/** A refusal, as the service says it (RFC 9457). */
export interface Problem {
  /** `MELMASTOON.<DOMAIN>.<CODE>`. */
  code: string;
  detail?: string | null;
  errors: FieldError[];
  /** The path that was asked for. */
  instance: string;
  /** ULID. */
  requestId: string;
  /** Whether the same request may succeed later. */
  retriable: boolean;
  /** Seconds. */
  retryAfter?: number | null;
  runbook?: string | null;
  /** The upstream service whose refusal this is. */
  source?: string | null;
  status: number;
  title: string;
  /** W3C trace id, 32 hexadecimal digits. */
  traceId: string;
  /** `https://errors.melmastoon.ghasi.io/<domain>/<code>`. */
  type: string;
  /** With `SYNC.VERSION_BLOCKED`: where newer versions are. */
  updateUrl?: string | null;
  /** For the operator, in the language of `Content-Language`. */
  userMessage: string;
  /** `errors.<domain>.<code>`. */
  userMessageKey: string;
  /** With `SYNC.VERSION_BLOCKED`: the oldest version that is let in. */
  versionFloor?: string | null;
}

export interface PutPreferences {
  /** All of them: one that is left out is gone. At most 128 members and 32 KiB. */
  preferences: Record<string, unknown>;
}

export interface PutShortcuts {
  /** Action → keys such as `Ctrl+Shift+K` or `F5`, or null for none. All there shall be: an action that is left out has the keys it came with. */
  overrides: Record<string, string | null>;
}

export interface RecordActivity {
  /** In the order in which they were done. */
  items: Activity[];
}

export interface RevokeKey {
  keyCredentialId: string;
  /** `checkout`, `cancellation`, `security`, `lost` or `replaced`. */
  reason: string;
}

/** A room as boards show it. */
export interface Room {
  floor?: number | null;
  id: string;
  /** On the door. */
  number: string;
  occupied?: boolean | null;
  roomTypeId?: string | null;
  /** `clean`, `dirty`, `cleaning`, `inspected`, `ready`, `out_of_order` or `out_of_service`. */
  status: string;
}

export interface Session {
  app: SessionApp;
  deviceId: string;
  /** `bos_` and a ULID. */
  id: string;
  /** BCP 47; null when neither token nor session name one. */
  locale?: string | null;
  openedAt: string;
  operatorId: string;
  /** The properties the operator works for. */
  propertyIds: string[];
  /** Those of the token that the operator holds in the tenant. */
  roles: string[];
  tenantId: string;
  /** When the access token must have been refreshed. */
  tokenExpiresAt: string;
}

export interface SessionApp {
  /** `good`, `flaky` or `offline-recently`. */
  networkMode: string;
  /** `win32`, `darwin` or `linux`. */
  platform: string;
  version: string;
}

/** Says in which state a room is */
export interface SetRoomStatus {
  /** For the colleagues */
  note?: string;
  /** The state it is in from now on */
  status:
    "clean" | "dirty" | "cleaning" | "inspected" | "ready" | "out_of_order" | "out_of_service";
}

/** The map of one operator. */
export interface Shortcuts {
  /** What the operator has changed, or of the tenant's map the tenant: action → keys, or null for none. */
  overrides: Record<string, string | null>;
  /** Action → keys. An action without keys is not in it. */
  shortcuts: Record<string, string>;
}

/** A reservation as boards show it. The guest's name is as short as the service gives it. */
export interface Stay {
  adults?: number | null;
  /** Property-local. */
  arrivalDate: string;
  /** What the guest was told. */
  code?: string | null;
  /** Property-local. */
  departureDate: string;
  folioId?: string | null;
  guestName?: string | null;
  id: string;
  nightlyRate?: Money | null;
  roomId?: string | null;
  roomTypeId?: string | null;
  /** `confirmed`, `in_house`, `checked_out` … */
  state: string;
  /** Of the `ETag` that a change of it may name. */
  version?: number | null;
}

export interface StepUp {
  /** One-time code or assertion; told to iam-service, kept nowhere. */
  code: string;
  /** `totp`, `webauthn` or `recovery_code`. */
  factor: string;
  /** The one object the action is about; without it the attestation is good for any. */
  resource?: string | null;
  /** `lock.revoke`, `folio.refund` or `folio.large-charge`. */
  scope: string;
}

/** One suggestion, in the caller's language. It is advice: what is accepted is done by a request of its own. */
export interface Suggestion {
  /** `rate_change`, `housekeeping_reorder` …; the list grows. */
  category: string;
  complianceTags: string[];
  /** How sure the model is, 0–1. */
  confidence: number;
  decidedAt?: string | null;
  /** The operator, where it was decided here. */
  decidedBy?: string | null;
  /** `accept`, `reject` or `modify`, once it is decided and known. */
  decision?: string | null;
  expiresAt?: string | null;
  id: string;
  propertyId: string;
  /** What is suggested, as the orchestrator says it. */
  proposal: Record<string, unknown>;
  proposedAt: string;
  /** The model and prompt it comes from. */
  provenance: Record<string, unknown>;
  /** `proposed`, `decided`, `withdrawn` or `expired`. */
  state: string;
  summary?: string | null;
  title: string;
}

/** What stands, also when somebody else was first. */
export interface SuggestionDecided {
  decidedAt: string;
  decidedBy: string;
  /** `accept`, `reject` or `modify`. */
  decision: string;
  id: string;
  modification?: Record<string, unknown> | null;
  propertyId: string;
  reasonCode?: string | null;
  /** `decided`. */
  state: string;
}

/** Where a device stands. */
export interface SyncCursors {
  /** When sync-service said so. */
  asOf: string;
  /** Stream → opaque cursor. */
  cursors: Record<string, string>;
}

export interface SyncHandshake {
  /** When the device last exchanged data; absent for the first time. */
  lastSyncAt?: string | null;
}

export interface SyncSession {
  /** Stream → opaque cursor. */
  cursors: Record<string, string>;
  expiresAt: string;
  serverTime: string;
  /** Where the desktop exchanges data. */
  syncEndpoint: string;
  /** JWT, ES256; for sync-service, with proofs of the same key. */
  syncSessionToken: string;
}

/** Something to be done in a room. */
export interface Task {
  id: string;
  /** `turnover`, `deep_clean` … */
  kind: string;
  /** `low`, `normal`, `high` or `urgent`. */
  priority: string;
  roomId: string;
  scheduledFor: string;
  /** `created`, `started`, `completed` or `inspected`. */
  state: string;
  version?: number | null;
}

/** A work order as boards show it. */
export interface WorkOrder {
  assignedTo?: string | null;
  /** `plumbing`, `electrical` … */
  category: string;
  id: string;
  openedAt?: string | null;
  roomId?: string | null;
  /** `low`, `normal`, `high` or `critical`. */
  severity: string;
  /** `open`, `assigned`, `blocked`, `resolved` or `verified`. */
  state: string;
  title: string;
  version?: number | null;
}

/** A piece of a list. */
export interface Page<Item> {
  items: Item[];
  /** Ask with it for the next piece; absent on the last one. */
  nextCursor?: string | null;
}

export interface List<Item> {
  items: Item[];
}

/** A piece of the dashboard: first what there will be, then each widget as it becomes ready, then how it went. */
export type DashboardFrame =
  | (DashboardSkeleton & { frame: "skeleton" })
  | (DashboardWidget & { frame: "widget" })
  | (DashboardEnd & { frame: "end" });

/** What has happened. */
export interface LiveEvent {
  /** With `kind` and, mostly, `id` and `at`. */
  data: unknown;
  /** `ai`, `alerts` or `dashboard-refresh-hints`. */
  event: string;
  id?: string | null;
}
