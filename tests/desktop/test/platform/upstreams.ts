/** Has upstreams of the simulated platform do what has to be done before an interaction. */
import { ulid } from "ulid";

import type { Tokens } from "../../src/desktop.js";
import { type Door, keyWish } from "../support/door.js";
import { stack } from "../support/stack.js";

export class Upstreams {
  constructor(private readonly tenantId: () => string) {}

  async ask(method: string, service: string, path: string, body?: unknown): Promise<Response> {
    const answer = await fetch(new URL(`/${service}${path}`, stack.simulatorUrl), {
      method,
      headers: {
        Authorization: "Bearer id-token",
        "Content-Type": "application/json",
        "Idempotency-Key": ulid(),
        "X-Tenant-Id": this.tenantId(),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }

  /** Has a key issued; answers its id. */
  async issuedKey(door: Door, { operatorId, deviceId }: Tokens): Promise<string> {
    const auditEnvelope = {
      operator_id: operatorId,
      device_id: deviceId,
      mfa_attestation: null,
    };
    const body = { ...keyWish(door), auditEnvelope };
    const service = "lock-integration-service";
    const answer = await this.ask("POST", service, "/api/v1/key-credentials", body);
    const { data } = (await answer.json()) as { data: { id: string } };
    return data.id;
  }
}
