/** Alerts and suggestions: raised upstream, awaited in the inbox of a desktop. */
import { answerOf, type Desktop } from "../../src/desktop.js";
import { happen } from "./simulator.js";
import { found, propertyOf } from "./operator.js";
import { until } from "./wait.js";

/** Raises an alert and waits until the desktop sees it; answers its id. */
export async function raisedAlert(desktop: Desktop): Promise<string> {
  const raised = await happen("melmastoon.notification.alert.raised.v1", desktop.tokens.tenantId, {
    propertyId: propertyOf(desktop),
    severity: "high",
    category: "lock",
    title: "A door does not answer",
  });
  const id = found(raised["alertId"]);
  await until("the alert is in the inbox", async () =>
    (await alerts(desktop)).find((it) => it.id === id),
  );
  return id;
}

export async function alerts(desktop: Desktop) {
  const call = desktop.api.GET("/alerts", { params: { query: { limit: 100 } } });
  return (await answerOf(call)).body.items;
}

/** Has the orchestrator propose something and waits until the desktop sees it; answers its id. */
export async function proposedSuggestion(desktop: Desktop): Promise<string> {
  const subject = "melmastoon.ai_orchestrator.suggestion.proposed.v1";
  const proposed = await happen(subject, desktop.tokens.tenantId, {
    propertyId: propertyOf(desktop),
    category: "rate_change",
    title: "Raise the rate",
  });
  const id = found(proposed["suggestionId"]);
  await until("the suggestion is in the inbox", async () => {
    const query = { limit: 100 };
    const page = await answerOf(desktop.api.GET("/ai/suggestions", { params: { query } }));
    return page.body.items.find((suggestion) => suggestion.id === id);
  });
  return id;
}
