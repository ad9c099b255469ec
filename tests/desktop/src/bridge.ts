/** `window.melmastoon`, as the main process makes it of the signed-in desktop. */
import type {
  Actions,
  Answer,
  Calls,
  Listener,
  LiveEvent,
  LiveState,
  Melmastoon,
  Outcome,
  PendingAction,
  Reads,
  SessionEnd,
} from "../../../schemas/desktop.js";
import type { Desktop } from "./desktop.js";
import { beat } from "./heartbeat.js";
import { Listeners } from "./listeners.js";
import { Live, type LiveEnd } from "./live.js";
import { liveSourceOf } from "./live-source.js";
import { type Answered, ask, type OperationId, type OperationRequest } from "./operation.js";
import { type Kept, Outbox, type Shelf } from "./outbox.js";
import { ProblemError, UnreachableError } from "./problem.js";
import { type Clock, isoTime, systemClock } from "./time.js";
import { newWish } from "./wish.js";

export const READS = [
  "bootstrap",
  "session",
  "todayBoard",
  "arrivalsBoard",
  "departuresBoard",
  "inHouseBoard",
  "frontDeskBoard",
  "housekeepingBoard",
  "maintenanceBoard",
  "listAlerts",
  "listSuggestions",
  "getPreferences",
  "getShortcuts",
  "getTenantShortcuts",
  "listDevices",
  "deviceSyncStatus",
  "getSyncCursor",
  "listOfflineQueueHints",
] as const satisfies (keyof Reads & OperationId)[];

export const CALLS = [
  "stepUp",
  "syncHandshake",
  "advanceSyncCursor",
  "putPreferences",
  "putShortcuts",
  "putTenantShortcuts",
  "heartbeat",
] as const satisfies (keyof Calls & OperationId)[];

export const ACTIONS = [
  "acknowledgeAlert",
  "decideSuggestion",
  "recordActivity",
  "issueKey",
  "revokeKey",
  "checkIn",
  "checkOut",
  "cancelReservation",
  "markNoShow",
  "assignRoom",
  "extendStay",
  "postCharge",
  "postPayment",
  "postRefund",
  "closeFolio",
  "startTask",
  "completeTask",
  "inspectTask",
  "setRoomStatus",
  "createWorkOrder",
  "assignWorkOrder",
  "blockWorkOrder",
  "resolveWorkOrder",
  "verifyWorkOrder",
] as const satisfies (keyof Actions & OperationId)[];

export interface BridgeSettings {
  desktop: Desktop;
  /** Where what the operator does is kept until it is done. */
  shelf: Shelf;
  clock?: Clock;
}

export interface OpenBridge {
  melmastoon: Melmastoon;
  /** Begins to listen and to send what waits; when the renderer is there to hear of it. */
  start(): void;
  /** The network is back, as far as anybody knows. */
  wake(): void;
}

export async function openBridge(settings: BridgeSettings): Promise<OpenBridge> {
  const bridge = new Bridge(settings);
  const outbox = await bridge.openOutbox();
  return {
    melmastoon: bridge.surface(outbox),
    start: () => bridge.start(),
    wake: () => bridge.wake(),
  };
}

class Bridge {
  readonly #ends = new Listeners<SessionEnd>();
  readonly #changes = new Listeners<PendingAction[]>();
  readonly #settled = new Listeners<Outcome<unknown>>();
  readonly #events = new Listeners<LiveEvent>();
  readonly #refetches = new Listeners<"screens" | "everything">();
  readonly #states = new Listeners<LiveState>();
  readonly #clock: Clock;
  readonly #live: Live;
  readonly #ended = new AbortController();
  #outbox: Outbox | undefined;
  #isHinted = false;
  #lastSyncAt: string | null = null;

