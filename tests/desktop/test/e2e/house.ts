/** The house in which operators take their seats: one browser, one server of the page. */
import { type Browser, chromium } from "playwright-core";

import { found, standardTenant } from "../support/operator.js";
import { type SignInWish, type Tenant, world } from "../support/simulator.js";
import { stack } from "../support/stack.js";
import { PATIENCE_MS } from "../support/wait.js";
import { Network } from "./network.js";
import { PageServer } from "./page-server.js";
import { Seat } from "./seat.js";

export class House {
  readonly #seats: Seat[] = [];

  private constructor(
    private readonly browser: Browser,
    private readonly pages: PageServer,
  ) {}

  static async open(): Promise<House> {
    const pages = new PageServer();
    await pages.open();
    const browser = await chromium.launch({ executablePath: stack.chromium });
    return new House(browser, pages);
  }

  /** Signs somebody in on a new device and waits until the desk shows it. */
  async takeSeat(wish: Partial<SignInWish> = {}): Promise<Seat> {
    const tenant = standardTenant(await world());
    const network = await Network.open(stack.origin);
    // Without this rule a browser asks its own machine past the proxy.
    const proxy = { server: network.url, bypass: "<-loopback>" };
    const context = await this.browser.newContext({ proxy });
    context.setDefaultTimeout(PATIENCE_MS);
    this.pages.wish = { tenantId: tenant.id, propertyIds: [smallest(tenant)], ...wish };
    const seat = new Seat(await context.newPage(), network, context);
    this.#seats.push(seat);
    await seat.open();
    return seat;
  }

  /** Everybody goes home. */
  async clear(): Promise<void> {
    for (const seat of this.#seats.splice(0)) await seat.leave();
  }

  async close(): Promise<void> {
    await this.browser.close();
    this.pages.close();
  }
}

/** The property whose boards fit on a page. */
function smallest({ properties }: Tenant): string {
  const [first] = [...properties].sort((one, other) => one.rooms.length - other.rooms.length);
  return found(first).id;
}
