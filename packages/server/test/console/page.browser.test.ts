/** The console in a real Chromium: over a cluster of which a node is killed, and as a stranger and an operator see it. */
import { api, type Cluster, NodeServer, startCluster } from "@carillon/testkit";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SECRET, sign } from "../auth/kit.ts";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** Everything that is waited for takes seconds; the rest is for a busy machine. */
const timeout = 45_000;

let browser: Browser;
let cluster: Cluster;

beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
  cluster = await startCluster({ nodes: 3 });
});
afterAll(async () => {
  await browser?.close();
  await cluster?.stop();
});

/** Opens the page and collects what the browser complains about: a broken policy or script shows here first. */
async function open(
  url: string,
  options: Parameters<Browser["newPage"]>[0] = {},
): Promise<{ page: Page; complaints: string[] }> {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(timeout);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`${url}/console`);
  return { page, complaints };
}

const names = (nodes: readonly NodeServer[]) =>
  nodes.map(({ logs }) => String(logs.findLast(({ msg }) => msg === "listening")?.node));
const publish = (channel: string, payload: unknown) =>
  api(cluster.url)
    .post(`/api/notifications/${channel}`, payload)
    .then(({ status }) => expect(status).toBe(202));

test("shows the nodes, follows a channel by keyboard alone, and sees a killed node go while it goes on", async () => {
  const { page, complaints } = await open(cluster.url, { colorScheme: "dark", viewport: { width: 1200, height: 900 } });
  const rows = page.locator("#nodes tr");
  await rows.nth(2).waitFor();
  await expect
    .poll(async () => (await rows.allTextContents()).toSorted(), { timeout })
    .toEqual(
      names(cluster.nodes)
        .toSorted()
        .map((name) => expect.stringMatching(new RegExp(`${name}.*ready`))) as string[],
    );
  await publish("orders", { n: 1 });

  const channel = page.locator("#channels button", { hasText: "orders" });
  await channel.focus();
  await page.keyboard.press("Enter");
  await page.getByText("orders: live").waitFor();
  await publish("orders", "<img src=x onerror=alert(1)>");
  await page.locator("#tail li").first().waitFor();
  expect(await page.locator("#tail li").allTextContents()).toEqual([
    expect.stringMatching(/message<img src=x onerror=alert\(1\)>\d+-\d+$/),
  ]);
  expect(await channel.getAttribute("aria-pressed")).toBe("true");
  expect(await page.locator("#channels button:focus").textContent()).toBe("orders");
  expect(await page.locator("#publications output").textContent()).toMatch(/^[\d.]+$/);
  await expect
    .poll(() => page.locator("#publications svg").getAttribute("aria-label"), { timeout })
    .toMatch(/^Publications a second: [\d.]+ now, at most (?!0 )[\d.]+ in the last five minutes$/);
  expect(complaints).toEqual([]);
  if (process.env.SCREENSHOTS !== undefined)
    await page.screenshot({ path: `${process.env.SCREENSHOTS}/console-dark.png` });

  const [, killed] = cluster.nodes as [NodeServer, NodeServer];
  const [, name] = names(cluster.nodes) as [string, string];
  await killed.kill();

  await page.locator("#nodes tr", { hasText: name }).waitFor({ state: "detached" });
  expect(await rows.count()).toBe(2);
  await page.getByText("orders: live").waitFor();
  await publish("orders", "after the kill");
  await page.locator("#tail li", { hasText: "after the kill" }).waitFor();
  await killed.start();
  await rows.nth(2).waitFor();

  await page.locator("#stop").focus();
  await page.keyboard.press("Enter");
  await page.getByText("Choose a channel").waitFor();
  await page.close();
});

test("fits a narrow window in the light", async () => {
  const { page, complaints } = await open(cluster.url, { colorScheme: "light", viewport: { width: 380, height: 800 } });
  await page.locator("#nodes tr").nth(2).waitFor();

  expect(await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")).toBe(true);
  expect(complaints).toEqual([]);
  if (process.env.SCREENSHOTS !== undefined)
    await page.screenshot({ path: `${process.env.SCREENSHOTS}/console-light.png`, fullPage: true });
  await page.close();
});

test("asks a stranger for a token, says why one is refused, and keeps an operator's nowhere but in memory", async () => {
  const node = new NodeServer({
    AUTH: "on",
    JWT_SECRET: SECRET,
    OPERATOR_ROLE: "ops",
    OPEN_CHANNELS: "news",
    API_KEYS: "ops:ops-secret:operate,web:web-secret",
  });
  await node.start();
  try {
    const { page } = await open(node.url);
    const give = async (token: string) => {
      await page.locator("#token").fill(token);
      await page.keyboard.press("Enter");
    };
    await page.locator("#token:focus").waitFor();
    expect(await page.locator("#main").isVisible()).toBe(false);
    expect(await page.locator("#refused").textContent()).toBe("");

    await give(await sign({ sub: "u" }));
    await page.locator("#refused", { hasText: "right to operate" }).waitFor();
    const token = await sign({ sub: "boss", roles: ["ops"] });
    await give(token);
    await page.locator("#nodes tr").first().waitFor();

    const say = (text: string) =>
      api(node.url).post("/api/notifications/news", text, { authorization: "Bearer web-secret" });
    await say("before");
    await page.locator("#channels button", { hasText: "news" }).click();
    await page.getByText("news: live").waitFor();
    await say("by token");
    await page.locator("#tail li", { hasText: "by token" }).waitFor();
    const kept = await page.evaluate(
      "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, document.body.innerHTML])",
    );
    expect(kept).not.toContain(token);
    expect(await page.locator("#token").inputValue()).toBe("");

    await page.reload();
    await page.locator("#token:focus").waitFor();
    await give("ops-secret");
    await page.locator("#channels button", { hasText: "news" }).click();
    await page.getByText("news: every 2 s").waitFor();
    await say("by key");
    await page.locator("#tail li", { hasText: "by key" }).waitFor();
    expect(await page.locator("#tail li").count()).toBe(1);
    await page.close();
  } finally {
    await node.stop(3000);
  }
});