  constructor(private readonly settings: BridgeSettings) {
    this.#clock = settings.clock ?? systemClock;
    this.#live = new Live(liveSourceOf(settings.desktop), this.#clock, {
      event: (event) => this.#events.tell(event),
      refetch: (what) => this.#refetches.tell(what),
      state: (state) => this.#states.tell(state),
    });
  }

  async openOutbox(): Promise<Outbox> {
    this.#outbox = await Outbox.open({
      shelf: this.settings.shelf,
      clock: this.#clock,
      send: (wish, signal) => this.#send(wish, signal),
      changed: (wishes) => this.#changes.tell(pendingOf(wishes)),
      settled: (outcome) => this.#outcome(outcome),
    });
    return this.#outbox;
  }

  start(): void {
    // An earlier run has told of what it left.
    this.#isHinted = 0 < (this.#outbox?.wishes.length ?? 0);
    this.#outbox?.wake();
    void this.#live.run().then((end) => this.#liveEnded(end));
    void beat(() => this.#report(), this.#clock, this.#ended.signal);
  }

  wake(): void {
    this.#outbox?.wake();
    this.#live.wake();
  }

  surface(outbox: Outbox): Melmastoon {
    const { tenantId, operatorId, deviceId, propertyIds } = this.settings.desktop.tokens;
    return {
      operator: { tenantId, operatorId, deviceId, propertyIds },
      reads: functions<Reads>(READS, (name, request) => this.#ask(name, request)),
      calls: functions<Calls>(CALLS, (name, request) => this.#ask(name, request)),
      actions: functions<Actions>(ACTIONS, (name, request) => this.#act(outbox, name, request)),
      outbox: {
        pending: async () => pendingOf(outbox.wishes),
        dismiss: (number) => outbox.dismiss(number),
        onChange: (listener) => this.#changes.add(listener),
        onSettled: (listener) => this.#settled.add(listener),
      },
      live: {
        onEvent: (listener) => this.#events.add(listener),
        onRefetch: (listener) => this.#refetches.add(listener),
        onState: (listener) => this.#states.add(listener),
      },
      dashboard: (query, onFrame) => this.#dashboard(query.propertyId, onFrame),
      signOut: () => this.#signOut(),
      onSessionEnd: (listener) => this.#ends.add(listener),
    };
  }

  async #ask(name: OperationId, request: OperationRequest): Promise<Answer<unknown>> {
    const wish = newWish();
    const answer = await this.#answer(() => ask(this.settings.desktop, name, request, wish));
    const isSync = name === "advanceSyncCursor" && answer.state === "ok";
    if (isSync) this.#lastSyncAt = isoTime(this.#clock);
    return answer;
  }

  async #report(): Promise<void> {
    const { self, tokens } = this.settings.desktop;
    const body = { ...self, lastSyncAt: this.#lastSyncAt, clock: isoTime(this.#clock) };
    const pendingActions = this.#outbox?.waiting ?? 0;
    await this.#ask("heartbeat", { id: tokens.deviceId, body: { ...body, pendingActions } });
  }

  async #act(
    outbox: Outbox,
    operation: OperationId,
    request: OperationRequest,
  ): Promise<Outcome<unknown>> {
    const outcome = await outbox.add({ operation, request });
    if (outcome.state === "waiting") void this.#hint();
    return outcome;
  }

  /** Tells the operator's other devices how much waits here, as well as that can be told now. */
  async #hint(): Promise<void> {
    const pendingActions = this.#outbox?.waiting ?? 0;
    this.#isHinted = pendingActions > 0;
    await this.#ask("putOfflineQueueHint", { body: { pendingActions } });
  }

  async #send({ operation, request, key }: Kept, signal: AbortSignal): Promise<unknown> {
    const wish = { "X-Idempotency-Key": key };
    const { desktop } = this.settings;
    const asked = () =>
      ask(desktop, operation as OperationId, request as OperationRequest, wish, signal);
    return (await this.#watched(asked)).body;
  }

  #dashboard(propertyId: string, onFrame: Listener<never>): Promise<Answer<null>> {
    const tell = onFrame as Listener<unknown>;
    return this.#answer(async () => {
      for await (const frame of this.settings.desktop.dashboard(propertyId)) tell(frame);
      return { body: null };
    }) as Promise<Answer<null>>;
  }

  async #signOut(): Promise<Answer<null>> {
    const answer = await this.#ask("signOut", {});
    if (answer.state === "ok") this.#end({ kind: "signed-out" });
    return answer as Answer<null>;
  }

  async #answer(call: () => Promise<Answered>): Promise<Answer<unknown>> {
    try {
      const { body, etag } = await this.#watched(call);
      return { state: "ok", body, ...(etag !== undefined && { etag }) };
    } catch (error) {
      if (error instanceof ProblemError) return { state: "refused", problem: error.problem };
      if (error instanceof UnreachableError) return { state: "unreachable" };
      throw error;
    }
  }

  /** Every call may be the one that finds the session ended. */
  async #watched<Result>(call: () => Promise<Result>): Promise<Result> {
    try {
      return await this.settings.desktop.signedIn(call);
    } catch (error) {
      const end = endIn(error);
      if (end !== undefined) this.#end(end);
      throw error;
    }
  }

  #liveEnded({ kind, reason }: LiveEnd): void {
    if (kind === "force-logout" || kind === "version-blocked") {
      this.#end({ kind, ...(reason !== undefined && { reason }) });
    }
  }

  /** What waits in the outbox waits for the operator to come back. */
  #end(end: SessionEnd): void {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new Error("the session has ended"));
    this.#live.stop();
    void this.#outbox?.stop();
    this.#ends.tell(end);
  }

  #outcome(outcome: Outcome<unknown>): void {
    this.#settled.tell(outcome);
    if (this.#isHinted) void this.#hint();
  }
}

function endIn(error: unknown): SessionEnd | undefined {
  if (!(error instanceof ProblemError) || error.retriable) return undefined;
  const reason = error.code;
  if (error.status === 426) return { kind: "version-blocked", reason };
  return error.status === 401 ? { kind: "force-logout", reason } : undefined;
}

function pendingOf(wishes: readonly Kept[]): PendingAction[] {
  return wishes.map(({ number, operation, refusal }) => ({
    number,
    operation: operation as keyof Actions,
    ...(refusal !== undefined && { refusal }),
  }));
}

/** One function for each operation; that their types are those of the contract, a test compares. */
function functions<Functions>(
  names: readonly (keyof Functions & OperationId)[],
  call: (name: OperationId, request: OperationRequest) => Promise<unknown>,
): Functions {
  const named = names.map((name) => [name, (it: OperationRequest = {}) => call(name, it)]);
  return Object.fromEntries(named) as Functions;
}
