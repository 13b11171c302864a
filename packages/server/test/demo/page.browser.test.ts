/** The demo page as a newcomer sees it: a real node with the in-memory bus, a real Chromium. */
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type App, startApp } from "../../src/app.ts";
import { createLogger } from "../../src/ops/logger.ts";
import { loadSettings } from "../../src/settings/load.ts";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

let app: App;
let browser: Browser;
let url: string;

beforeAll(async () => {
  const logger = createLogger({ level: "silent" });
  app = await startApp(loadSettings({ AUTH: "off", PORT: "0" }), "demo-node", logger);
  url = `http://127.0.0.1:${app.port}`;
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
});

afterAll(async () => {
  await browser?.close();
  await app?.stop();
});

/** Opens the page and collects what the browser complains about: a broken policy or script shows here first. */
async function open(options: Parameters<Browser["newPage"]>[0] = {}): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage(options);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`${url}/demo`);
  await page.locator(".connections .live").nth(2).waitFor();
  return { page, complaints };
}

test("the page connects, names its node and shows a refresh and a message once, with their ids", async () => {
  const { page, complaints } = await open({ colorScheme: "dark", viewport: { width: 1100, height: 800 } });
  const other = await open({ colorScheme: "light", viewport: { width: 420, height: 900 } });

  await page.getByRole("button", { name: /Approve a trip/ }).click();
  await page.locator(".events .refresh").waitFor();
  const published = await fetch(`${url}/api/notifications/chat`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: '{"text":"<img src=x onerror=alert(1)> hello"}',
  });
  const { id } = (await published.json()) as { id: string };
  await page.locator(".events .message").waitFor();
  await other.page.locator(".events .message").waitFor();

  expect(await page.locator(".connections").textContent()).toContain("demo-node");
  expect(await page.locator(".events .refresh").textContent()).toMatch(
    /refresh · trips[\s\S]*TRIP_APPROVED[\s\S]*\d+-\d+ · \d+ ms/,
  );
  expect(await page.locator(".events .message").textContent()).toContain(id);
  expect(await page.locator(".events .message").textContent()).toContain("<img src=x onerror=alert(1)> hello");
  expect(await other.page.locator(".events li").count()).toBe(2);
  expect([...complaints, ...other.complaints]).toEqual([]);
  if (process.env.SCREENSHOTS !== undefined) {
    await page.screenshot({ path: `${process.env.SCREENSHOTS}/demo-dark.png` });
    await other.page.screenshot({ path: `${process.env.SCREENSHOTS}/demo-light.png` });
  }
  await Promise.all([page.close(), other.page.close()]);
});

test("everything works by keyboard, and without Postgres the page says why a row can't be inserted", async () => {
  const { page } = await open();

  await page.locator("#order").focus();
  await page.keyboard.press("Enter");
  await page.locator(".outcome.failed").waitFor();
  expect(await page.locator("#outcome").textContent()).toMatch(/NOT_CONFIGURED.*DATABASE_URL/);
  await page.locator("#order:focus").waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator(".events .refresh").waitFor();
  await page.close();
});

test("the API's page shows its operations and asks nothing of other servers", async () => {
  const page = await browser.newPage();
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).origin));

  await page.goto(`${url}/docs`);
  await page.getByText("/api/notifications/{channel}").first().waitFor();

  expect(new Set(asked.filter((origin) => origin !== "null"))).toEqual(new Set([url]));
  if (process.env.SCREENSHOTS !== undefined) await page.screenshot({ path: `${process.env.SCREENSHOTS}/docs.png` });
  await page.close();
});
