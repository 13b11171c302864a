/** The demo page's inbox: a real node with a real Postgres, two windows of one user in a real Chromium. */
import { type PostgresServer, startPostgres } from "@carillon/testkit";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type App, startApp } from "../../src/app.ts";
import { createLogger } from "../../src/ops/logger.ts";
import { loadSettings } from "../../src/settings/load.ts";

const SLOW = { timeout: 60_000 };

let postgres: PostgresServer;
let app: App;
let browser: Browser;

beforeAll(async () => {
  postgres = await startPostgres();
  const settings = loadSettings({ AUTH: "off", PORT: "0", DATABASE_URL: postgres.url, DRAIN_TIMEOUT_S: "1" });
  app = await startApp(settings, "demo-node", createLogger({ level: "silent" }));
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--no-first-run"] });
});

afterAll(async () => {
  await browser?.close();
  await app?.stop();
  await postgres?.stop();
});

async function open(): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`http://127.0.0.1:${app.port}/demo`);
  await page.locator(".connections .live").nth(2).waitFor(SLOW);
  return { page, complaints };
}

test("a window that shows a notification saves its push, the phone gets one, and reading it shows in every window", async () => {
  const one = await open();
  const two = await open();

  await one.page.getByRole("button", { name: /Notify me/ }).click();

  for (const { page } of [one, two]) {
    await page.locator(".entries .unread").waitFor(SLOW);
    await page.getByText("would have been pushed to the phone", { exact: true }).waitFor(SLOW);
  }
  await two.page.getByRole("button", { name: "Mark as read" }).click();
  await one.page.getByRole("button", { name: "Mark as unread" }).waitFor(SLOW);
  expect(await one.page.locator(".entries .unread").count()).toBe(0);
  expect([...one.complaints, ...two.complaints]).toEqual([]);
  if (process.env.SCREENSHOTS !== undefined)
    await one.page.screenshot({ path: `${process.env.SCREENSHOTS}/demo-inbox.png`, fullPage: true });
});
