/**
 * What the desktop's main process puts into the renderer's window: `window.melmastoon`.
 *
 * Only what can be cloned crosses the bridge, and errors lose their members on the way. So what the
 * service refuses is a value like any other answer; a promise is rejected only when a call is no call
 * of this bridge, or when the desktop itself fails. Tokens, keys and idempotency keys stay on the
 * other side. Names of functions are the operations of openapi.json.
 */
import type {
  AcknowledgeAlert,
  Acknowledgment,
  ActivityRecorded,
  AdvanceSyncCursor,
  Alert,
  AssignRoom,
  AssignWorkOrder,
  BlockWorkOrder,
  Board,
  Bootstrap,
  CancelReservation,
  Changed,
  CreateWorkOrder,
  DashboardFrame,
  DecideSuggestion,
  DeviceSyncStatus,
  ExtendStay,
  Heartbeat,
  HeartbeatAnswer,
  IssueKey,
  List,
  LiveEvent,
  LockAction,
  MfaAttestation,
  Note,
  OfflineQueueHint,
  Page,
  PostCharge,
  PostPayment,
  PostRefund,
  Preferences,
  Problem,
  PutPreferences,
  PutShortcuts,
  RecordActivity,
  RevokeKey,
  Session,
  SetRoomStatus,
  Shortcuts,
  StepUp,
  Suggestion,
  SuggestionDecided,
  SyncCursors,
  SyncHandshake,
  SyncSession,
} from "./desktop-models.js";

export type * from "./desktop-models.js";

declare global {
  interface Window {
    readonly melmastoon: Melmastoon;
  }
}

export interface Melmastoon {
  readonly operator: Operator;
  readonly reads: Reads;
  readonly calls: Calls;
  readonly actions: Actions;
  readonly outbox: OutboxBridge;
  readonly live: LiveBridge;
  /** Each frame as soon as it is there; answered when the last one was told. */
  dashboard(
    query: { propertyId: string },
    onFrame: Listener<DashboardFrame>,
  ): Promise<Answer<null>>;
  signOut(): Promise<Answer<null>>;
  /** Once, when the session is over: nothing more is answered until somebody signs in. */
  onSessionEnd(listener: Listener<SessionEnd>): Stop;
}

/** Who is signed in, on which device. */
export interface Operator {
  readonly tenantId: string;
  readonly operatorId: string;
  readonly deviceId: string;
  readonly propertyIds: readonly string[];
}

export interface SessionEnd {
  kind: "signed-out" | "force-logout" | "version-blocked";
  /** Why, in the service's words, where it said so. */
  reason?: string;
}

export type Listener<Told> = (told: Told) => void;
/** Ends the listening. */
export type Stop = () => void;

/** What became of a question. */
export type Answer<Body> =
  | { state: "ok"; body: Body; etag?: string }
  | { state: "refused"; problem: Problem }
  /** No word of the service came back. */
  | { state: "unreachable" };

/** What became of an action; `number` names it in the outbox. */
export type Outcome<Body> =
  | { state: "done"; number: number; body: Body }
  /** It is kept, and is asked for again until it is answered. */
  | { state: "waiting"; number: number }
  /** It will not be done; it stays in the outbox until it is dismissed. */
  | { state: "refused"; number: number; problem: Problem };

export interface BoardQuery {
  propertyId?: string;
  /** A day of the property; the upstreams' today without it. */
  date?: string;
  state?: string;
  cursor?: string;
  limit?: number;
}

interface ListQuery {
  propertyId?: string;
  state?: string;
  cursor?: string;
  limit?: number;
}

/** Questions that change nothing. */
export interface Reads {
  bootstrap(): Promise<Answer<Bootstrap>>;
  session(): Promise<Answer<Session>>;
  todayBoard(query: BoardQuery): Promise<Answer<Board>>;
  arrivalsBoard(query: BoardQuery): Promise<Answer<Board>>;
  departuresBoard(query: BoardQuery): Promise<Answer<Board>>;
  inHouseBoard(query: BoardQuery): Promise<Answer<Board>>;
  frontDeskBoard(query: BoardQuery): Promise<Answer<Board>>;
  housekeepingBoard(query: BoardQuery): Promise<Answer<Board>>;
  maintenanceBoard(query: BoardQuery): Promise<Answer<Board>>;
  listAlerts(query: ListQuery & { severity?: string }): Promise<Answer<Page<Alert>>>;
  listSuggestions(query: ListQuery & { category?: string }): Promise<Answer<Page<Suggestion>>>;
  getPreferences(): Promise<Answer<Preferences>>;
  getShortcuts(): Promise<Answer<Shortcuts>>;
  getTenantShortcuts(): Promise<Answer<Shortcuts>>;
  listDevices(): Promise<Answer<List<DeviceSyncStatus>>>;
  deviceSyncStatus(device: { id: string }): Promise<Answer<DeviceSyncStatus>>;
  getSyncCursor(): Promise<Answer<SyncCursors>>;
  listOfflineQueueHints(): Promise<Answer<List<OfflineQueueHint>>>;
}

