/** The dashboard as a page, in the languages of its operators: on the screen, slowly, and on paper. */
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import axe from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";

import { found, signIn, standardTenant } from "../support/operator.js";
import { fault, heal, world } from "../support/simulator.js";
import { stack } from "../support/stack.js";
import { PATIENCE_MS, until } from "../support/wait.js";
import { Screen } from "./screen.js";

const LANGUAGES = [
  ["en", "ltr"],
  ["ps", "rtl"],
  ["fa-AF", "rtl"],
  ["ar", "rtl"],
  ["fr", "ltr"],
] as const;
const SLOW = "analytics-service";
/** WCAG 2.2, 1.4.10: as wide as a page is that somebody has enlarged to four times its size. */
const NARROW_PX = 320;
/** What a sheet of A4 has room for within the margins of the browser. */
const SHEET_PX = 1_045;

let browser: Browser;
let screen: Screen;
let page: Page;
let propertyIds: string[];

before(async () => {
  browser = await chromium.launch({ executablePath: stack.chromium });
  // Not one at which the journeys leave their traces.
  const everybody = await world();
  const standard = standardTenant(everybody);
  const tenant = found(everybody.tenants.find(({ id }) => id !== standard.id));
  propertyIds = tenant.properties.map(({ id }) => id);
  const { desktop } = await signIn({ tenantId: tenant.id, propertyIds });
  screen = await Screen.open(desktop);
});
beforeEach(async () => {
  page = await browser.newPage({ viewport: { width: 1_180, height: 820 } });
  page.setDefaultTimeout(PATIENCE_MS);
});
afterEach(async () => {
  screen.letGo();
  await heal(SLOW);
  await page.close();
});
after(async () => {
  screen.close();
  await browser.close();
});

for (const [language, direction] of LANGUAGES) {
  test(`in ${language} it reads ${direction}, and everybody can read it`, async () => {
    await show(0, language);

    const html = page.locator("html");
    assert.equal(await html.getAttribute("lang"), language);
    assert.equal(await html.getAttribute("dir"), direction);
    const [first, second] = await placesOf("section");
    assert.equal(found(first).x < found(second).x, direction === "ltr");
    const [label] = await placesOf("dt");
    const [value] = await placesOf("dd");
    assert.equal(found(label).x < found(value).x, direction === "ltr");
    await everybodyCanReadIt();
    await page.emulateMedia({ colorScheme: "dark" });
    await everybodyCanReadIt();
    await page.setViewportSize({ width: NARROW_PX, height: 800 });
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= NARROW_PX, `${width} px are needed`);
    await everybodyCanReadIt();
  });
}

test("what is there is shown while the rest is waited for, and what does not come is said", async () => {
  await fault(SLOW, { hang: true });
  // From now on the rest is kept and comes at once.
  await show(1, "en");
  screen.holdFrom('<div slot="occupancy"');

  await page.goto(screen.url(found(propertyIds[1]), "en"), { waitUntil: "commit" });
  await page.locator('[slot="arrivals"]').waitFor();
  await until("the browser has painted it", () => page.evaluate(firstPaint));
  const waiting = page.locator("section", { has: page.locator("#title-occupancy") });
  await waiting.getByText("Loading …").waitFor();
  assert.equal(await page.locator('[slot="occupancy"]').count(), 0);

  screen.letGo();
  await isComplete();
  await page.locator('[slot="occupancy"] .state').waitFor();
  await everybodyCanReadIt();
  await page.emulateMedia({ colorScheme: "dark" });
  await everybodyCanReadIt();
});

for (const language of ["en", "fa-AF"]) {
  test(`on paper it is whole, in black on white, in ${language}`, async () => {
    await show(0, language);
    // Who works in the dark prints in the light.
    await page.emulateMedia({ media: "print", colorScheme: "dark" });

    for (const { height } of await placesOf("section")) assert.ok(height < SHEET_PX);
    assert.deepEqual(await page.locator("section").evaluateAll(breaksInside), ["avoid"]);
    assert.deepEqual(await page.locator("dt, dd").evaluateAll(thoseCutOff), []);
    assert.equal(await page.locator(".complete").filter({ visible: true }).count(), 0);
    assert.deepEqual(await page.locator(".as-of .date").evaluateAll(hidden), []);
    await everybodyCanReadIt();

    const pdf = await page.pdf({ format: "A4", tagged: true });
    assert.equal(pdf.subarray(0, 5).toString(), "%PDF-");
    const sheets = pdf.toString("latin1").match(/\/Type \/Page\b/g)?.length ?? 0;
    assert.ok(0 < sheets && sheets <= 2, `${sheets} sheets`);
  });
}

/** Opens one of the properties' dashboards and waits until all of it has come. */
async function show(property: number, language: string): Promise<void> {
  await page.goto(screen.url(found(propertyIds[property]), language));
  await isComplete();
}

async function isComplete(): Promise<void> {
  await page.locator('[slot="end"]').waitFor({ state: "attached" });
  const places = await page.locator("section").count();
  assert.equal(await page.locator("main > .widget").count(), places);
}

/** As far as a program can tell. */
async function everybodyCanReadIt(): Promise<void> {
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(async () => {
    return (window as unknown as { axe: typeof axe }).axe.run();
  });
  const minded = violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id} ${JSON.stringify(target)} ${failureSummary}`),
  );
  assert.deepEqual(minded, []);
  // It takes letters that are joined for icons and looks past their colours, which are those of Latin ones.
  if ((await page.locator("html").getAttribute("dir")) === "ltr") {
    assert.ok(passes.some(({ id }) => id === "color-contrast"));
  }
}

async function placesOf(selector: string): Promise<DOMRect[]> {
  return page
    .locator(selector)
    .evaluateAll((all) => all.map((it) => it.getBoundingClientRect().toJSON() as DOMRect));
}

function firstPaint(): PerformanceEntry | undefined {
  return performance.getEntriesByName("first-contentful-paint")[0];
}

function breaksInside(all: Element[]): string[] {
  return [...new Set(all.map((it) => getComputedStyle(it).breakInside))];
}

function thoseCutOff(all: Element[]): string[] {
  return all.filter((it) => it.clientWidth < it.scrollWidth).map((it) => it.textContent ?? "");
}

function hidden(all: Element[]): string[] {
  return all.filter((it) => it.getClientRects().length === 0).map((it) => it.textContent ?? "");
}
