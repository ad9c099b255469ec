/** A seat at a desk: an operator signed in at the page, in a browser behind a network of its own. */
import type { BrowserContext, Locator, Page } from "playwright-core";

import type { LiveState, Operator } from "../../../../schemas/desktop.js";
import { stack } from "../support/stack.js";
import type { Network } from "./network.js";

export class Seat {
  /** What went wrong in the page and nobody dealt with. */
  readonly #errors: Error[] = [];

  constructor(
    readonly page: Page,
    readonly network: Network,
    private readonly context: BrowserContext,
  ) {
    page.on("pageerror", (error) => this.#errors.push(error));
  }

  async open(): Promise<void> {
    await this.page.goto(stack.deskOrigin);
    await this.sees("session", "signed in as");
  }

  operator(): Promise<Operator> {
    return this.page.evaluate(() => window.melmastoon.operator);
  }

  async propertyId(): Promise<string> {
    const [propertyId] = (await this.operator()).propertyIds;
    if (propertyId === undefined) throw new Error("the operator works for no property");
    return propertyId;
  }

  /** Waits until a part of the page says so. */
  async sees(part: string, text: string | RegExp): Promise<void> {
    await this.page.locator(`#${part}`).filter({ hasText: text }).waitFor();
  }

  live(state: LiveState): Promise<void> {
    return this.sees("live", new RegExp(`^${state}$`));
  }

  /** What shows one thing; a board may do so in two sections. */
  row(part: string, id: string, text = ""): Locator {
    return this.page.locator(`#${part} [data-id="${id}"]`).filter({ hasText: text }).first();
  }

  /** Waits until what shows a thing says so. */
  async rowSays(part: string, id: string, text: string): Promise<void> {
    await this.row(part, id, text).waitFor();
  }

  async press(name: string): Promise<void> {
    await this.page.getByRole("button", { name, exact: true }).click();
  }

  async fill(label: string, text: string): Promise<void> {
    await this.page.getByLabel(label, { exact: true }).fill(text);
  }

  /** The live events in the order in which they were heard. */
  heard(kind: string): Promise<string[]> {
    return this.page.locator("#heard li").filter({ hasText: kind }).allTextContents();
  }

  /** No connection that stands, nor any new one. */
  async cutOff(): Promise<void> {
    this.network.weather = "down";
    this.network.cut();
    await this.context.setOffline(true);
  }

  async reconnect(): Promise<void> {
    this.network.weather = "good";
    await this.context.setOffline(false);
  }

  async leave(): Promise<void> {
    await this.context.close();
    this.network.close();
    const [error] = this.#errors;
    if (error !== undefined) throw error;
  }
}
