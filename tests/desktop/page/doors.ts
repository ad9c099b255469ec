/** Keys of doors: issued, and revoked once the operator has stepped up. */
import type { LockAction, Outcome, RevokeKey } from "../../../schemas/desktop.js";
import { element } from "./elements.js";

const DAY_MS = 86_400_000;
const MFA_REQUIRED = "MELMASTOON.AUTH.MFA_REQUIRED";
const SCOPE = "lock.revoke";

export function showDoors(notice: (text: string) => void): void {
  const form = element("door") as HTMLFormElement;
  const field = (name: string) => form.elements.namedItem(name) as HTMLInputElement;
  const value = (name: string): string => field(name).value;

  function tell(outcome: Outcome<LockAction>): void {
    if (outcome.state === "done") notice(`${outcome.body.state} ${outcome.body.keyCredentialId}`);
    if (outcome.state === "waiting") notice("It will be done when the service can be reached.");
  }

  function askForFactor(isAsked: boolean): void {
    field("code").disabled = !isAsked;
    field("confirm").disabled = !isAsked;
    field("code").value = "";
  }

  async function issue(): Promise<void> {
    const body = {
      reservationId: value("reservationId"),
      rooms: [value("roomId")],
      validFrom: new Date().toISOString(),
      validUntil: new Date(Date.now() + DAY_MS).toISOString(),
    };
    const outcome = await window.melmastoon.actions.issueKey({ lockId: value("lockId"), body });
    if (outcome.state === "done") field("keyCredentialId").value = outcome.body.keyCredentialId;
    tell(outcome);
  }

  async function revoke(attestationId?: string): Promise<void> {
    const body: RevokeKey = { keyCredentialId: value("keyCredentialId"), reason: "lost" };
    const outcome = await window.melmastoon.actions.revokeKey({
      lockId: value("lockId"),
      body,
      ...(attestationId !== undefined && { attestationId }),
    });
    tell(outcome);
    askForFactor(outcome.state === "refused" && outcome.problem.code === MFA_REQUIRED);
  }

  async function confirm(): Promise<void> {
    const body = { scope: SCOPE, factor: "totp", code: value("code"), resource: value("lockId") };
    const stepUp = await window.melmastoon.calls.stepUp({ body });
    if (stepUp.state === "ok") await revoke(stepUp.body.attestationId);
    if (stepUp.state === "refused") notice(stepUp.problem.userMessage);
    if (stepUp.state === "unreachable") notice("The service is not reachable.");
  }

  const acts: Record<string, () => Promise<void>> = { issue, revoke: () => revoke(), confirm };
  form.onsubmit = (submission) => {
    submission.preventDefault();
    const pressed = submission.submitter as HTMLButtonElement;
    void acts[pressed.value]?.();
  };
}