interface With<Body> {
  body: Body;
}

/** Only if what was read is still what it was. */
interface IfUnchanged {
  ifMatch?: string;
}

/** What makes no sense later: it is asked for at once, or not at all. */
export interface Calls {
  /** The code is kept nowhere. */
  stepUp(call: With<StepUp>): Promise<Answer<MfaAttestation>>;
  syncHandshake(call: With<SyncHandshake>): Promise<Answer<SyncSession>>;
  advanceSyncCursor(call: With<AdvanceSyncCursor>): Promise<Answer<SyncCursors>>;
  putPreferences(call: With<PutPreferences> & IfUnchanged): Promise<Answer<Preferences>>;
  putShortcuts(call: With<PutShortcuts> & IfUnchanged): Promise<Answer<Shortcuts>>;
  putTenantShortcuts(call: With<PutShortcuts> & IfUnchanged): Promise<Answer<Shortcuts>>;
  heartbeat(call: { id: string } & With<Heartbeat>): Promise<Answer<HeartbeatAnswer>>;
}

/** Something of a property. */
interface On<Body> extends With<Body> {
  id: string;
  propertyId?: string;
}

/** Something of which the operator has read a version: its `ETag`. */
interface OnVersion<Body> extends On<Body>, IfUnchanged {}

/** That the operator has stepped up for it, where that is asked for. */
interface Attested {
  attestationId?: string;
}

/** What an operator does, in the order of the outbox and once, whatever the network does. */
export interface Actions {
  acknowledgeAlert(
    action: { id: string } & With<AcknowledgeAlert>,
  ): Promise<Outcome<Acknowledgment>>;
  decideSuggestion(
    action: { id: string } & With<DecideSuggestion>,
  ): Promise<Outcome<SuggestionDecided>>;
  recordActivity(action: With<RecordActivity>): Promise<Outcome<ActivityRecorded>>;

  issueKey(action: { lockId: string } & With<IssueKey>): Promise<Outcome<LockAction>>;
  revokeKey(action: { lockId: string } & With<RevokeKey> & Attested): Promise<Outcome<LockAction>>;

  checkIn(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  checkOut(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  cancelReservation(action: OnVersion<CancelReservation>): Promise<Outcome<Changed>>;
  markNoShow(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  assignRoom(action: OnVersion<AssignRoom>): Promise<Outcome<Changed>>;
  extendStay(action: OnVersion<ExtendStay>): Promise<Outcome<Changed>>;

  postCharge(action: On<PostCharge> & Attested): Promise<Outcome<Changed>>;
  postPayment(action: On<PostPayment>): Promise<Outcome<Changed>>;
  postRefund(action: On<PostRefund> & Attested): Promise<Outcome<Changed>>;
  closeFolio(action: On<Note>): Promise<Outcome<Changed>>;

  startTask(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  completeTask(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  inspectTask(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  setRoomStatus(action: On<SetRoomStatus>): Promise<Outcome<Changed>>;

  createWorkOrder(action: With<CreateWorkOrder>): Promise<Outcome<Changed>>;
  assignWorkOrder(action: OnVersion<AssignWorkOrder>): Promise<Outcome<Changed>>;
  blockWorkOrder(action: OnVersion<BlockWorkOrder>): Promise<Outcome<Changed>>;
  resolveWorkOrder(action: OnVersion<Note>): Promise<Outcome<Changed>>;
  verifyWorkOrder(action: OnVersion<Note>): Promise<Outcome<Changed>>;
}

/** An action that is not done yet, or never will be. */
export interface PendingAction {
  number: number;
  operation: keyof Actions;
  refusal?: Problem;
}

export interface OutboxBridge {
  pending(): Promise<PendingAction[]>;
  /** Takes a refusal away that the operator has seen. */
  dismiss(number: number): Promise<void>;
  onChange(listener: Listener<PendingAction[]>): Stop;
  /** Every action that was answered for good, also those of an earlier run. */
  onSettled(listener: Listener<Outcome<unknown>>): Stop;
}

/** `streaming` and `polling` tell the same events; `ended` is for good. */
export type LiveState = "connecting" | "streaming" | "polling" | "ended";

export interface LiveBridge {
  onEvent(listener: Listener<LiveEvent>): Stop;
  /** What is shown may be old: `screens` after an interruption, `everything` after a gap. */
  onRefetch(listener: Listener<"screens" | "everything">): Stop;
  onState(listener: Listener<LiveState>): Stop;
}
