/** What the operator sees and does; everything by way of `window.melmastoon`. */
import type {
  Answer,
  BoardItem,
  BoardQuery,
  Board,
  LiveEvent,
  Outcome,
  PendingAction,
  SessionEnd,
} from "../../../schemas/desktop.js";
import { showDoors } from "./doors.js";
import { button, element, line, listOf } from "./elements.js";

const BOARDS = {
  "Front desk": "frontDeskBoard",
  Arrivals: "arrivalsBoard",
  Housekeeping: "housekeepingBoard",
  Maintenance: "maintenanceBoard",
} as const;

let shownBoard: keyof typeof BOARDS | undefined;

/** What stands on the dashboard, also while it is fetched again or cannot be. */
let shownWidgets = new Map<string, { title: string; text: string }>();

/** Shows what there is, then follows what happens. */
export async function showDesk(): Promise<void> {
  const { melmastoon } = window;
  melmastoon.onSessionEnd(showEnd);
  melmastoon.outbox.onChange(showPending);
  melmastoon.outbox.onSettled(showSettled);
  melmastoon.live.onState((state) => (element("live").textContent = state));
  melmastoon.live.onEvent(hear);
  melmastoon.live.onRefetch((what) => void fetchAgain(what));
  element("sign-out").onclick = () => void melmastoon.signOut();
  element("synchronise").onclick = () => void synchronise();
  const buttons = Object.keys(BOARDS).map((name) =>
    button(name, () => showBoard(name as keyof typeof BOARDS)),
  );
  element("boards").replaceChildren(...buttons);
  showDoors(notice);
  showPending(await melmastoon.outbox.pending());
  const session = body(await melmastoon.reads.session());
  if (session !== undefined) element("session").textContent = `signed in as ${session.operatorId}`;
  await Promise.all([showDashboard(), showAlerts(), showSuggestions()]);
}

/** Of an answer; what else there is to say is said. */
function body<Body>(answer: Answer<Body>): Body | undefined {
  if (answer.state === "ok") return answer.body;
  notice(answer.state === "refused" ? answer.problem.userMessage : "The service is not reachable.");
  return undefined;
}

function notice(text: string): void {
  element("notices").append(line(text));
}

function showEnd({ kind, reason }: SessionEnd): void {
  element("session").textContent =
    `signed out: ${kind}${reason === undefined ? "" : ` (${reason})`}`;
  for (const name of ["dashboard", "board", "alerts", "suggestions"]) {
    element(name).replaceChildren();
  }
}

function showPending(pending: PendingAction[]): void {
  const waiting = pending.filter(({ refusal }) => refusal === undefined).length;
  element("outbox").textContent = waiting === 0 ? "nothing waits" : `${waiting} waiting`;
}

function showSettled(outcome: Outcome<unknown>): void {
  if (outcome.state !== "refused") return;
  notice(outcome.problem.userMessage);
  void window.melmastoon.outbox.dismiss(outcome.number);
}

function hear(event: LiveEvent): void {
  const { kind, id } = event.data as { kind: string; id?: string };
  element("heard").append(line(`${kind} ${id ?? ""}`));
  if (event.event === "alerts") void showAlerts();
  if (event.event === "ai") void showSuggestions();
  if (event.event === "dashboard-refresh-hints") void fetchScreens();
}

async function fetchAgain(what: "screens" | "everything"): Promise<void> {
  await fetchScreens();
  if (what === "everything") await Promise.all([showAlerts(), showSuggestions()]);
}

async function fetchScreens(): Promise<void> {
  await showDashboard();
  if (shownBoard !== undefined) await showBoard(shownBoard);
}

function propertyId(): string {
  const [first] = window.melmastoon.operator.propertyIds;
  if (first === undefined) throw new Error("the operator works for no property");
  return first;
}

async function showDashboard(): Promise<void> {
  const answer = await window.melmastoon.dashboard({ propertyId: propertyId() }, (frame) => {
    if (frame.frame === "skeleton") {
      shownWidgets = new Map(
        frame.widgets.map(({ id, title }) => {
          return [id, { title, text: shownWidgets.get(id)?.text ?? "…" }];
        }),
      );
    } else if (frame.frame === "widget") {
      const title = shownWidgets.get(frame.id)?.title ?? frame.id;
      const text = `${frame.status} ${JSON.stringify(frame.data ?? frame.userMessage)}`;
      shownWidgets.set(frame.id, { title, text });
    }
    const lines = [...shownWidgets].map(([id, { title, text }]) =>
      line(`${title}: ${text}`, { id }),
    );
    element("dashboard").replaceChildren(...lines);
  });
  body(answer);
}

async function showBoard(name: keyof typeof BOARDS): Promise<void> {
  shownBoard = name;
  const query: BoardQuery = { propertyId: propertyId(), limit: 100 };
  const board = body<Board>(await window.melmastoon.reads[BOARDS[name]](query));
  if (board === undefined) return;
  const sections = board.sections.map(({ title, status, items }) =>
    listOf(`${title} (${status})`, items.map(itemLine)),
  );
  element("board").replaceChildren(...sections);
}

function itemLine(item: BoardItem): HTMLElement {
  const words = [item.id];
  if ("status" in item) words.push(item.number, item.status);
  if ("state" in item) words.push(item.state);
  const isExpected = "arrivalDate" in item && item.state === "confirmed";
  const actions = isExpected ? [button("Check in", () => checkIn(item.id))] : [];
  return line(words.join(" "), { id: item.id }, ...actions);
}

async function checkIn(id: string): Promise<void> {
  const action = { id, propertyId: propertyId(), body: {} };
  const outcome = await window.melmastoon.actions.checkIn(action);
  if (outcome.state === "done" && shownBoard !== undefined) await showBoard(shownBoard);
}

async function showAlerts(): Promise<void> {
  const page = body(await window.melmastoon.reads.listAlerts({ limit: 100 }));
  const lines = page?.items.map(({ id, title, state }) => {
    const acknowledge = button("Acknowledge", async () => {
      const outcome = await window.melmastoon.actions.acknowledgeAlert({ id, body: {} });
      if (outcome.state === "done") await showAlerts();
    });
    return line(`${title} ${state}`, { id }, ...(state === "raised" ? [acknowledge] : []));
  });
  if (lines !== undefined) element("alerts").replaceChildren(...lines);
}

async function showSuggestions(): Promise<void> {
  const page = body(await window.melmastoon.reads.listSuggestions({ limit: 100 }));
  const lines = page?.items.map(({ id, title, state, decision }) => {
    const decide = (name: string, decision: string) =>
      button(name, async () => {
        const action = { id, body: { decision } };
        const outcome = await window.melmastoon.actions.decideSuggestion(action);
        if (outcome.state === "done") await showSuggestions();
      });
    const isOpen = state === "proposed";
    const buttons = isOpen ? [decide("Accept", "accept"), decide("Reject", "reject")] : [];
    return line(`${title} ${state} ${decision ?? ""}`, { id }, ...buttons);
  });
  if (lines !== undefined) element("suggestions").replaceChildren(...lines);
}

async function synchronise(): Promise<void> {
  const session = body(await window.melmastoon.calls.syncHandshake({ body: {} }));
  if (session === undefined) return;
  const { syncEndpoint, cursors } = session;
  const expectedCursor = cursors["reservations"] ?? null;
  const advance = { stream: "reservations", expectedCursor, cursor: "c1" };
  const moved = body(await window.melmastoon.calls.advanceSyncCursor({ body: advance }));
  element("sync").textContent = `${syncEndpoint} ${JSON.stringify(moved?.cursors)}`;
}
